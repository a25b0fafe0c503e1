"""Engines: what turns a draw into tokens. `kind:` in a configuration chooses from `ENGINES`."""

from scaling_exp.engines.engine import (
    Counters,
    Engine,
    EngineConfig,
    EngineDied,
    RequestFailed,
)
from scaling_exp.engines.vllm import VLLM

ENGINES = {"vllm": VLLM}

__all__ = ["ENGINES", "VLLM", "Counters", "Engine", "EngineConfig", "EngineDied", "RequestFailed"]
