"""Sources of completions that know the pool: one draws what is missing, the other stops there."""

from __future__ import annotations

from asyncio import Future, ensure_future, gather
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from scaling_exp.generation import Sampler, Stream
from scaling_exp.store.draws import Draw, Known, stream_of
from scaling_exp.types import Completion


class NotDrawn(LookupError):
    """A replay asked for a draw that is not there."""


@dataclass(frozen=True)
class Replay:
    """A source that only knows what is drawn already. Raises NotDrawn where one is asked for that is not."""

    fingerprint: str
    known: Known

    async def __call__(self, stream: Stream, samples: Sequence[int]) -> Sequence[Completion]:
        known = self.known.get(stream_of(self.fingerprint, stream), {})
        try:
            return [known[sample] for sample in samples]
        except KeyError as error:
            raise NotDrawn(*error.args) from None


@dataclass(eq=False)
class Pooled:
    """A source that asks the pool before the sampler, and never asks the sampler twice for one draw.

    `record` is told of every new draw as it finishes.
    """

    model: str
    fingerprint: str
    known: Known
    sampler: Sampler
    record: Callable[[Draw], None]
    _drawing: dict[int, dict[int, Future[Completion]]] = field(default_factory=dict)

    async def __call__(self, stream: Stream, samples: Sequence[int]) -> Sequence[Completion]:
        name = stream_of(self.fingerprint, stream)
        known = self.known.setdefault(name, {})
        drawing = self._drawing.setdefault(name, {})
        for sample in samples:
            if sample not in known and sample not in drawing:
                drawing[sample] = self._draw(stream, sample, known)
        for sample in samples:
            if sample not in known:
                self._note(stream, sample, known, await drawing[sample])
        return [known[sample] for sample in samples]

    async def cancel(self) -> None:
        """End every draw that is under way: `gather` leaves the siblings of one that fails to themselves."""
        drawing = [
            each for drawn in self._drawing.values() for each in drawn.values() if not each.done()
        ]
        for each in drawing:
            each.cancel()
        if drawing:
            await gather(*drawing, return_exceptions=True)

    def _draw(
        self, stream: Stream, sample: int, known: dict[int, Completion]
    ) -> Future[Completion]:
        drawing = ensure_future(self.sampler(stream.prefix, stream.sampling, stream.seed(sample)))
        drawing.add_done_callback(partial(self._drawn, stream, sample, known))
        return drawing

    def _drawn(
        self, stream: Stream, sample: int, known: dict[int, Completion], drawn: Future[Completion]
    ) -> None:
        if not drawn.cancelled() and drawn.exception() is None:
            self._note(stream, sample, known, drawn.result())

    def _note(
        self, stream: Stream, sample: int, known: dict[int, Completion], completion: Completion
    ) -> None:
        """Keep a draw. Whoever awaits it may be here before its callback."""
        if sample not in known:
            known[sample] = completion
            self.record(Draw(self.model, self.fingerprint, stream, sample, completion))
