"""A small network of two network namespaces, with separate multicast."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


class Lan:
    """Two namespaces joined by a veth pair; ``enter`` moves the calling thread into one of them."""

    #: IPv4 and IPv6 address of each namespace.
    addresses = (("10.99.0.1", "fd99::1"), ("10.99.0.2", "fd99::2"))
    device = "eth9"

    def __init__(self) -> None:
        self.names = tuple(f"braft-{os.getpid()}-{side}" for side in "ab")

    def set_up(self) -> None:
        for name in self.names:
            _ip("netns", "add", name)
        left, right = self.names
        _ip("-n", left, "link", "add", self.device, "type", "veth",
            "peer", "name", self.device, "netns", right)  # fmt: skip
        for name, (four, six) in zip(self.names, self.addresses, strict=True):
            _ip("-n", name, "addr", "add", f"{four}/24", "dev", self.device)
            _ip("-n", name, "addr", "add", f"{six}/64", "dev", self.device, "nodad")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", self.device, "up")

    def tear_down(self) -> None:
        for name in self.names:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)

    def enter(self, side: int) -> None:
        """Open all later sockets of the calling thread on that side."""
        handle = os.open(Path("/run/netns") / self.names[side], os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(handle)

    def ip(self, side: int, *arguments: str) -> None:
        """Run the command ``ip`` on that side."""
        _ip("-n", self.names[side], *arguments)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the loop of a new thread, which begins on side 0."""
        results: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                self.enter(0)
                results.append(asyncio.run(main()))
            # Raised on the test's thread below.
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def lan() -> Iterator[Lan]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux, root and the command ip")
    network = Lan()
    try:
        network.set_up()
    except subprocess.CalledProcessError as error:
        network.tear_down()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
    yield network
    network.tear_down()
