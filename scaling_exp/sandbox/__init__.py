"""Programs that a model wrote, run where they can do no harm and cannot pass but by being right.

A *program* runs in one box, its tests in another, the *judge*. Calls go from the judge to the program as plain data,
and only the judge says what was found. `boxes` are the walls, `guest/` is what runs behind them, `trial` joins two
boxes. `docs/sandbox.md` says what this protects from, and what not.
"""

from scaling_exp.sandbox.boxes import Box, BoxError, Files, SandboxName
from scaling_exp.sandbox.choose import SAFE, chosen, why_not
from scaling_exp.sandbox.limits import Limits
from scaling_exp.sandbox.trial import SECONDS_TO_START, Program, Tests, Verdict, tried

__all__ = [
    "SAFE",
    "SECONDS_TO_START",
    "Box",
    "BoxError",
    "Files",
    "Limits",
    "Program",
    "SandboxName",
    "Tests",
    "Verdict",
    "chosen",
    "tried",
    "why_not",
]
