"""Whether another user of this machine could have written, or may read, a file that a node trusts.

Owns the rule and its words. Knows nothing of what the files are for: settings, tokens, keys, the
data directory.

A file is trusted if it belongs to this user or to root and nobody else may write it. A group may,
if this user is its only member: the group that many systems give each user, or one without a name,
as Kubernetes gives to the volumes of a pod (``fsGroup``).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from braft_core.errors import ConfigError

__all__ = ["MAX_BYTES", "read_trusted", "untrusted_reason"]

#: The largest file that :func:`read_trusted` reads; settings, tokens and keys are far smaller.
MAX_BYTES = 1 << 20
_ROOT = 0
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # a pipe must not hold us up


def read_trusted(path: Path, name: str, *, secret: bool = False) -> bytes:
    """Read a file that only this user and root can have written.

    Links are followed (Kubernetes mounts secrets as such) if they belong to this user or to root.

    :param name: the setting that names the file, for errors.
    :param secret: whether other users must not be able to read it either.
    :raises ConfigError: it is not such a file, or cannot be read.
    """
    try:
        link = os.lstat(path)
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise _refused(name, path, f"cannot be read: {error.strerror}", "a readable file") from None
    try:
        found = os.fstat(fd)
        reason = _not_regular(found) or untrusted_reason(found, secret=secret)
        if not reason and stat.S_ISLNK(link.st_mode) and (owner := untrusted_reason(link)):
            reason = f"is a link that {owner}"
        if not reason and found.st_size > MAX_BYTES:
            reason = f"has {found.st_size} bytes, more than {MAX_BYTES}"
        if reason:
            raise _refused(name, path, reason, _accepted(secret))
        with os.fdopen(fd, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(name, path, f"cannot be read: {error.strerror}", "a readable file") from None
    finally:
        os.close(fd)
    return content[:MAX_BYTES]


def untrusted_reason(found: os.stat_result, *, secret: bool = False) -> str:
    """Return why a file or directory is not to be trusted, as a clause; "" if it is.

    Of a link only the owner counts, who may let it lead elsewhere.

    :param found: what ``stat`` says about it; of an open descriptor, so that it stays true.
    :param secret: whether no other user must be able to read it either, and no group to write it.
    """
    mode = stat.S_IMODE(found.st_mode)
    whose = f"(it belongs to {_user(found.st_uid)}, mode {mode:04o})"
    if not _owner_is_trusted(found):
        return f"belongs to another user {whose}"
    if stat.S_ISLNK(found.st_mode):
        return ""
    if mode & stat.S_IWOTH:
        return f"can be written by every user {whose}"
    if mode & stat.S_IWGRP and (secret or not _only_member(found.st_gid)):
        return f"can be written by the group {_group(found.st_gid)} {whose}"
    if secret and mode & stat.S_IROTH:
        return f"can be read by every user {whose}"
    return ""


def _owner_is_trusted(found: os.stat_result) -> bool:
    return found.st_uid in (_ROOT, os.geteuid())


def _only_member(gid: int) -> bool:
    """Return whether this user alone is in the group."""
    if gid not in {os.getegid(), *os.getgroups()}:
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return True  # accounts are put into groups by name
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    # Accounts whose main group this is are not listed in it. One that bears the name of its user
    # has no others.
    return group.gr_name == user and set(group.gr_mem) <= {user}


def _not_regular(found: os.stat_result) -> str:
    return "" if stat.S_ISREG(found.st_mode) else "is no regular file"


def _accepted(secret: bool) -> str:
    who = "read or write" if secret else "write"
    change = "chmod 600" if secret else "chmod go-w"
    us = "" if os.geteuid() == _ROOT else f"{_user(os.geteuid())} or "
    return f"a file of {us}root that nobody else may {who} (chown, {change})"


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return f"{grp.getgrgid(gid).gr_name} (gid {gid})"
    except KeyError:
        return f"gid {gid}"


def _refused(name: str, path: Path, reason: str, accepted: str) -> ConfigError:
    return ConfigError(
        f"{name}={str(path)!r} {reason}; accepted: {accepted}",
        setting=name,
        value=str(path),
        accepted=accepted,
    )
