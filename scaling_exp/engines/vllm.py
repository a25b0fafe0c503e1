"""vLLM behind the `Sampler` protocol, one request a draw.

On CPU the engine core lives in the worker's own process and is stepped from its event loop: no second process, no
thread, so it starts in seconds and nothing waits for the interpreter lock. On GPU it is vLLM's AsyncLLM. Both get token
ids and give token ids; text is made elsewhere, but of requests that a text shall end. vLLM is imported when an engine
starts, not before.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import count, product
from pathlib import Path as FilePath
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from scaling_exp.engines.engine import (
    TURNS_TO_REACT,
    Counters,
    EngineDied,
    RequestFailed,
    settled,
)
from scaling_exp.models import Model
from scaling_exp.types import (
    WHOLE_VOCABULARY,
    Completion,
    FinishReason,
    Sampling,
    Tokens,
    UserError,
)

if TYPE_CHECKING:
    from vllm import PoolingParams, SamplingParams
    from vllm.outputs import PoolingOutput, PoolingRequestOutput, RequestOutput
    from vllm.v1.request import Request as CoreRequest

COLLECTED_AFTER = (50_000, 20, 100)
"""The collector's thresholds. A request in flight is dozens of objects and none of them garbage: with Python's own
thresholds it looks at each several times, which takes 1 to 2 % of a small model's time."""


