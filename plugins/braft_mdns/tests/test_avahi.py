"""Interoperability with Avahi: it finds braft, and braft finds what it publishes.

The test starts its own D-Bus and Avahi in one of two namespaces; the machine's are not touched.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from braft_mdns.discovery import MdnsDiscovery
from braft_testing.discovery import discovery_context

T = TypeVar("T")
PATIENCE = 40.0
TOOLS = ("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon")

pytestmark = [pytest.mark.integration, pytest.mark.optional]

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
DAEMON = """[server]
host-name=other
use-ipv4=yes
use-ipv6=yes
allow-interfaces=eth9
enable-dbus=yes
[publish]
publish-workstation=no
"""


class Network(Protocol):
    names: tuple[str, ...]
    addresses: tuple[tuple[str, str], ...]

    def enter(self, side: int) -> None: ...
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T: ...


class Avahi:
    """Avahi daemon on the second side of the network."""

    def __init__(self, namespace: str, bus: Path) -> None:
        self._prefix = ["ip", "netns", "exec", namespace]
        self.environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}

    def start(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(
                [*self._prefix, *command],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def browse(self, type_: str) -> list[list[str]]:
        """Return the resolved services of a type: interface, protocol, name, type and so on."""
        done = subprocess.run(
            [*self._prefix, "avahi-browse", "--resolve", "--parsable", "--terminate", type_],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        lines = done.stdout.splitlines()
        return [line.split(";")[1:] for line in lines if line.startswith("=")]


def wait_for(condition: Callable[[], T], what: str) -> T:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)
    return found


@pytest.fixture
def avahi(lan: Network, tmp_path: Path) -> Iterator[Avahi]:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: avahi-daemon, avahi-utils)")
    bus, config, daemon = tmp_path / "bus", tmp_path / "bus.conf", tmp_path / "avahi.conf"
    config.write_text(BUS.format(path=bus))
    daemon.write_text(DAEMON)
    found = Avahi(lan.names[1], bus)
    with ExitStack() as stack:

        def run(process: subprocess.Popen[bytes]) -> None:
            stack.callback(process.wait)
            stack.callback(process.kill)

        run(
            subprocess.Popen(
                ["dbus-daemon", "--nofork", "--nopidfile", f"--config-file={config}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        wait_for(lambda: _listens(bus), "the bus listens")
        # ``ip netns exec`` has separate mounts, so the host's Avahi keeps its pid file.
        arguments = f"--file={daemon} --no-drop-root --no-chroot --no-rlimits"
        where = "/run/avahi-daemon"
        script = f"mkdir -p {where} && mount -t tmpfs none {where} && exec avahi-daemon {arguments}"
        log = tmp_path / "avahi.log"
        server = found.start("sh", "-c", script, log=log)
        run(server)

        def answers() -> bool:
            assert server.poll() is None, log.read_text()
            done = subprocess.run(
                ["ip", "netns", "exec", lan.names[1], "avahi-browse", "-pt", "_none._tcp"],
                env=found.environment,
                capture_output=True,
                timeout=PATIENCE,
            )
            return done.returncode == 0

        wait_for(answers, "Avahi answers")
        yield found


def _listens(path: Path) -> bool:
    """Return whether the socket accepts connections; its file exists earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def _node(lan: Network) -> MdnsDiscovery:
    options = {"resolve_timeout": 1.0, "refresh": 1.0, "alone_after": 0.5}
    context = discovery_context(node_id="n1", ip=lan.addresses[0][0], options=options)
    return MdnsDiscovery("", context)


@pytest.mark.parametrize("type_", ["_braft._tcp", "_windows._sub._braft._tcp"])
def test_avahi_finds_a_node_by_type_and_by_subtype(lan: Network, avahi: Avahi, type_: str) -> None:
    def by_ipv4() -> list[list[str]]:
        return [row for row in avahi.browse(type_) if row[1] == "IPv4"]

    async def main() -> list[list[str]]:
        discovery = _node(lan)
        lan.enter(0)
        await discovery.start()
        try:
            return await asyncio.to_thread(wait_for, by_ipv4, "Avahi finds it by IPv4")
        finally:
            await discovery.stop()

    four = lan.run(main)[0]
    assert four[2:5] == ["n1", "_braft._tcp", "local"]
    assert four[6:8] == ["10.99.0.1", "15001"]
    text = four[8]
    assert '"cluster=braft"' in text
    assert '"rport=15000"' in text
    assert '"dport=15001"' in text


def test_avahi_hears_the_goodbye(lan: Network, avahi: Avahi) -> None:
    async def main() -> None:
        discovery = _node(lan)
        lan.enter(0)
        await discovery.start()
        await asyncio.to_thread(wait_for, lambda: avahi.browse("_braft._tcp"), "Avahi finds it")
        await discovery.stop()
        await asyncio.to_thread(
            wait_for, lambda: not avahi.browse("_braft._tcp"), "Avahi has forgotten it"
        )

    lan.run(main)


def test_a_node_finds_what_avahi_publishes_and_loses_it_again(
    lan: Network, avahi: Avahi, tmp_path: Path
) -> None:
    async def main() -> None:
        discovery = _node(lan)
        lan.enter(0)
        await discovery.start()
        command = ["avahi-publish", "-s", "third party", "_braft._tcp", "16001", "a=b"]
        published = avahi.start(*command, log=tmp_path / "publish.log")
        try:
            await _until(discovery, {"10.99.0.1:15001", "10.99.0.2:16001"})
            published.terminate()
            await asyncio.to_thread(published.wait)
            await _until(discovery, {"10.99.0.1:15001"})
        finally:
            published.kill()
            await asyncio.to_thread(published.wait)
            await discovery.stop()

    lan.run(main)


async def _until(discovery: MdnsDiscovery, wanted: set[str]) -> None:
    seen: set[str] = set()
    try:
        async with asyncio.timeout(PATIENCE):
            async for contacts in discovery.watch():
                seen = {str(contact) for contact in contacts}
                if seen == wanted:
                    return
    except TimeoutError:
        raise AssertionError(f"wanted {wanted}, last was {seen}") from None
