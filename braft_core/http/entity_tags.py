"""Revisions as entity tags: ``ETag``, ``If-Match`` and ``If-None-Match``."""

from __future__ import annotations

from typing import Final

from falcon.asgi import Request

from braft_core.http.operation import Parameter, text
from braft_core.http.problems import BadInput

__all__ = ["IF_MATCH", "IF_NONE_MATCH", "REVISION", "revision_of", "tags"]

REVISION: Final = Parameter("ETag", "the revision, in quotes", text())
IF_MATCH: Final = Parameter(
    "If-Match", "revisions in quotes: the key has one of them; or `*`: it exists", text()
)
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    "revisions in quotes: the key has none of them; or `*`: it does not exist",
    text(),
)


def tags(req: Request, header: str) -> list[str]:
    """Return the entity tags in a header."""
    return [tag.strip() for tag in (req.get_header(header) or "").split(",") if tag.strip()]


def revision_of(tag: str) -> int:
    """Return the revision of an entity tag. :raises BadInput: it is not one in quotes."""
    digits = tag.removeprefix('"').removesuffix('"')
    # Revisions have 64 bits, and int() fails on thousands of digits.
    if f'"{digits}"' != tag or not digits.isdecimal() or len(digits) > 20:
        raise BadInput("entity tag", tag, 'a revision in quotes, such as "7", or *')
    return int(digits)
