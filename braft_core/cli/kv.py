"""``braft kv``: read and write keys of the service ``kv``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core import strict_json
from braft_core.cli.options import (
    DEFAULT_TIMEOUT,
    AsJson,
    Stale,
    Timeout,
    TLSCa,
    TLSCert,
    TLSKey,
    Token,
    Urls,
    connect,
    consistency_of,
)
from braft_core.cli.output import Exit, echo, echo_lines, emit, print_json, reports_errors
from braft_core.cli.streams import print_text, standard_input
from braft_core.errors import ConfigError
from braft_core.pagination import MAX_PAGE_SIZE

if TYPE_CHECKING:
    from braft_core.client import Client
    from braft_core.cluster_types import Consistency

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Read and write keys of replicated maps.")

MapName = Annotated[str, typer.Argument(metavar="MAP", help="Name of the map.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Key in the map.")]


@app.command()
@reports_errors
def get(
    map_name: MapName,
    key: Key,
    stale: Stale = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print a value: text and bytes as they are, anything else as JSON.

    Exit code 1 if there is no such key. JSON: map, key, found, value, base64 (whether value is the
    base64 of bytes), revision.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        entry = client.kv_entry(map_name, key, consistency_of(stale))
    answer: dict[str, Any] = {"map": map_name, "key": key, "found": entry is not None}
    if entry is None:
        emit(as_json, answer, lambda: echo(f"map {map_name} has no key {key}", err=True))
        raise typer.Exit(Exit.REFUSED)
    answer |= {
        "value": entry.value,
        "base64": isinstance(entry.value, bytes),
        "revision": entry.revision,
    }
    emit(as_json, answer, lambda: _print_value(entry.value))


@app.command()
@reports_errors
def put(
    map_name: MapName,
    key: Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="The value; - reads it from standard input.")
    ],
    parse: Annotated[bool, typer.Option("--parse", help="VALUE is JSON, not text.")] = False,
    if_revision: Annotated[
        int | None,
        typer.Option(min=0, help="Only if the key has this revision; 0: if it does not exist."),
    ] = None,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Store a value. Standard input that is not UTF-8 is stored as bytes.

    JSON: map, key, revision.
    """
    stored = _value(value, parse)
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        revision = client.kv_put(map_name, key, stored, if_revision)
    answer = {"map": map_name, "key": key, "revision": revision}
    emit(as_json, answer, lambda: echo(f"stored at revision {revision}"))


@app.command("del")
@reports_errors
def delete(
    map_name: MapName,
    key: Key,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete a key. A key that does not exist is no error.

    JSON: map, key, deleted.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        deleted = client.kv_delete(map_name, key)
    answer = {"map": map_name, "key": key, "deleted": deleted}
    emit(as_json, answer, lambda: echo("deleted" if deleted else "there was no such key"))


@app.command("list")
@reports_errors
def list_keys(
    map_name: Annotated[
        str | None, typer.Argument(metavar="[MAP]", help="A map; default: list the maps.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_PAGE_SIZE, help="Largest number of keys; default: all."),
    ] = None,
    after: Annotated[
        str, typer.Option(metavar="KEY", help="Only keys that sort after this one.")
    ] = "",
    stale: Stale = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List the keys and values of a map in order, or the names of all maps.

    A map is read in pages; each page is a separate read. JSON: map, items, base64 (the keys whose
    values are the base64 of bytes) and, if --limit left keys out, next, the --after of the rest;
    without MAP: maps.
    """
    if map_name is None and (limit is not None or after):
        raise ConfigError("--limit and --after select keys of one map; name a MAP with them")
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        if map_name is None:
            maps = client.kv_maps()
            emit(as_json, {"maps": maps}, lambda: echo_lines(maps))
            return
        listing = _Listing(client, map_name, limit, after, consistency_of(stale))
        if as_json:
            print_json(listing.as_json())
        else:
            for page in listing.pages():
                echo_lines([f"{key}\t{_text(value)}" for key, value in page.items()])
            if listing.next is not None:
                echo(f"there are more: --after {shlex.quote(listing.next)}", err=True)


#: Keys per page: the most that is allowed, since each page is one consistent read.
PAGE_SIZE = MAX_PAGE_SIZE


class _Listing:
    """The keys of a map, page by page."""

    def __init__(
        self, client: Client, map_name: str, limit: int | None, after: str, consistency: Consistency
    ) -> None:
        self._client = client
        self._map_name = map_name
        self._limit = limit
        self._consistency = consistency
        #: The key after which the next page begins; ``None`` at the end.
        self.next: str | None = after

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield pages until the limit or the end of the map."""
        left = self._limit
        while self.next is not None and left != 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            items, self.next = self._client.kv_page(
                self._map_name, self.next, size, self._consistency
            )
            left = None if left is None else left - len(items)
            yield items

    def as_json(self) -> dict[str, Any]:
        """Return all pages as one JSON object."""
        items: dict[str, Any] = {}
        for page in self.pages():
            items |= page
        rest = {} if self.next is None else {"next": self.next}
        in_base64 = [key for key, value in items.items() if isinstance(value, bytes)]
        return {"map": self._map_name, "items": items, "base64": in_base64} | rest


def _value(given: str, parse: bool) -> Any:
    raw: str | bytes = standard_input() if given == "-" else _argument(given)
    if parse:
        try:
            return strict_json.loads(raw)
        except ValueError as error:
            raise ConfigError(f"VALUE is not JSON: {error}; leave out --parse for text") from None
    if isinstance(raw, bytes):
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw
    return raw


def _argument(given: str) -> str:
    # Python represents undecodable bytes as lone surrogates.
    if not given.isascii() and any("\ud800" <= char <= "\udfff" for char in given):
        raise ConfigError(
            f"VALUE is {given!r:.120}; accepted: text in the terminal's encoding, or bytes from "
            "standard input (VALUE is -)"
        )
    return given


def _print_value(value: Any) -> None:
    if isinstance(value, bytes) and sys.stdout.isatty():
        print_text(value.decode(errors="backslashreplace"))
    elif isinstance(value, bytes):
        sys.stdout.buffer.write(value)
    elif isinstance(value, str):
        print_text(value)
    else:
        print_json(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return strict_json.dumps(value)
