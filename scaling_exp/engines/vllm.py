"""vLLM behind the `Sampler` protocol, one request a draw.

On CPU the engine core lives in the worker's own process and is stepped from its event loop: no second process, no
thread, so it starts in seconds and nothing waits for the interpreter lock. On GPU it is vLLM's AsyncLLM. Both get token
ids and give token ids; text is made elsewhere. vLLM is imported when an engine starts, not before.
"""

from __future__ import annotations

import asyncio
import gc
import os
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

from scaling_exp.engines.engine import Counters
from scaling_exp.models import Model
from scaling_exp.types import Completion, Sampling, Tokens

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput

TURNS_AFTER_FINISH = 4
"""Turns of the event loop that a strategy needs from a finished draw to its next request."""


@dataclass(frozen=True)
class VLLM:
    """How vLLM runs. `in_process` is for CPU; KV memory is given in MiB or as a share of the accelerator's."""

    in_process: bool
    num_cpus: int
    num_gpus: int
    dtype: str
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
        if self.in_process and self.num_gpus:
            raise ValueError(
                f"engine.in_process with engine.num_gpus {self.num_gpus}: the in-process core is for CPU;"
                " set engine.in_process=false"
            )
        if self.in_process and self.kv_cache_mib is None:
            raise ValueError(
                "engine.kv_cache_mib must be given on CPU, e.g. engine.kv_cache_mib=256"
            )
        if self.max_num_seqs < 1:
            raise ValueError(f"engine.max_num_seqs is {self.max_num_seqs}; it must be at least 1")

    def start(self) -> InProcess | Async:
        """An engine without a model yet; imports vLLM (7 s)."""
        return InProcess(self) if self.in_process else Async(self)

    def engine_arguments(self, model: Model) -> dict[str, Any]:
        """Keyword arguments of vLLM's EngineArgs."""
        kv_cache = {"kv_cache_memory_bytes": self.kv_cache_mib << 20} if self.kv_cache_mib else {}
        block = {"block_size": self.block_size} if self.block_size else {}
        return {
            "model": model.path,
            "skip_tokenizer_init": True,
            "dtype": self.dtype,
            "max_num_seqs": self.max_num_seqs,
            # Holds every prompt whole: on CPU a seeded request crashes under chunked prefill.
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": self.enable_prefix_caching,
            "load_format": self.load_format,
            "trust_remote_code": self.trust_remote_code,
            "tensor_parallel_size": max(1, self.num_gpus),
            "disable_log_stats": True,
            "seed": 0,
            **kv_cache,
            **block,
        }


@dataclass(eq=False)
class InProcess:
    """vLLM's LLMEngine, stepped between turns of the event loop."""

    config: VLLM

    def __post_init__(self) -> None:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        import torch
        import vllm  # noqa: F401 - the slow import happens here, before any model is asked for

        torch.set_num_threads(self.config.num_cpus)
        self.counters = Counters()
        self._ids = count()
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._stop: Tokens = ()
        self._engine: Any = None
        self._shape = ""
        self._num_slots = 0
        self._wake = asyncio.Event()
        self._driver = asyncio.ensure_future(self._drive())

    @property
    def num_slots(self) -> int:
        return self._num_slots

    async def hold(self, model: Model) -> None:
        """Load a model; one of the same shape as the last only exchanges the weights."""
        if self._engine is not None and model.same_shape_as == self._shape:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": model.path})
            self._engine.reset_prefix_cache()
        else:
            self._unload()
            self._load(model)
        self._stop = model.stop_token_ids
        self._shape = model.same_shape_as

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        request_id = str(next(self._ids))
        self._engine.add_request(
            request_id,
            {"prompt_token_ids": list(prefix)},
            sampling_params(sampling, seed, self._stop),
        )
        self._waiting[request_id] = future = asyncio.get_running_loop().create_future()
        self._wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(request_id, None)
            self._engine.abort_request([request_id])
            raise

    async def close(self) -> None:
        self._driver.cancel()
        self._unload()

    async def _drive(self) -> None:
        try:
            while True:
                if not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                turns = TURNS_AFTER_FINISH if self._step() else 1
                for _ in range(turns):
                    await asyncio.sleep(0)
        except Exception as error:
            for future in self._waiting.values():
                future.set_exception(error)
            self._waiting.clear()
            raise

    def _step(self) -> int:
        """One forward pass of the batch; the number of requests that it finished."""
        self.counters.steps += 1
        self.counters.slot_steps += min(len(self._waiting), self._num_slots)
        num_finished = 0
        for output in self._engine.step():
            if output.finished:
                num_finished += 1
                future = self._waiting.pop(output.request_id, None)
                if future is not None and not future.done():
                    future.set_result(completion(output, self.counters))
        return num_finished

    def _load(self, model: Model) -> None:
        from vllm import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        self._engine = LLMEngine.from_engine_args(
            EngineArgs(**self.config.engine_arguments(model)), usage_context=UsageContext.LLM_CLASS
        )
        self._num_slots = num_slots(self._engine.vllm_config)

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.engine_core.shutdown()
            self._engine = None
            gc.collect()


