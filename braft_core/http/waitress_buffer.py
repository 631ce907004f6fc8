"""Waitress's buffer for request bodies, with memory as the fallback for its temporary file.

Waitress resets the connection if it cannot create or extend that file. Bodies are limited in size
before they are buffered, so memory can take them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from waitress.buffers import BytesIOBasedBuffer, OverflowableBuffer

__all__ = ["BodyBuffer"]


class BodyBuffer(OverflowableBuffer):  # type: ignore[misc]  # waitress has no type information
    """Buffers in memory where there is no temporary folder, or no space left in it."""

    buf: Any

    def append(self, s: bytes) -> None:
        """Append a part of the body."""
        try:
            super().append(s)
        except OSError:
            self._leave_file()
            super().append(s)

    def _set_large_buffer(self) -> None:
        try:
            super()._set_large_buffer()
        except OSError:
            super()._set_small_buffer()
            self.overflowed = True  # do not try again

    def _leave_file(self) -> None:
        file, size = self.buf.file, len(self.buf)
        # Bypass the file object's own buffer, which holds data that it failed to write.
        held = os.pread(file.fileno(), size, 0)
        with suppress(OSError):
            file.close()
        self.buf = BytesIOBasedBuffer()
        self.buf.append(held)
