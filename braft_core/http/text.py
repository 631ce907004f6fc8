"""Names in URLs are text: bytes that are not UTF-8 are refused, not repaired.

Falcon replaces what it cannot decode, so that two different keys would fall together.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import falcon

from braft_core.http.problems import BadInput

__all__ = ["TextOnly"]


class TextOnly:
    """Falcon middleware: 400 for a path or query string that is not UTF-8."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Look at the bytes that were sent."""
        # PEP 3333: the path arrives unquoted, each byte as the character of that number.
        path = str(req.env.get("PATH_INFO", "")).encode("latin-1", "replace")
        query = unquote_to_bytes(req.query_string)
        for what, data in (("path", path), ("query string", query)):
            try:
                data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadInput(what, repr(data)[1:80], "UTF-8") from error
