"""Request bodies on their way in: a temporary file if there can be one, else memory.

Waitress resets the connection where it cannot make or extend its file. The size of a body is
limited before it comes here, so memory is a way out.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from waitress.buffers import BytesIOBasedBuffer, OverflowableBuffer

__all__ = ["BodyBuffer"]


class BodyBuffer(OverflowableBuffer):  # type: ignore[misc]  # waitress has no type information
    """Waitress's buffer, for a machine without a temporary folder, or without space in it."""

    buf: Any

    def append(self, s: bytes) -> None:
        """Take more of the body."""
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
            self.overflowed = True  # and is not tried again

    def _leave_file(self) -> None:
        file, size = self.buf.file, len(self.buf)
        # Past the file's own buffer, which holds what it could not write and would try again.
        held = os.pread(file.fileno(), size, 0)
        with suppress(OSError):
            file.close()
        self.buf = BytesIOBasedBuffer()
        self.buf.append(held)