@dataclass(frozen=True)
class VLLM:
    """How vLLM runs. A replica is `tensor_parallel * pipeline_parallel` ranks of `num_cpus` cores and `num_gpus` GPUs.

    `in_process` is for CPU and a single rank; KV memory is given in MiB or as a share of the accelerator's. `replicas`
    null fills the cluster, `max_model_len` null is what each model was made for.
    """

    in_process: bool
    replicas: int | None
    tensor_parallel: int
    pipeline_parallel: int
    ranks_per_node: int
    num_cpus: int
    num_gpus: int
    dtype: str
    max_model_len: int | None
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_mib: int | None
    gpu_memory_utilization: float
    enforce_eager: bool
    enable_prefix_caching: bool
    block_size: int | None
    load_format: str
    trust_remote_code: bool

    def __post_init__(self) -> None:
        if self.in_process and (self.num_gpus or self.num_ranks > 1):
            raise ValueError(
                f"engine.in_process with engine.num_gpus {self.num_gpus} and {self.num_ranks} ranks: the"
                " in-process core is for one rank on CPU; set engine.in_process=false"
            )
        if not self.num_gpus and self.kv_cache_mib is None:
            raise ValueError(
                "engine.kv_cache_mib must be given on CPU, e.g. engine.kv_cache_mib=256"
            )
        for name in ("max_num_seqs", "tensor_parallel", "pipeline_parallel", "ranks_per_node"):
            if getattr(self, name) < 1:
                raise ValueError(f"engine.{name} is {getattr(self, name)}; it must be at least 1")
        for name, means in (("replicas", "all that fit"), ("max_model_len", "the model's own")):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(
                    f"engine.{name} is {value}; it must be at least 1, or null for {means}"
                )

    @property
    def num_ranks(self) -> int:
        """Processes that hold one replica's weights."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def executor(self) -> str:
        """vLLM's executor for this shape: in one process, on one node, or over several."""
        if self.num_ranks == 1:
            return "uni"
        return "mp" if self.num_ranks <= self.ranks_per_node else "ray"

    @property
    def bundles(self) -> tuple[Mapping[str, float], ...]:
        """What one replica reserves: one bundle if a node can hold it, else a bundle a rank."""
        together = 1 if self.executor == "ray" else self.num_ranks
        gpus = {"GPU": float(self.num_gpus * together)} if self.num_gpus else {}
        bundle = {"CPU": float(self.num_cpus * together), **gpus}
        return (bundle,) * (self.num_ranks // together)

    def start(self) -> InProcess | Async:
        """An engine without a model yet; imports vLLM (7 s)."""
        return InProcess(self) if self.in_process else Async(self)

    def check_code(self, models: Sequence[Model]) -> None:
        """Raise UserError, naming them, when a model wants classes of its own to be run and `trust_remote_code` is
        off."""
        for model in models:
            if not self.trust_remote_code and (brought := model.code_it_brings):
                raise UserError(
                    f"model {model.name} brings code of its own: {', '.join(brought)}; read it, then set"
                    " engine.trust_remote_code=true, or leave the model out"
                )

    def check_thinking(self, models: Sequence[Model], samplings: Sequence[Sampling]) -> None:
        """Raise UserError when thinking shall end in time, and a model has no token that ends it."""
        for model, sampling in product(models, samplings):
            check_thinking(model, sampling)

    def folder_of(self, model: Model) -> str:
        """Where the model's weights are on this machine; of one on the Hub, at its revision."""
        return str(model.take_weights(accept_code=self.trust_remote_code))

    def fetch(self, model: Model) -> None:
        """Bring a model's weights from the Hub to this machine, and from its disk into memory, as far as there is room.

        Raises UserError when they cannot be had.
        """
        folder = FilePath(self.folder_of(model))
        for name in model.weight_names:
            opened = os.open(folder / name, os.O_RDONLY)
            try:
                os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(opened)

    def engine_arguments(self, model: Model) -> dict[str, Any]:
        """Keyword arguments of vLLM's EngineArgs. What a model says of its precision goes before the engine's."""
        kv_cache = {"kv_cache_memory_bytes": self.kv_cache_mib << 20} if self.kv_cache_mib else {}
        block = {"block_size": self.block_size} if self.block_size else {}
        length = (
            {"max_model_len": min(self.max_model_len, model.max_tokens)}
            if self.max_model_len is not None
            else {}
        )
        thinking = model.thinking_tokens
        return {
            "model": self.folder_of(model),
            "served_model_name": model.name,
            "skip_tokenizer_init": True,
            "dtype": model.dtype or self.dtype,
            "quantization": model.quantization,
            "max_num_seqs": self.max_num_seqs,
            # Holds every prompt whole: on CPU a seeded request crashes under chunked prefill.
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_logprobs": WHOLE_VOCABULARY,  # a limit on what may be asked for, which takes nothing
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": self.enable_prefix_caching,
            "load_format": self.load_format,
            "use_tqdm_on_load": False,
            "trust_remote_code": self.trust_remote_code,
            "tensor_parallel_size": self.tensor_parallel,
            "pipeline_parallel_size": self.pipeline_parallel,
            # Inside a placement group vLLM would choose Ray for every world of more than one.
            "distributed_executor_backend": self.executor,
            "disable_log_stats": True,
            "seed": 0,
            "reasoning_config": None if thinking is None else _thinking_ends(*thinking),
            **kv_cache,
            **block,
            **length,
        }


class _Holding:
    """What both engines do with the model that they hold."""

    config: VLLM
    _engine: Any
    _capacity: Capacity
    _model: Model
    counters: Counters

    @property
    def num_slots(self) -> int:
        return self._capacity.num_slots

    @property
    def num_safe(self) -> int:
        return self._capacity.num_safe

    @property
    def facts(self) -> Mapping[str, object]:
        return asdict(self._capacity)

    async def fetch(self, model: Model) -> None:
        """See `VLLM.fetch`."""
        await asyncio.to_thread(self.config.fetch, model)

    def _can_swap(self, model: Model) -> bool:
        """Whether the engine can hold it by exchanging weights alone."""
        if self._engine is None:
            return False
        held = self._model
        return (model.same_shape_as, model.thinking_tokens) == (
            held.same_shape_as,
            held.thinking_tokens,
        )

    def _took(self, model: Model) -> None:
        self._model = model
        self._logprobs_of: set[str] = set()
        self._engine.output_processor.tokenizer = None

    def _completion(self, output: Any, sampling: Sampling) -> Completion:
        if sampling.pooling:
            return scored(output, self.counters)
        return completion(output, self.counters, sampling)

    def _parameters(self, sampling: Sampling, seed: int) -> SamplingParams | PoolingParams:
        """Raises UserError for what the model that is held cannot do."""
        if sampling.pooling:
            return _pooling_params(sampling)
        self._check_logprobs(sampling)
        if sampling.stop and self._engine.output_processor.tokenizer is None:
            self._engine.output_processor.tokenizer = _stop_finder(self._model)
        check_thinking(self._model, sampling)
        return sampling_params(sampling, seed, self._model.stop_token_ids)

    def _check_logprobs(self, sampling: Sampling) -> None:
        """Raise UserError when the model that is held is asked for the log-probabilities of labels and of the likeliest
        tokens: vLLM keeps one table of a batch, and with labels in it all others are minus infinity."""
        if not (sampling.labels or sampling.confidence):
            return
        self._logprobs_of.add("labels" if sampling.labels else "likeliest")
        if len(self._logprobs_of) > 1:
            raise UserError(
                f"model {self._model.name} is asked for sampling.confidence and, by a judged strategy, for the"
                " probabilities of labels, which vLLM cannot tell side by side: run one strategy, then the other, into"
                " the same store"
            )


def check_thinking(model: Model, sampling: Sampling) -> None:
    """Raise UserError when thinking shall end in time, and the model has no token that ends it."""
    if sampling.max_thinking_tokens is not None and model.thinking_tokens is None:
        raise UserError(
            f"sampling.max_thinking_tokens is {sampling.max_thinking_tokens}, and model {model.name} has no"
            " token of its own that ends its thinking, such as </think>: leave it null"
        )


def _stop_finder(model: Model) -> Any:
    """With what vLLM finds stop strings: the tokenizer that answers are read with, in the form that it takes."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=model.tokenizer)


def _thinking_ends(start: int, end: int) -> Any:
    """vLLM's description of what begins and ends a thinking.

    It makes token ids of two texts, for which it would have to load the tokenizer; with the ids given it does not.
    """
    from vllm.config import ReasoningConfig

    config = ReasoningConfig()
    config._reasoning_start_token_ids = [start]
    config._reasoning_end_token_ids = [end]
    config._natural_reasoning_end_token_ids = [end]
    return config


class _Request(asyncio.Future[Completion]):
    """A request in the engine. To cancel it is to take it out."""

    def __init__(self, name: str, sampling: Sampling, withdraw: Callable[[str], None]) -> None:
        super().__init__()
        self.name = name
        self.sampling = sampling
        self._withdraw = withdraw

    def cancel(self, msg: object = None) -> bool:
        self._withdraw(self.name)
        return super().cancel(msg)


def _is_cpu() -> bool:
    from vllm.platforms import current_platform

    return current_platform.is_cpu()


def _packed_again(model: Any) -> None:
    """Pack embeddings as vLLM does after loading, and not after reloading: on a CPU a tied output layer would stay that
    of the first model, and every other would sample through it."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):
            module.quant_method.process_weights_after_loading(module)


class _Direct(NamedTuple):
    """What the core knows of a request that went to it directly."""

    request: CoreRequest
    prefill: Any
    """vLLM's PrefillStats, of which the request lets go with its first token."""


@dataclass(eq=False)
class InProcess(_Holding):
    """vLLM's LLMEngine, stepped between turns of the event loop.

    Requests of which only the tokens are wanted go to its core at once: the core has them all when a request ends, and
    to gather them a second time at every step takes vLLM's output processor 4 % of a small model's time.
    """

    config: VLLM

    def __post_init__(self) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        import torch
        import vllm.v1.engine.llm_engine  # noqa: F401 - slow: before any model is asked for
        from vllm.exceptions import VLLMValidationError

        self._Invalid = VLLMValidationError
        torch.set_num_threads(self.config.num_cpus)
        gc.set_threshold(*COLLECTED_AFTER)
        _freeze()
        self.counters = Counters()
        self._num_added = 0
        self._num_finished = 0
        self._waiting: dict[str, _Request] = {}
        self._direct: dict[str, _Direct] = {}
        self._engine: Any = None
        self._capacity = Capacity(0, 0, 0)
        self._wake = asyncio.Event()
        self._driver = asyncio.ensure_future(self._drive())

    @property
    def core(self) -> Any:
        """vLLM's LLMEngine, once a model is held."""
        return self._engine

    async def hold(self, model: Model) -> None:
        """Load a model; one of the same shape as the last only exchanges the weights."""
        if self._can_swap(model):
            self._engine.collective_rpc(
                "reload_weights", kwargs={"weights_path": self.config.folder_of(model)}
            )
            self._engine.collective_rpc("apply_model", args=(_packed_again,))
            self._engine.reset_prefix_cache()
        else:
            self._unload()
            self._load(model)
        self._took(model)
        self.counters = Counters(num_slots=self.num_slots)

    def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> asyncio.Future[Completion]:
        self._num_added += 1
        name = str(self._num_added)
        parameters = self._parameters(sampling, seed)
        try:
            self._add(name, engine_input(prefix), sampling, parameters)
        except self._Invalid as error:
            raise RequestFailed(str(error)) from error
        self._waiting[name] = request = _Request(name, sampling, self._withdraw)
        self._wake.set()
        return request

    def _add(
        self, name: str, prompt: Any, sampling: Sampling, parameters: SamplingParams | PoolingParams
    ) -> None:
        if not sampling.tells_tokens_alone:
            self._engine.add_request(name, prompt, parameters)
            return
        core, tasks = self._engine.engine_core.engine_core, self._engine.get_supported_tasks()
        asked = self._engine.input_processor.process_inputs(name, prompt, parameters, tasks)
        request, _ = core.preprocess_add_request(asked)
        core.add_request(request)
        self._direct[name] = _Direct(request, request.prefill_stats)

    def _withdraw(self, name: str) -> None:
        if self._waiting.pop(name, None) is None:
            return
        if self._direct.pop(name, None) is None:
            self._engine.abort_request([name])
        else:
            self._engine.engine_core.abort_requests([name])

    async def close(self) -> None:
        self._driver.cancel()
        self._unload()
        gc.unfreeze()

    async def _drive(self) -> None:
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            await settled(lambda: self._num_added, self._turns_to_wait())
            try:
                self._step()
            except Exception as error:
                self._die(error)
                raise

    def _turns_to_wait(self) -> int:
        """Many if the next step would not be full without what strategies make of the last one, else one."""
        num_waiting = len(self._engine.engine_core.engine_core.scheduler.waiting)
        return TURNS_TO_REACT if num_waiting <= self._num_finished else 1

    def _die(self, error: Exception) -> None:
        for future in self._waiting.values():
            died = EngineDied(f"vLLM's engine core failed: {error!r}")
            died.__cause__ = error
            if not future.done():
                future.set_exception(died)
        self._waiting.clear()
        self._direct.clear()

    def _step(self) -> None:
        """One forward pass of the batch; whoever waits for a request that it finished is told."""
        started = perf_counter()
        finished = self._finished()
        self._num_finished = len(finished)
        self._count(perf_counter() - started)
        for name, completion in finished:
            request = self._waiting.pop(name, None)
            if request is not None and not request.done():
                request.set_result(completion)

    def _finished(self) -> list[tuple[str, Completion]]:
        """Step; names and answers of the requests that it finished."""
        outputs = self._engine.engine_core.get_output().outputs
        finished = [
            (output.request_id, self._answer(output))
            for output in outputs
            if output.finish_reason is not None and output.request_id in self._direct
        ]
        processor = self._engine.output_processor
        if processor.has_unfinished_requests():
            processed = processor.process_outputs(outputs)
            self._engine.engine_core.abort_requests(processed.reqs_to_abort)
            finished += [
                (each.request_id, self._completion(each, self._waiting[each.request_id].sampling))
                for each in processed.request_outputs
                if each.finished and each.request_id in self._waiting
            ]
        return finished

    def _answer(self, output: Any) -> Completion:
        """Of a request that went to the core directly."""
        request, prefill = self._direct.pop(output.request_id)
        tokens = tuple(request.output_token_ids)
        _count_read(self.counters, request.num_prompt_tokens, prefill.num_cached_tokens)
        self.counters.output_tokens += len(tokens)
        return Completion(tokens, _ended_by(output.finish_reason), prefill.num_cached_tokens)

    def _count(self, seconds: float) -> None:
        """Add a step. The integral of the queue's length over time is the sum of the waits (Little's law)."""
        scheduler = self._engine.engine_core.engine_core.scheduler
        num_running = len(scheduler.running) + self._num_finished
        self.counters.steps += 1
        self.counters.slot_steps += min(num_running, self.num_slots)
        self.counters.busy_seconds += seconds
        self.counters.queue_seconds += seconds * len(scheduler.waiting)

    def _load(self, model: Model) -> None:
        from vllm import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        arguments = EngineArgs(**self.config.engine_arguments(model))
        with _collecting_nothing():
            self._engine = LLMEngine.from_engine_args(
                arguments, usage_context=UsageContext.LLM_CLASS
            )
        self._capacity = capacity(self._engine.vllm_config)
        self._count_preemptions(self._engine.engine_core.engine_core.scheduler)

    def _count_preemptions(self, scheduler: Any) -> None:
        """vLLM reports them with its statistics, which cost a few microseconds a token; this costs nothing."""
        preempt = scheduler._preempt_request

        def counted(*arguments: Any, **named: Any) -> None:
            self.counters.num_preemptions += 1
            preempt(*arguments, **named)

        scheduler._preempt_request = counted

    def _unload(self) -> None:
        if self._engine is not None:
            with _collecting_nothing():
                self._engine.engine_core.shutdown()
            self._engine = None
            gc.unfreeze()
            _freeze()


@dataclass(eq=False)
class Async(_Holding):
    """vLLM's AsyncLLM: the engine core in a process of its own."""

    config: VLLM

    def __post_init__(self) -> None:
        if not self.config.num_gpus:
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        import vllm.v1.engine.async_llm  # noqa: F401 - slow: before any model is asked for

        self.counters = Counters()
        self._ids = count()
        self._num_open = 0
        self.last_step = 0.0
        self.exports: list[Any] = []
        self._engine: Any = None
        self._capacity = Capacity(0, 0, 0)

    async def hold(self, model: Model) -> None:
        """Load a model; one of the same shape as the last only exchanges the weights.

        Not on a CPU, where the output layer must be packed again, and a function cannot be sent to another process.
        """
        if self._can_swap(model) and not _is_cpu():
            weights = {"weights_path": self.config.folder_of(model)}
            await self._engine.collective_rpc("reload_weights", kwargs=weights)
            await self._engine.reset_prefix_cache()
            self._name_exports(model)
        else:
            await self.close()
            await asyncio.to_thread(self._load, model)
        self._took(model)
        self.counters = Counters(num_slots=self.num_slots)

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineDeadError

        parameters = self._parameters(sampling, seed)
        request_id = str(next(self._ids))
        if not self._num_open:
            self.last_step = perf_counter()  # it was idle until now
        self._num_open += 1
        try:
            ask = self._engine.encode if sampling.pooling else self._engine.generate
            async for output in ask(engine_input(prefix), parameters, request_id):
                if output.finished:
                    return self._completion(output, sampling)
        except EngineDeadError as error:
            raise EngineDied(f"vLLM's engine core failed: {error!r}") from error
        except VLLMValidationError as error:
            raise RequestFailed(str(error)) from error
        finally:
            self._num_open -= 1
        raise EngineDied("vLLM ended a request without finishing it")

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None
            self.exports.clear()
            gc.collect()

    def _load(self, model: Model) -> None:
        from vllm import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = {**self.config.engine_arguments(model), "disable_log_stats": False}
        self._engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**arguments),
            usage_context=UsageContext.LLM_CLASS,
            stat_loggers=[_watch(self), *_exported(self)],
        )
        self._capacity = capacity(self._engine.vllm_config)

    def _name_exports(self, model: Model) -> None:
        """Let statistics go by the name of the model that was swapped in."""
        self._engine.vllm_config.model_config.served_model_name = model.name
        for export in self.exports:
            export.label()


