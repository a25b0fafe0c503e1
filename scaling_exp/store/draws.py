"""A draw: one request to an engine and what came back; its names, and its columns on disk.

A draw has two names. Its `key` is a content address, a hash of everything that decides its distribution. Its place,
(stream, sample), says where in which forest it stands: all children of a node under one sampling are one stream, and
their number in it is their sample. Two whole numbers find a draw among millions without a hash per draw.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from scaling_exp.generation import Stream, path_name
from scaling_exp.types import Completion, Path, Sampling, Tokens

ADDED_LATER = {
    "stop": (),
    "max_thinking_tokens": None,
    "labels": (),
    "pooling": "",
    "confidence": 0,
    "scored_from": None,
}
"""Fields of `Sampling` that came after keys were made, at what changes nothing."""

Known = dict[int, dict[int, Completion]]
"""Finished draws of one root: by stream, then by sample."""

BILLED = ("num_billed_prompt_tokens", "num_billed_output_tokens", "num_reasoning_tokens")
"""Columns of `Completion.billed`, null where it is None."""
SCORES = "scores"
"""Column of `Completion.scores`, null where there are none."""
DRAWS = pa.schema(
    [
        ("key", pa.string()),
        ("model", pa.string()),
        ("fingerprint", pa.string()),
        ("root", pa.string()),
        ("path", pa.string()),
        ("stream", pa.int64()),
        ("sample", pa.int32()),
        ("prefix", pa.list_(pa.int32())),
        ("sampling", pa.string()),
        ("seed", pa.int64()),
        ("tokens", pa.list_(pa.int32())),
        ("finish_reason", pa.string()),
        ("num_cached_tokens", pa.int32()),
        *((name, pa.int32()) for name in BILLED),
        (SCORES, pa.list_(pa.float64())),
    ]
)


class Draw(NamedTuple):
    """One request to an engine and what came back. `fingerprint` identifies the weights, `model` only names them."""

    model: str
    fingerprint: str
    stream: Stream
    sample: int
    completion: Completion

    @property
    def path(self) -> Path:
        return (*self.stream.parent, self.sample)

    @property
    def seed(self) -> int:
        return self.stream.seed(self.sample)

    @property
    def key(self) -> str:
        return draw_key(self.fingerprint, self.stream.prefix, self.stream.sampling, self.seed)


def draw_key(fingerprint: str, prefix: Tokens, sampling: Sampling, seed: int) -> str:
    """Content address of a draw: 128 bits over everything that decides its distribution."""
    return _key(_hash_of_kind(fingerprint, sampling), seed, array("q", prefix).tobytes())


def _key(hash_of_kind: blake2b, seed: int, prefix: bytes) -> str:
    """`prefix` as 64-bit integers."""
    state = hash_of_kind.copy()
    state.update(seed.to_bytes(8, sys.byteorder) + prefix)
    return state.hexdigest()


@lru_cache(maxsize=4096)
def _hash_of_kind(fingerprint: str, sampling: Sampling) -> blake2b:
    return blake2b(f"{fingerprint} {sampling_json(sampling)} ".encode(), digest_size=16)


@lru_cache(maxsize=4096)
def sampling_json(sampling: Sampling) -> str:
    """Canonical text of a `Sampling`, in which `ADDED_LATER` only stand when they are used."""
    settings = asdict(sampling)
    for name, unused in ADDED_LATER.items():
        if settings[name] == unused:
            del settings[name]
    return json.dumps(settings, sort_keys=True)


def stream_of(fingerprint: str, stream: Stream) -> int:
    """63-bit name of a stream of one model.

    Greedy continuations of equal prefixes are one draw wherever they stand, so their parent is no part of the name.
    """
    state = _hash_of_kind(fingerprint, stream.sampling).copy()
    parent = path_name(stream.parent) if stream.sampling.temperature > 0 else ""
    state.update(f"{stream.root}/{parent} ".encode() + array("q", stream.prefix).tobytes())
    return int.from_bytes(state.digest()[:8], "big") >> 1


def encode(draws: Sequence[Draw]) -> bytes:
    """Draws as one Arrow record-batch message: what a worker sends, and what a journal appends as it is.

    Columns are built whole, and what all draws of a stream share is made once: this runs beside the engine.
    """
    streams = {id(draw.stream): draw for draw in draws}
    shared_by_stream = {at: _Shared.of(draw) for at, draw in streams.items()}
    shared = [shared_by_stream[id(draw.stream)] for draw in draws]
    seeds = [draw.stream.seed(draw.sample) for draw in draws]
    pairs = list(zip(shared, draws, strict=True))
    completions = [draw.completion for draw in draws]
    columns = [
        pa.array([_key(s.hash, d, s.prefix_64) for s, d in zip(shared, seeds, strict=True)]),
        pa.array([draw.model for draw in draws]),
        pa.array([draw.fingerprint for draw in draws]),
        pa.array([s.root for s in shared]),
        pa.array([f"{s.parent_name}{draw.sample}" for s, draw in pairs]),
        pa.array([s.stream for s in shared], pa.int64()),
        pa.array([draw.sample for draw in draws], pa.int32()),
        _lists([s.num_prefix for s in shared], b"".join([s.prefix_32 for s in shared])),
        pa.array([s.sampling for s in shared]),
        pa.array(seeds, pa.int64()),
        _lists(
            [len(each.tokens) for each in completions],
            np.fromiter(chain.from_iterable(each.tokens for each in completions), np.int32),
        ),
        pa.array([each.finish_reason for each in completions]),
        pa.array([each.num_cached_tokens for each in completions], pa.int32()),
        *_billed(completions),
        pa.array([each.scores or None for each in completions], DRAWS.field(SCORES).type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DRAWS).serialize().to_pybytes()


class _Shared(NamedTuple):
    """What all draws of one stream have in common, as their rows need it."""

    stream: int
    root: str
    parent_name: str
    sampling: str
    hash: blake2b
    num_prefix: int
    prefix_32: bytes
    prefix_64: bytes

    @classmethod
    def of(cls, draw: Draw) -> _Shared:
        stream = draw.stream
        return cls(
            stream_of(draw.fingerprint, stream),
            stream.root,
            path_name(stream.parent) + ("." if stream.parent else ""),
            sampling_json(stream.sampling),
            _hash_of_kind(draw.fingerprint, stream.sampling),
            len(stream.prefix),
            array("i", stream.prefix).tobytes(),
            array("q", stream.prefix).tobytes(),
        )


def _billed(completions: Sequence[Completion]) -> Iterator[pa.Array]:
    """The columns of `BILLED`."""
    billed = [each.billed for each in completions]
    if not any(billed):
        yield from (pa.nulls(len(billed), pa.int32()) for _ in BILLED)
        return
    counts = [
        (each.num_prompt_tokens, each.num_output_tokens, each.num_reasoning_tokens)
        if each
        else (None, None, None)
        for each in billed
    ]
    yield from (pa.array(column, pa.int32()) for column in zip(*counts, strict=True))


def _lists(lengths: Sequence[int], values: bytes | np.ndarray) -> pa.ListArray:
    """A column of lists of int32 from their lengths and all their values."""
    offsets = np.fromiter(accumulate(lengths, initial=0), np.int32, len(lengths) + 1)
    flat = np.frombuffer(values, np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
