"""Engines: what turns a draw into tokens. `kind:` in a configuration chooses from `ENGINES`."""

from scaling_exp.engines.engine import (
    Counters,
    Engine,
    EngineConfig,
    EngineDied,
    RequestFailed,
)
from scaling_exp.engines.openai import Endpoint
from scaling_exp.engines.vllm import VLLM

ENGINES = {"vllm": VLLM, "openai": Endpoint}

__all__ = [
    "ENGINES",
    "VLLM",
    "Counters",
    "Endpoint",
    "Engine",
    "EngineConfig",
    "EngineDied",
    "RequestFailed",
]