def _watch(engine: Async) -> Any:
    """A vLLM statistics logger that turns what the engine core sends with every step into `engine.counters`."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Watch(StatLoggerBase):
        def __init__(self, *_: Any, **__: Any) -> None:
            """vLLM gives its configuration; nothing of it is needed."""

        def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
            if scheduler_stats is None:
                return
            counters, now = engine.counters, perf_counter()
            seconds, engine.last_step = now - engine.last_step, now
            num_running = scheduler_stats.num_running_reqs
            if iteration_stats is not None:
                num_running += len(iteration_stats.finished_requests)
                counters.num_preemptions += iteration_stats.num_preempted_reqs
            if num_running:
                counters.steps += 1
                counters.slot_steps += min(num_running, counters.num_slots)
                counters.busy_seconds += seconds
                counters.queue_seconds += seconds * scheduler_stats.num_waiting_reqs

        def log_engine_initialized(self) -> None:
            """Nothing to say."""

    return Watch


PER_TOKEN = "vllm:inter_token_latency_seconds"
"""The one statistic that takes a call for every token, 3 us in Ray; `request_time_per_output_token` has its mean."""


def _exported(engine: Async) -> list[Any]:
    """Inside of Ray, vLLM's logger of its own statistics to Ray's metrics port, as `ray_vllm_*`; nothing where there is
    no such logger, or no Ray."""
    import ray
    from ray.util import metrics

    if not ray.is_initialized():
        return []
    try:
        from vllm.v1.metrics import ray_wrappers
    except ImportError:
        return []
    # Without Ray Serve, whose replicas it can name too, vLLM would take Ray for missing.
    ray_wrappers.ray_metrics = metrics  # pyright: ignore[reportPrivateImportUsage]

    class Histogram(ray_wrappers.RayHistogramWrapper):
        def __init__(self, name: str, *arguments: Any, **named: Any) -> None:
            super().__init__(name, *arguments, **named)
            self._is_told = name != PER_TOKEN

        def observe(self, value: float) -> None:
            if self._is_told:
                super().observe(value)

    class Export(ray_wrappers.RayPrometheusStatLogger):
        _histogram_cls = Histogram

        def __init__(self, vllm_config: Any, engine_indexes: Any = None) -> None:
            super().__init__(vllm_config, engine_indexes)
            engine.exports.append(self)

        def label(self) -> None:
            """Make all metrics anew: each has the name of the model in its labels."""
            super().__init__(self.vllm_config, self.engine_indexes)

    return [Export]


def _freeze() -> None:
    """Collect once, then take all that lives out of the collector's sight."""
    gc.collect()
    gc.freeze()


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """While vLLM swaps models it collects eight times, each over the half million objects of its own imports.

    That was 2 s of the 3 that a small model took. One collection afterwards frees the same.
    """
    with patch.object(gc, "collect", return_value=0), patch.object(gc, "unfreeze"):
        yield


