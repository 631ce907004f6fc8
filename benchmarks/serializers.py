"""Sizes and speeds of the serializers: ``python -m benchmarks.serializers [--json]``.

One thread, only the serializer and the envelope of a command: the cost for a client to encode a
command and for each node to decode it. Times are the best of several rounds, in microseconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import decimal
import timeit
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from braft_core import command_type, strict_json
from braft_core.abc import Serializer
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import decode_command, encode_command
from braft_serializers.cbor import CborSerializer
from braft_serializers.json import JsonSerializer

__all__ = ["Row", "main", "measure"]

ROUNDS = 5
SECONDS = 0.05


@command_type("benchmarks.line")
@dataclasses.dataclass(frozen=True)
class Line:
    """One line of an order."""

    item: str
    price: decimal.Decimal
    count: int = 1


@command_type("benchmarks.order")
@dataclasses.dataclass(frozen=True)
class Order:
    """A command with values of several types."""

    order: uuid.UUID
    lines: tuple[Line, ...]
    at: datetime.datetime
    tags: frozenset[str]


class Row(NamedTuple):
    """One command with one serializer. Sizes in bytes, times in microseconds."""

    command: str
    serializer: str
    size: int
    encode: float
    decode: float


_ORDER = Order(
    uuid.UUID(int=7),
    tuple(Line(f"item-{number}", decimal.Decimal("19.90"), number) for number in range(3)),
    datetime.datetime(2024, 2, 29, 12, 0, 0, 250, tzinfo=datetime.UTC),
    frozenset({"express", "gift"}),
)
COMMANDS: dict[str, list[Any]] = {
    "kv.put, 12 bytes of text": ["colors", "sky", "blue" * 3],
    "kv.put, 1 KiB of bytes": ["blobs", "one", bytes(range(256)) * 4],
    "kv.put, a document": [
        "users",
        "7",
        {"name": "Ada", "age": 36, "mail": None, "scores": [1.5, 2.25, 3.0], "ok": True},
    ],
    "a typed order of three lines": [_ORDER],
}
SERIALIZERS: tuple[Serializer, ...] = (MsgpackSerializer(), CborSerializer(), JsonSerializer())


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Measure every command with every serializer."""
    known = {each.tag: each for each in SERIALIZERS}
    rows = []
    for name, args in COMMANDS.items():
        service = "orders" if args == [_ORDER] else "kv"
        for serializer in SERIALIZERS:
            encode = partial(encode_command, serializer, service, "put", args)
            decode = partial(decode_command, known, encode())
            times = [_best(work, rounds, seconds) for work in (encode, decode)]
            rows.append(Row(name, serializer.name, len(encode()), *times))
    return rows


def _best(work: Callable[[], Any], rounds: int, seconds: float) -> float:
    once = max(timeit.timeit(work, number=10) / 10, 1e-9)
    number = max(1, int(seconds / once))
    return min(timeit.repeat(work, number=number, repeat=rounds)) / number * 1e6


def main(argv: list[str] | None = None) -> None:
    """Print a table in Markdown, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args(argv)
    rows = measure()
    if options.json:
        print(strict_json.dumps([row._asdict() for row in rows], indent=2))
        return
    print("| command | serializer | bytes | encode, µs | decode, µs |\n|---|---|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row.command} | {row.serializer} | {row.size} "
            f"| {row.encode:.1f} | {row.decode:.1f} |"
        )


if __name__ == "__main__":
    main()
