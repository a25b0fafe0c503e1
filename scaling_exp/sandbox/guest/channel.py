"""Messages over a socket: the length in four bytes, then JSON."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False  # as typing's, without the time that its import takes
if TYPE_CHECKING:
    from typing import Any

HEADER_BYTES = 4
CLOSED = "the other end is closed"
READY = "ready"
"""What a guest says before anything runs that it did not bring."""
EXPANSION = 8
"""A byte of output takes at most so many in a message."""


class ClosedError(Exception):
    """The other end is gone, or sends what is no message."""


class Channel:
    """One end of a socket. Longer messages than `max_bytes` do not come in."""

    def __init__(self, fd: int, max_bytes: int = 1 << 32) -> None:
        self._fd = fd
        self._max_bytes = max_bytes

    def send(self, message: Any) -> None:
        """Raises ClosedError when nobody reads any more."""
        content = json.dumps(message, separators=(",", ":")).encode()
        rest = memoryview(len(content).to_bytes(HEADER_BYTES, "big") + content)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except OSError:
                raise ClosedError(CLOSED) from None

    def receive(self) -> Any:
        """The next message. Raises ClosedError."""
        length = int.from_bytes(self._read(HEADER_BYTES), "big")
        if length > self._max_bytes:
            raise ClosedError(f"a message of {length} bytes is more than {self._max_bytes}")
        try:
            return json.loads(self._read(length))
        except (ValueError, RecursionError) as error:
            raise ClosedError(f"no message: {type(error).__name__}") from None

    def close(self) -> None:
        os.close(self._fd)

    def _read(self, num_bytes: int) -> bytes:
        content = bytearray()
        while len(content) < num_bytes:
            try:
                part = os.read(self._fd, min(num_bytes - len(content), 1 << 20))
            except OSError:
                part = b""
            if not part:
                raise ClosedError(CLOSED)
            content += part
        return bytes(content)
