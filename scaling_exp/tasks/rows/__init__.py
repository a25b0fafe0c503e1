"""From a row of a data set to a question. `kind:` chooses from `ROWS`."""

from typing import Protocol, runtime_checkable

from scaling_exp.tasks.files import Row
from scaling_exp.tasks.question import Question
from scaling_exp.tasks.rows.columns import Columns
from scaling_exp.tasks.rows.countdown import CountdownRows
from scaling_exp.tasks.rows.livecodebench import LiveCodeBench
from scaling_exp.tasks.rows.multiple_choice import MultipleChoice
from scaling_exp.tasks.rows.programs import ProgramRows


@runtime_checkable
class Rows(Protocol):
    """How a data set writes its questions. Frozen and picklable."""

    def question_in(self, row: Row, at: int) -> Question:
        """The question in row number `at`. Raises UserError that names the column when the row is not like that."""
        ...


ROWS: dict[str, type] = {
    "columns": Columns,
    "multiple_choice": MultipleChoice,
    "countdown": CountdownRows,
    "programs": ProgramRows,
    "livecodebench": LiveCodeBench,
}

__all__ = ["ROWS", "Rows"]
