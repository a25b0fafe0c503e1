"""Graders that do what an answer says. By themselves: the processes that grade import no more than this."""

import os
import time
from dataclasses import dataclass

from scaling_exp.types import Grade, UserError

HANGS, ENDS, TEARS = "13", "17", "torn"


@dataclass(frozen=True)
class Even:
    """An answer is right when it is even. With `is_careless` one keeps it for ever, one ends its process, and one is a
    user's mistake."""

    version: str = "even 1"
    seconds: float = 0.5
    knows: str = ""
    is_careless: bool = False
    imports: tuple[str, ...] = ()

    def quick(self, problem, answer):  # noqa: ARG002
        return None

    def slow(self, problem, answer):
        if self.is_careless:
            if answer == HANGS:
                time.sleep(3600)
            if answer == ENDS:
                os._exit(3)
            if answer == TEARS:
                raise UserError(f"line 3: no {answer} of {problem.name}")
        return Grade.of(int(answer) % 2 == 0)
