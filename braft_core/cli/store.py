"""``braft store``: read and write the store: keys and values of bytes with revisions."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from braft_core.cli import store_lease, store_watch
from braft_core.cli.extensions import ExtensibleGroup
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
from braft_core.cli.output import Exit, echo, emit, reports_errors
from braft_core.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(
    cls=ExtensibleGroup,
    no_args_is_help=True,
    help="Read and write the store: bytes with revisions and leases.",
)
app.add_typer(store_lease.app, name="lease")
app.command()(store_watch.watch)

#: Entries of a page; the client reads as many as it needs.
_PAGE = 1_000

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key.")]
Prefix = Annotated[
    bool, typer.Option("--prefix", help="All keys that begin with KEY; '' stands for all.")
]
End = Annotated[
    str | None, typer.Option(metavar="KEY", help="All keys from KEY to before this one.")
]


@app.command()
@reports_errors
def get(
    key: Key,
    prefix: Prefix = False,
    end: End = None,
    revision: Annotated[
        int | None, typer.Option(min=1, help="As of this revision; default: the newest.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Largest number of keys of a range; default: all.")
    ] = None,
    keys_only: Annotated[bool, typer.Option("--keys-only", help="Print no values.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Print how many keys there are.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print exactly the bytes of the value, no end of line.")
    ] = False,
    stale: Stale = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print a value, or the keys and values of a range.

    Exit code 1 if there is no such key. JSON: key, found, value, revision, created, version, lease
    and base64, which names the fields that are the base64 of bytes; of a range: entries and more;
    with --count: count.
    """
    from braft_core.cli.bytes_values import entry_json, fields, of_word, print_entries, print_value

    span = _span(key, prefix, end)
    if span is None and count:
        raise ConfigError("--count without a range; accepted: with --prefix or --end")
    options: dict[str, Any] = {"at": revision, "consistency": consistency_of(stale)}
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        if span is not None and count:
            number = client.store.count(**span, **options)
            emit(as_json, {"count": number}, lambda: echo(str(number)))
            return
        if span is not None:
            page = _PAGE if limit is None else min(limit, _PAGE)
            scan = client.store.scan(**span, page=page, **options)
            # A large range is printed as it arrives, unless as JSON.
            _print_range(scan, limit, as_json, keys_only)
            return
        entry = client.store.get(of_word(key), **options)
    if entry is None:
        answer = fields(key=of_word(key)) | {"found": False}
        emit(as_json, answer, lambda: echo(f"the store has no key {key}", err=True))
        raise typer.Exit(Exit.REFUSED)
    if as_json:
        emit(as_json, entry_json(entry) | {"found": True}, echo)
    elif keys_only:
        print_entries([entry], keys_only=True)
    else:
        print_value(entry.value, raw=raw)


def _print_range(scan: Any, limit: int | None, as_json: bool, keys_only: bool) -> None:
    from braft_core.cli.bytes_values import entry_json, print_entries

    entries = iter(scan)
    if as_json:
        found = list(entries if limit is None else islice(entries, limit))
        shown = [entry_json(entry) for entry in found]
        if keys_only:
            shown = [{name: each[name] for name in ("key", "base64")} for each in shown]
        more = limit is not None and next(entries, None) is not None
        emit(as_json, {"entries": shown, "more": more}, echo)
        return
    for entry in entries if limit is None else islice(entries, limit):
        print_entries([entry], keys_only=keys_only)
    if limit is not None and next(entries, None) is not None:
        echo("there are more", err=True)


@app.command()
@reports_errors
def put(
    key: Key,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="The value; - reads it from standard input.")
    ],
    lease: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="The lease with which the key goes.")
    ] = None,
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
    """Store a value: the bytes of the argument or of standard input.

    JSON: key, revision and base64 (whether key is the base64 of bytes).
    """
    from braft_core.cli.bytes_values import fields, of_word
    from braft_core.cli.store_words import put_if
    from braft_core.cli.streams import standard_input

    name = of_word(key)
    stored = standard_input() if value == "-" else of_word(value)
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        if if_revision is None:
            revision = client.store.put(name, stored, lease=lease)
        else:
            revision = put_if(client.store, name, stored, lease, if_revision)
    answer = fields(key=name) | {"revision": revision}
    emit(as_json, answer, lambda: echo(f"stored at revision {revision}"))


@app.command("del")
@reports_errors
def delete(
    key: Key,
    prefix: Prefix = False,
    end: End = None,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Delete a key, or the keys of a range. A key that does not exist is no error.

    JSON: deleted, the number of keys.
    """
    from braft_core.cli.bytes_values import of_word

    span: dict[str, Any] = _span(key, prefix, end) or {"key": of_word(key)}
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        number = client.store.delete(**span)
    words = {0: "there was no such key", 1: "deleted"}.get(number, f"deleted {number} keys")
    emit(as_json, {"deleted": number}, lambda: echo(words))


@app.command()
@reports_errors
def txn(
    when: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="'KEY version == 0'; also created, revision, lease, value, and != < >. "
            "Repeatable.",
        ),
    ] = None,
    then: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPERATION",
            help="'put KEY VALUE [LEASE]', 'get KEY', 'del KEY'; 'get KEY*' is a prefix. "
            "Repeatable.",
        ),
    ] = None,
    otherwise: Annotated[
        list[str] | None,
        typer.Option(metavar="OPERATION", help="Done if a condition does not hold. Repeatable."),
    ] = None,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Do several operations in one revision, if conditions hold.

    Words are quoted as for a shell. Exit code 1 if a condition does not hold. JSON: succeeded,
    revision, answers.
    """
    from braft_core.cli import store_words

    conditions = [store_words.condition(each) for each in when or ()]
    branches = [[store_words.operation(each) for each in ops or ()] for ops in (then, otherwise)]
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        result = client.store.txn(conditions, *branches)
    emit(as_json, store_words.result_json(result), lambda: store_words.print_result(result))
    if not result:
        raise typer.Exit(Exit.REFUSED)


@app.command()
@reports_errors
def compact(
    revision: Annotated[int, typer.Argument(metavar="REVISION", min=1, help="The revision.")],
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Forget what only revisions before this one show.

    JSON: revision.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        client.store.compact(revision)
    answer = {"revision": revision}
    emit(as_json, answer, lambda: echo(f"revisions before {revision} are forgotten"))


@app.command()
@reports_errors
def status(
    stale: Stale = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print numbers of the whole store.

    JSON: revision, compacted, keys, size and quota (bytes), leases.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        found = client.store.status(consistency=consistency_of(stale))
    lines = (f"{name}\t{number}" for name, number in found._asdict().items())
    emit(as_json, found._asdict(), lambda: echo(*lines))


def _span(key: str, prefix: bool, end: str | None) -> dict[str, Any] | None:
    """Return the range that the options select, ``None`` for the key alone."""
    from braft_core.cli.bytes_values import of_word

    if prefix and end is not None:
        raise ConfigError(f"--prefix and --end {end!r:.120} are both given; accepted: one of them")
    if prefix:
        return {"prefix": of_word(key)}
    if end is not None:
        return {"start": of_word(key), "end": of_word(end)}
    return None