@dataclass(eq=False)
class Async:
    """vLLM's AsyncLLM: the engine core in a process of its own."""

    config: VLLM

    def __post_init__(self) -> None:
        import vllm  # noqa: F401

        self.counters = Counters()
        self._ids = count()
        self._stop: Tokens = ()
        self._engine: Any = None
        self._shape = ""
        self._num_slots = 0

    @property
    def num_slots(self) -> int:
        return self._num_slots

    async def hold(self, model: Model) -> None:
        """Load a model; one of the same shape as the last only exchanges the weights."""
        if self._engine is not None and model.same_shape_as == self._shape:
            weights = {"weights_path": model.path}
            await self._engine.collective_rpc("reload_weights", kwargs=weights)
            await self._engine.reset_prefix_cache()
        else:
            await self.close()
            self._load(model)
        self._stop = model.stop_token_ids
        self._shape = model.same_shape_as

    async def __call__(self, prefix: Tokens, sampling: Sampling, seed: int) -> Completion:
        from vllm.v1.engine.exceptions import EngineDeadError

        request = {"prompt_token_ids": list(prefix)}
        parameters = sampling_params(sampling, seed, self._stop)
        try:
            async for output in self._engine.generate(request, parameters, str(next(self._ids))):
                if output.finished:
                    return completion(output, self.counters)
        except EngineDeadError:
            # The actor would live on with a dead engine: end it, so that Ray restarts it.
            os._exit(1)
        raise RuntimeError("vLLM ended a request without finishing it")

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.shutdown()
            self._engine = None
            gc.collect()

    def _load(self, model: Model) -> None:
        from vllm import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = AsyncEngineArgs(**self.config.engine_arguments(model))
        self._engine = AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        self._num_slots = num_slots(self._engine.vllm_config)


def num_slots(vllm_config: Any) -> int:
    """Requests that can run at once: max_num_seqs, or fewer if the KV cache holds fewer of the longest."""
    cache, model = vllm_config.cache_config, vllm_config.model_config
    kv_tokens = (cache.num_gpu_blocks or 0) * (cache.block_size or 1)
    by_memory = (
        kv_tokens // model.max_model_len if kv_tokens else vllm_config.scheduler_config.max_num_seqs
    )
    return max(1, min(vllm_config.scheduler_config.max_num_seqs, by_memory))


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
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # ours is a copy already; vLLM's own deep copy costs 36 us a request
    )


def completion(output: RequestOutput, counters: Counters) -> Completion:
    """Our form of a finished request, added to the counters."""
    (generated,) = output.outputs
    num_cached = output.num_cached_tokens or 0
    counters.prompt_tokens += len(output.prompt_token_ids or ())
    counters.cached_tokens += num_cached
    counters.output_tokens += len(generated.token_ids)
    return Completion(
        tokens=tuple(generated.token_ids),
        finish_reason="length" if generated.finish_reason == "length" else "stop",
        num_cached_tokens=num_cached,
    )
