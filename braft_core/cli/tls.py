"""``braft tls``: make a certification authority for a cluster, and certificates signed by it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braft_core.cli.options import AsJson
from braft_core.cli.output import echo, emit, reports_errors

if TYPE_CHECKING:
    from braft_core.tls.issuing import Made

__all__ = ["app"]

#: The name in every node's certificate, unless another one is chosen.
SERVER_NAME = "braft-peer"
_LOOPBACK_IPS, _LOOPBACK_NAMES = ("127.0.0.1", "::1"), ("localhost",)

app = typer.Typer(help="Make certificates for a cluster: a CA, nodes, clients.")

Folder = Annotated[Path, typer.Option("--out", help="Folder for the files.")]


@app.callback()
def tls() -> None:
    """Make certificates for a cluster: a CA, nodes, clients."""


@app.command("ca")
@reports_errors
def ca(
    name: Annotated[str, typer.Option("--name", help="Its common name.")] = "braft CA",
    days: Annotated[int, typer.Option("--days", help="Days for which it is valid.")] = 3650,
    out: Folder = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a CA: ca.pem for every node, and ca.key, which no node needs.

    Nothing is overwritten. JSON: cert, key, expires, names.
    """
    from braft_core.tls.issuing import make_authority

    made = make_authority(out, name, days)
    emit(as_json, _facts(made), lambda: _tell_ca(made))


@app.command("cert")
@reports_errors
def cert(
    name: Annotated[str, typer.Argument(help="Common name of the holder, and name of the files.")],
    ca: Annotated[Path, typer.Option("--ca", help="The CA's certificate.")] = Path("ca.pem"),
    ca_key: Annotated[Path, typer.Option("--ca-key", help="The CA's key.")] = Path("ca.key"),
    ips: Annotated[
        list[str] | None,
        typer.Option("--ip", help="IP address in the certificate; may be repeated."),
    ] = None,
    dns: Annotated[
        list[str] | None,
        typer.Option("--dns", help="DNS name in the certificate; may be repeated."),
    ] = None,
    uris: Annotated[
        list[str] | None, typer.Option("--uri", help="URI in the certificate; may be repeated.")
    ] = None,
    server_name: Annotated[
        str, typer.Option("--server-name", help="Name that the certificates of all nodes carry.")
    ] = SERVER_NAME,
    client: Annotated[
        bool, typer.Option("--client", help="For a client; nodes do not accept it as a peer.")
    ] = False,
    days: Annotated[int, typer.Option("--days", help="Days for which it is valid.")] = 365,
    out: Folder = Path(),
    as_json: AsJson = False,
) -> None:
    """Make NAME.pem and NAME.key, signed by the CA.

    A node's certificate is for servers and clients, with the server name, this machine's loopback
    addresses and the given names. Nothing is overwritten. JSON: cert, key, expires, names, settings
    (of a node).
    """
    from braft_core.tls.issuing import Names, make_certificate

    names = Names(tuple(ips or ()), tuple(dns or ()), tuple(uris or ()))
    if not client:
        names = Names(
            _all(names.ips, _LOOPBACK_IPS),
            _all((server_name,), names.dns, _LOOPBACK_NAMES),
            names.uris,
        )
    made = make_certificate(out, name, ca, ca_key, names, days, client)
    settings = {} if client else _settings(made, ca, server_name)
    facts = _facts(made) | ({"settings": settings} if settings else {})
    emit(as_json, facts, lambda: _tell_cert(made, ca, settings))


def _all(*groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _facts(made: Made) -> dict[str, Any]:
    return {
        "cert": str(made.cert),
        "key": str(made.key),
        "expires": made.ends.isoformat(),
        "names": list(made.names),
    }


def _settings(made: Made, ca: Path, server_name: str) -> dict[str, str]:
    return {
        "BRAFT_TLS_CA": str(ca.absolute()),
        "BRAFT_TLS_CERT": str(made.cert.absolute()),
        "BRAFT_TLS_KEY": str(made.key.absolute()),
        "BRAFT_TLS_SERVER_NAME": server_name,
    }


def _tell_ca(made: Made) -> None:
    _tell_files(made)
    echo(f"Give every node {made.cert}. Keep {made.key} where no node runs: its holder can")
    echo("make members. Next, for each node: braft tls cert NAME")


def _tell_cert(made: Made, ca: Path, settings: dict[str, str]) -> None:
    _tell_files(made)
    if settings:
        echo("Set on the node:")
        for name, value in settings.items():
            echo(f"  {name}={value}")
    else:
        echo(f"A client needs both files, and {ca}. Nodes do not accept it as a peer.")


def _tell_files(made: Made) -> None:
    echo(f"{made.cert}  for {', '.join(made.names)}; valid until {made.ends:%Y-%m-%d}")
    echo(f"{made.key}  the private key, readable by you alone")
