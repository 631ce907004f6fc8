"""``braft counter add KEY [AMOUNT]``, ``braft counter get KEY``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

__all__ = ["counter"]

counter = typer.Typer(help="Counters of the service `counter`.")

Url = Annotated[str, typer.Option("--url", envvar="BRAFT_URL", help="A node's HTTP address.")]
Token = Annotated[
    str, typer.Option("--token", envvar="BRAFT_TOKEN", help="Bearer token.", show_default=False)
]
_HERE = "http://127.0.0.1:15002"


@counter.command()
def add(
    key: str,
    amount: Annotated[int, typer.Argument(help="May be negative: -- -1.")] = 1,
    url: Url = _HERE,
    token: Token = "",
) -> None:
    """Change a counter and print its value."""
    typer.echo(_ask("POST", key, url, token, {"add": amount}))


@counter.command()
def get(key: str, url: Url = _HERE, token: Token = "") -> None:
    """Print the value of a counter."""
    typer.echo(_ask("GET", key, url, token))


def _ask(method: str, key: str, url: str, token: str, said: dict[str, int] | None = None) -> int:
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    place = f"{url.rstrip('/')}/plugins/counter/{quote(key, safe='')}"
    try:
        answer = httpx.request(method, place, json=said, headers=headers, timeout=15)
    except httpx.HTTPError as error:
        typer.echo(f"{url}: {error}", err=True)
        raise typer.Exit(3) from error  # no node answered: the exit code of braft's own commands
    if answer.is_error:
        typer.echo(_problem(answer.text), err=True)
        raise typer.Exit(1)
    return int(answer.json()["value"])


def _problem(text: str) -> str:
    import json

    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text
