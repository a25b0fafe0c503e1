"""Where the package's own files lie. Imports nothing: shell completion waits for it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def conf_folder() -> Path:
    """The checkout's conf/ when there is one, else the one that travels in the wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else PACKAGE / "conf"
