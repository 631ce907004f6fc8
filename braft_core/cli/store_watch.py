"""``braft store watch``: print the changes of keys as they come."""

from __future__ import annotations

from typing import Annotated, Any

import typer

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
from braft_core.cli.output import echo, print_json, reports_errors
from braft_core.errors import ConfigError

__all__ = ["watch"]


@reports_errors
def watch(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key.")],
    prefix: Annotated[
        bool, typer.Option("--prefix", help="All keys that begin with KEY; '' stands for all.")
    ] = False,
    end: Annotated[
        str | None, typer.Option(metavar="KEY", help="All keys from KEY to before this one.")
    ] = None,
    begin: Annotated[
        int | None,
        typer.Option(
            "--from", metavar="REVISION", min=1, help="Begin with this revision; default: now."
        ),
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Print the values that were replaced, too.")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many changes; default: on Ctrl-C.")
    ] = None,
    progress: Annotated[
        float | None,
        typer.Option(min=0.1, help="Print how far it has seen after so many seconds of silence."),
    ] = None,
    stale: Stale = False,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the changes of a key or a range as they come, each once and in order.

    It goes on at another node when one fails; give several URLs. A line is revision, put or del,
    key, value; on a terminal a long one is cut. JSON, one line a change: type (put, delete,
    progress), key, value, revision, created, version, lease, base64, previous.
    """
    from braft_core.cli.bytes_values import of_word

    if prefix and end is not None:
        raise ConfigError(f"--prefix and --end {end!r:.120} are both given; accepted: one of them")
    span: dict[str, Any] = {"key": of_word(key)}
    if prefix:
        span = {"prefix": of_word(key)}
    elif end is not None:
        span = {"start": of_word(key), "end": of_word(end)}
    # Nothing is in revision 1, which is that of an empty store.
    since = 0 if begin is None else max(1, begin - 1)
    options: dict[str, Any] = {"since": since, "previous": previous}
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        changes = client.store.watch(**span, **options, consistency=consistency_of(stale))
        try:
            with changes:
                _follow(changes, count, progress, as_json, previous)
        except KeyboardInterrupt:
            echo(f"seen up to revision {changes.revision}", err=True)


def _follow(
    changes: Any, count: int | None, progress: float | None, as_json: bool, previous: bool
) -> None:
    from braft_core.cli.bytes_values import change_json, change_line, print_cut

    left = count
    for batch in changes.batches(progress=progress):
        if not batch.changes:
            if as_json:
                print_json({"type": "progress", "revision": batch.revision})
            else:
                echo(f"{batch.revision}\tno changes")
        for change in batch.changes:
            if as_json:
                print_json(change_json(change, previous))
            else:
                print_cut(change_line(change, previous))
            if left is not None:
                left -= 1
                if left == 0:
                    return