@dataclass(frozen=True)
class Capacity:
    """Requests that can run at once: `num_slots` by configuration, `num_safe` even if all grow to the model's limit."""

    num_slots: int
    num_safe: int
    kv_tokens: int


def capacity(vllm_config: Any) -> Capacity:
    """max_num_seqs, and what the KV cache holds of the longest requests."""
    cache, model = vllm_config.cache_config, vllm_config.model_config
    num_slots = vllm_config.scheduler_config.max_num_seqs
    kv_tokens = (cache.num_gpu_blocks or 0) * (cache.block_size or 1)
    by_memory = max(1, kv_tokens // model.max_model_len) if kv_tokens else num_slots
    return Capacity(num_slots, min(num_slots, by_memory), kv_tokens)


def engine_input(prefix: Tokens) -> Any:
    """A prompt in the form that vLLM makes of every other: it then renders and checks nothing again."""
    return {"type": "token", "prompt_token_ids": list(prefix)}


def _pooling_params(sampling: Sampling) -> PoolingParams:
    from vllm import PoolingParams

    assert sampling.pooling
    mark = sampling.labels[0] if sampling.labels else None
    return PoolingParams(task=sampling.pooling, step_tag_id=mark)


def sampling_params(sampling: Sampling, seed: int, stop_token_ids: Tokens) -> SamplingParams:
    """vLLM's form of a draw. One sample a request: with n > 1 nearby seeds would share samples."""
    parameters = copy(_sampling_params(sampling, stop_token_ids))
    if sampling.temperature > 0:
        parameters.seed = seed
    return parameters


@lru_cache(maxsize=1024)
def _sampling_params(sampling: Sampling, stop_token_ids: Tokens) -> SamplingParams:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        n=1,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        max_tokens=sampling.max_tokens,
        stop_token_ids=list(sampling.stop_token_ids + stop_token_ids),
        stop=list(sampling.stop),
        include_stop_str_in_output=True,
        thinking_token_budget=sampling.max_thinking_tokens,
        logprob_token_ids=list(sampling.labels) or None,
        logprobs=sampling.confidence or None,
        prompt_logprobs=None if sampling.scored_from is None else 0,
        flat_logprobs=bool(sampling.confidence) or sampling.scored_from is not None,
        detokenize=bool(sampling.stop),
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # ours is a copy already; vLLM's own deep copy costs 36 us a request
    )


