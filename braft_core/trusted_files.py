"""Checks that no other user of this machine can write, or read, a file that a node relies on.

Such files are settings, tokens, keys and the data directory.

A file is trusted if it belongs to this user or to root, and nobody else may write it. Its group
may, if this user is the only member: a user's private group, or a group without a name, such as
Kubernetes gives to the volumes of a pod (``fsGroup``).
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
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # a pipe must not block


def read_trusted(path: Path, name: str, *, secret: bool = False) -> bytes:
    """Read a file that only this user and root can write.

    Symbolic links (Kubernetes mounts secrets so) are followed if they belong to this user or root.

    :param name: the setting that names the file, for errors.
    :param secret: whether other users must not be able to read it either.
    :raises ConfigError: others can write or read the file, or it cannot be read.
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
    """Return the reason to distrust a file or directory, as a clause; "" if it is trusted.

    Only the owner of a symbolic link counts, since the owner can change its target.

    :param found: the result of ``stat``; take it from an open descriptor to avoid races.
    :param secret: whether other users must not read it either, nor any group write it.
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
    """Return whether this user is the only member of the group."""
    if gid not in {os.getegid(), *os.getgroups()}:
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:
        return True  # accounts join groups by name, so a nameless group has no others
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    # Accounts with this primary group are not listed; a private group, named like its user, has no
    # others.
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
