"""What stands between two tags, as it stands: answers of several lines, as reasoning-gym asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TagReader:
    """Reads what follows the last `<answer>`, to `</answer>` or to the end, without the blanks around it.

    There may be nothing: empty text is an answer too.
    """

    tag: str = "answer"

    def __post_init__(self) -> None:
        if not self.tag.isidentifier():
            raise ValueError(f"task.reader.tag is {self.tag!r}; it is a name, without its brackets")

    def read(self, text: str) -> str | None:
        _, opened, said = text.rpartition(f"<{self.tag}>")
        return said.partition(f"</{self.tag}>")[0].strip() if opened else None