def completion(output: RequestOutput, counters: Counters, sampling: Sampling) -> Completion:
    """Our form of a finished request, added to the counters."""
    (generated,) = output.outputs
    num_cached = _counted(output, counters)
    counters.output_tokens += len(generated.token_ids)
    return Completion(
        tokens=tuple(generated.token_ids),
        finish_reason=_ended_by(generated.finish_reason),
        num_cached_tokens=num_cached,
        scores=_told(output, sampling),
    )


def _told(output: RequestOutput, sampling: Sampling) -> tuple[float, ...]:
    """The numbers that were asked for beside the tokens."""
    if sampling.scored_from is not None:
        return _logprobs_of_prefix(output.prompt_logprobs, sampling.scored_from)
    logprobs = output.outputs[0].logprobs
    if sampling.labels:
        return _logprobs_of_first(logprobs, sampling.labels)
    return _confidences(logprobs) if sampling.confidence else ()


def _logprobs_of_prefix(logprobs: Any, first: int) -> tuple[float, ...]:
    """Log-probabilities of the tokens that were read, from position `first` on."""
    return tuple(logprobs.logprobs[at] for at in logprobs.start_indices[first:])


def _confidences(logprobs: Any) -> tuple[float, ...]:
    """Log-probability and confidence of each token, in turn. At its place stand that of the token that was drawn, then
    those of the likeliest."""
    told: list[float] = []
    for first, last in zip(logprobs.start_indices, logprobs.end_indices, strict=True):
        likeliest = logprobs.logprobs[first + 1 : last]
        told += (logprobs.logprobs[first], -sum(likeliest) / len(likeliest))
    return tuple(told)


def scored(output: PoolingRequestOutput[PoolingOutput], counters: Counters) -> Completion:
    """Our form of what a pooling model gives."""
    num_cached = _counted(output, counters)
    return Completion((), "stop", num_cached, scores=tuple(output.outputs.data.flatten().tolist()))


def _counted(
    output: RequestOutput | PoolingRequestOutput[PoolingOutput], counters: Counters
) -> int:
    """Add what a request read to the counters; what of it was cached."""
    num_cached = output.num_cached_tokens or 0
    _count_read(counters, len(output.prompt_token_ids or ()), num_cached)
    return num_cached


def _count_read(counters: Counters, num_tokens: int, num_cached: int) -> None:
    counters.num_requests += 1
    counters.prompt_tokens += num_tokens
    counters.cached_tokens += num_cached


def _ended_by(reason: object) -> FinishReason:
    """Our word for vLLM's reason, or for its name."""
    return "length" if str(reason) == "length" else "stop"


def _logprobs_of_first(logprobs: Any, labels: Tokens) -> tuple[float, ...]:
    """Log-probabilities of some tokens, had they been the first."""
    first = logprobs[0]
    return tuple(first[label].logprob for label in labels)
