"""How far a watch over HTTP has seen, as the id of an event and as where a watch goes on.

``7`` says that every change up to revision 7 was seen. ``7.2`` says that of revision 7 only the
records up to number 2 were, and that more may follow: a revision may change many keys.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from braft_core.errors import InvalidArgument
from braft_core.store.json_form import MAX_NUMBER

__all__ = ["POSITION_PATTERN", "Position"]

#: What a position looks like, for OpenAPI.
POSITION_PATTERN: Final = r"^[0-9]{1,19}(\.[0-9]{1,19})?$"
_PATTERN: Final = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,19}))?", re.ASCII)


class Position(NamedTuple):
    """A position in the history; it is ordered, and comparable with the place of an event."""

    revision: int
    #: The number of the last record of the revision that was seen.
    sub: int = MAX_NUMBER

    @property
    def is_whole(self) -> bool:
        """Whether the revision was seen completely."""
        return self.sub == MAX_NUMBER

    @property
    def complete(self) -> int:
        """The last revision that was seen completely."""
        return self.revision if self.is_whole else self.revision - 1

    @property
    def text(self) -> str:
        """The position as text, which :meth:`of` reads."""
        return f"{self.revision}" if self.is_whole else f"{self.revision}.{self.sub}"

    @classmethod
    def of(cls, what: str, text: Any) -> Position:
        """Return the position of a text. :raises InvalidArgument: it is not one."""
        found = _PATTERN.fullmatch(text) if isinstance(text, str) else None
        if found is not None:
            revision, sub = int(found[1]), int(found[2] or MAX_NUMBER)
            # Nothing is in revision 0: it stands for no revision.
            if max(revision, sub) <= MAX_NUMBER and (revision or found[2] is None):
                return cls(revision, sub)
        accepted = "a revision, such as 7, or the id of an event, such as 7.2"
        raise InvalidArgument(
            f"{what} is {repr(text)[:80]}; accepted: {accepted}", value=repr(text)[:80]
        )
