"""``braft store lease``: leases of the store, by their ids."""

from __future__ import annotations

from typing import Annotated

import typer

from braft_core.cli.options import (
    DEFAULT_TIMEOUT,
    AsJson,
    Timeout,
    TLSCa,
    TLSCert,
    TLSKey,
    Token,
    Urls,
    connect,
)
from braft_core.cli.output import Exit, echo, echo_lines, emit, reports_errors

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Leases: keys that are put with one go with it.")

LeaseId = Annotated[int, typer.Argument(metavar="ID", min=1, help="The id of the lease.")]


@app.command()
@reports_errors
def grant(
    ttl: Annotated[float, typer.Argument(metavar="TTL", help="Seconds; less than 2 become 2.")],
    lease_id: Annotated[
        int, typer.Option("--id", min=0, help="The id; 0: draw one.", show_default=False)
    ] = 0,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make a lease, which ends unless it is renewed within each TTL.

    JSON: id (text, since it has 63 bits), ttl.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        made = client.store.leases.grant(ttl, id=lease_id)
    answer = {"id": str(made.id), "ttl": made.ttl}
    emit(as_json, answer, lambda: echo(f"lease {made.id} for {made.ttl:g} s"))


@app.command()
@reports_errors
def renew(
    lease_id: LeaseId,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Let a lease last its ttl from now on.

    JSON: id, ttl.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        ttl = client.store.leases.renew(lease_id)
    answer = {"id": str(lease_id), "ttl": ttl}
    emit(as_json, answer, lambda: echo(f"renewed for {ttl:g} s"))


@app.command()
@reports_errors
def revoke(
    lease_id: LeaseId,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """End a lease and delete its keys.

    JSON: id, revision (of the store).
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        revision = client.store.leases.revoke(lease_id)
    answer = {"id": str(lease_id), "revision": revision}
    emit(as_json, answer, lambda: echo(f"revoked at revision {revision}"))


@app.command("ttl")
@reports_errors
def show_ttl(
    lease_id: LeaseId,
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print how long a lease lasts, and its keys.

    Exit code 1 if there is no such lease. JSON: id, found, ttl, remaining (seconds, as of the last
    entry of the log) and keys, each with key and base64 (whether it is the base64 of bytes).
    """
    from braft_core.cli.bytes_values import fields, key_line

    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        info = client.store.leases.get(lease_id)
    if info is None:
        answer = {"id": str(lease_id), "found": False}
        emit(as_json, answer, lambda: echo(f"there is no lease {lease_id}", err=True))
        raise typer.Exit(Exit.REFUSED)
    found = {"id": str(lease_id), "found": True, "ttl": info.ttl, "remaining": info.remaining}
    found["keys"] = [fields(key=key) for key in info.keys]
    first = f"{info.remaining:g} s of {info.ttl:g} s are left"
    emit(as_json, found, lambda: echo(first, *map(key_line, info.keys)))


@app.command("list")
@reports_errors
def list_leases(
    as_json: AsJson = False,
    urls: Urls = None,
    token: Token = None,
    tls_ca: TLSCa = None,
    tls_cert: TLSCert = None,
    tls_key: TLSKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the ids of all leases.

    JSON: leases, a list of texts.
    """
    with connect(urls, token, timeout, tls_ca, tls_cert, tls_key) as client:
        found = [str(lease) for lease in client.store.leases.ids()]
    emit(as_json, {"leases": found}, lambda: echo_lines(found))
