"""The types of settings: how each is read from text, and the words for what it accepts.

A type is an ``Annotated`` with a validator and an :class:`Accepts`. Validators raise
``ValueError``; the caller adds the variable, the value and where it came from.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr

from braft_core import addresses
from braft_core.config.durations import parse_duration, parse_history, parse_range
from braft_core.errors import DecodeError
from braft_core.tokens import ACCEPTED, Tokens

__all__ = [
    "Accepts",
    "Address",
    "AdvertisedAddress",
    "AutopilotMode",
    "Duration",
    "DurationRange",
    "File",
    "Flag",
    "History",
    "HostNames",
    "HttpServer",
    "LogFormat",
    "LogLevel",
    "Name",
    "Names",
    "OptionalCount",
    "OptionalFlag",
    "OptionalPort",
    "PositiveDuration",
    "PositiveInt",
    "ServerName",
    "TLSMode",
    "TLSNames",
    "Text",
    "Token",
    "TokenFile",
    "Variable",
]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_HTTP_HOST = re.compile(r"\.?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_INTEGER = re.compile(r"[+-]?\d+")
_LEVELS = ("debug", "info", "warning", "error", "critical")
_FORMATS = ("console", "json")
_HTTP_SERVERS = ("uvicorn", "waitress")
_AUTOPILOT = ("on", "dry-run", "off")
_TLS_MODES = ("off", "prefer", "require")
_HOST_NAME = re.compile(
    r"(?!-)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.I
)
#: A URI, or a common name of several words.
_TLS_TEXT = re.compile(r"[^\s*,]([^*,]{0,1000}[^\s*,])?")
_TRUE = ("on", "true", "yes", "1")
_FALSE = ("off", "false", "no", "0")


@dataclass(frozen=True, slots=True)
class Accepts:
    """The words behind "accepted:" in an error message."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """What a setting means, and its environment variables.

    ``default`` describes the default in words, where it is a rule rather than a value.
    ``inverted`` means that the variable switches off what the setting switches on.
    ``option`` is the ``(plugin, key)`` of the plugin option that the setting fills.
    """

    meaning: str
    long: str
    short: str = ""
    default: str = ""
    inverted: bool = False
    option: tuple[str, str] | None = None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value.strip()


def _integer(low: int, high: int | None = None) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError("not a whole number")
        if isinstance(value, str) and not _INTEGER.fullmatch(value.strip()):
            raise ValueError("not a whole number")
        number = int(value)
        if number < low or (high is not None and number > high):
            raise ValueError("out of range")
        return number

    return read


def _optional(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("neither on nor off")


def _address(value: object) -> str:
    text = _text(value)
    if not text:
        return ""
    bare = text.removeprefix("[").removesuffix("]")
    return _ip(lambda: addresses.parse_listen(addresses.join_host_port(bare, 0)))


def _advertised(value: object) -> str:
    text = _address(value)
    if not text:
        return ""
    return _ip(lambda: addresses.parse_address(addresses.join_host_port(text, 1)))


def _ip(parse: Callable[[], addresses.Address]) -> str:
    try:
        address = parse()
    except DecodeError as error:
        raise ValueError(error.data["why"]) from error
    if not address.ip:
        raise ValueError("not an IP address")
    return address.host


def _name(value: object) -> str:
    text = _text(value)
    if not _NAME.fullmatch(text):
        raise ValueError("not a name")
    return text


def _parts(value: object) -> list[Any]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("not a list of names")
    return [part for part in parts if part != ""]


def _names(value: object) -> tuple[str, ...]:
    names = tuple(_name(part) for part in _parts(value))
    if len(set(names)) != len(names):
        raise ValueError("a name appears twice")
    return names


def _host_names(value: object) -> tuple[str, ...]:
    names = tuple(_text(part).lower() for part in _parts(value))
    for name in names:
        if name != "*" and not _HTTP_HOST.fullmatch(name):
            raise ValueError(f"{name!r} is not a host name")
    return names


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = _text(value).lower()
        if word not in words:
            raise ValueError("not one of the accepted words")
        return word

    return read


def _level(value: object) -> str:
    word = _text(value).lower()
    return _one_of(*_LEVELS)("warning" if word == "warn" else word)


def _file(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("not a path")
    path = Path(value).expanduser()
    if not path.is_file():
        raise ValueError("no such file")
    return path


def _token(value: object) -> SecretStr:
    text = value.get_secret_value() if isinstance(value, SecretStr) else _text(value)
    Tokens.parse(text)
    return SecretStr(text)


def _server_name(value: object) -> str:
    text = _text(value)
    if text and (len(text) > 253 or not _HOST_NAME.fullmatch(text) or _is_ip(text)):
        raise ValueError("not a host name")
    return text


def _tls_names(value: object) -> tuple[str, ...]:
    names = tuple(_tls_name(part) for part in _parts(value))
    if value and not names:
        raise ValueError("no name")
    if len(set(names)) != len(names):
        raise ValueError("a name appears twice")
    return names


def _tls_name(value: object) -> str:
    text = _text(value)
    rest = text.removeprefix("*.")
    if rest != text and not _HOST_NAME.fullmatch(rest):
        raise ValueError("not a name after '*.'")
    if not text.isprintable() or not _TLS_TEXT.fullmatch(rest):
        raise ValueError("not a name")
    return text


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _path_text(value: object) -> str:
    return str(value) if isinstance(value, Path) else _text(value)


Text = Annotated[str, BeforeValidator(_path_text), Accepts("a text")]
Address = Annotated[
    str, BeforeValidator(_address), Accepts("an IPv4 or IPv6 address such as 0.0.0.0 or ::")
]
AdvertisedAddress = Annotated[
    str,
    BeforeValidator(_advertised),
    Accepts("an IPv4 or IPv6 address that the other nodes can reach, such as 192.168.1.1"),
]
OptionalPort = Annotated[
    int | None,
    BeforeValidator(_optional(_integer(0, 65535))),
    Accepts("a port from 1 to 65535, or 0 for any free one"),
]
OptionalCount = Annotated[
    int | None, BeforeValidator(_optional(_integer(1))), Accepts("a whole number from 1 up")
]
PositiveInt = Annotated[int, BeforeValidator(_integer(1)), Accepts("a whole number from 1 up")]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Accepts(
        "a duration such as 90s, 1m30s, 100ms or 0; a plain number is seconds in TOML and code"
    ),
]
PositiveDuration = Annotated[
    float,
    BeforeValidator(_positive_duration),
    Accepts(
        "a duration above 0 such as 90s, 1m30s or 100ms; a plain number is seconds in TOML and code"
    ),
]
DurationRange = Annotated[
    tuple[float, float],
    BeforeValidator(parse_range),
    Accepts("a duration or a range of two, such as 100ms, 10ms-15s, 15-30s or 0"),
]
History = Annotated[
    tuple[float, int],
    BeforeValidator(parse_history),
    Accepts("a duration and a number of revisions, such as 10m,100000, each perhaps 0"),
]
Flag = Annotated[bool, BeforeValidator(_flag), Accepts("on, true, yes, 1, off, false, no or 0")]
OptionalFlag = Annotated[
    bool | None,
    BeforeValidator(_optional(_flag)),
    Accepts("on, true, yes, 1, off, false, no or 0"),
]
Name = Annotated[
    str,
    BeforeValidator(_name),
    Accepts("a name: a letter, then letters, digits, '.', '_' and '-'"),
]
Names = Annotated[
    tuple[str, ...], BeforeValidator(_names), Accepts("different names separated by commas")
]
HostNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_host_names),
    Accepts("host names separated by commas, '.name' for all names below one, or '*'"),
]
HttpServer = Annotated[
    str, BeforeValidator(_one_of(*_HTTP_SERVERS)), Accepts(" or ".join(_HTTP_SERVERS))
]
LogLevel = Annotated[str, BeforeValidator(_level), Accepts(", ".join(_LEVELS))]
LogFormat = Annotated[str, BeforeValidator(_one_of(*_FORMATS)), Accepts(" or ".join(_FORMATS))]
AutopilotMode = Annotated[
    str, BeforeValidator(_one_of(*_AUTOPILOT)), Accepts(", ".join(_AUTOPILOT))
]
File = Annotated[
    Path | None, BeforeValidator(_optional(_file)), Accepts("the path of an existing PEM file")
]
TokenFile = Annotated[
    Path | None,
    BeforeValidator(_optional(_file)),
    Accepts(
        "the path of a file that other users cannot read, with one token per line, as in "
        "`BRAFT_TOKEN`"
    ),
]
Token = Annotated[
    SecretStr | None,
    BeforeValidator(_optional(_token)),
    Accepts(ACCEPTED),
]
TLSMode = Annotated[
    str | None,
    BeforeValidator(_optional(_one_of(*_TLS_MODES))),
    Accepts(", ".join(_TLS_MODES)),
]
ServerName = Annotated[
    str,
    BeforeValidator(_server_name),
    Accepts("a host name such as peer.example, not an IP address"),
]
TLSNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_tls_names),
    Accepts(
        "different names separated by commas: DNS names (*.example stands for one label before "
        ".example), addresses, URIs, common names"
    ),
]
