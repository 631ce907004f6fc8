"""The transport in one process: TLS, ports, loops, snapshots damaged in transit."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from braft_core import peer
from braft_core.abc import TLSFiles, TransportOptions
from braft_core.errors import ConfigError, Stopped, Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import AppendEntries, Entry, InstallSnapshot
from braft_core.transport import Certificates
from braft_tcp import TcpTransport, listening_socket
from braft_testing.certificates import Authority
from braft_testing.snapshots import put
from braft_testing.transport import PATIENCE, PATIENT_TIMING, Node, RecordingHandler, until


async def hello(_request: PeerRequest) -> PeerReply:
    return peer.DetailsReply(b"{}")


async def never(_request: PeerRequest) -> PeerReply:
    await asyncio.sleep(60)
    raise AssertionError("the call was not cancelled")


def append(index: int) -> AppendEntries:
    return AppendEntries("a", "b", 1, index - 1, 1, [Entry(index, 1, 0, b"x")], 0, request_id=index)


# ---------------------------------------------------------------------- TLS


def test_mutual_tls_lets_members_in_and_keeps_others_out(started: Any, tmp_path: Path) -> None:
    tls, other_tls = (
        Authority(tmp_path / f"{name}-ca").issue(tmp_path / name) for name in ("mine", "foreign")
    )

    async def scenario() -> None:
        async with started("b", tls=tls) as b, started("a", tls=tls) as a:
            b.handler.on_called = hello
            request = peer.DetailsRequest()
            reply = await a.transport.call(b.address, request, 20)
            assert reply == peer.DetailsReply(b"{}")
            a.meets(b)

            def exchange() -> object:
                a.transport.send(append(1))
                return a.handler.responses

            await until(exchange)
            async with started("x", tls=other_tls) as stranger, started("y") as naked:
                for outsider in (stranger, naked):
                    # In both directions the caller knows that a server answered.
                    for caller, called in ((outsider, b), (b, outsider)):
                        with pytest.raises(Unreachable) as caught:
                            await caller.transport.call(called.address, request, 20)
                        assert caught.value.data["answered"]
            assert len(b.handler.calls) == 1

    asyncio.run(scenario())


#: Disconnects silent callers soon.
HASTY = replace(PATIENT_TIMING, first_bytes=0.1)


class Guests(set[Any]):
    """The current connections, and all that ever existed."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[Any] = []

    def add(self, guest: Any) -> None:
        self.ever.append(guest)
        super().add(guest)


def test_callers_whose_tls_never_comes_are_forgotten(started: Any, tmp_path: Path) -> None:
    """Load balancers probe by opening and closing a connection."""
    tls = Authority(tmp_path / "ca").issue(tmp_path / "tls")

    async def scenario() -> None:
        async with started("b", tls=tls, timing=HASTY) as b:
            guests = b.transport._session._listener._inbounds = Guests()
            host, _, port = b.address.rpartition(":")
            for number in range(3):
                _, writer = await asyncio.open_connection(host, int(port))
                await until(lambda number=number: len(guests.ever) == number + 1)  # type: ignore[misc]
                writer.close()
            await until(lambda: not guests)

    asyncio.run(scenario())


def test_a_caller_whose_tls_comes_too_late_is_cut_off(started: Any, tmp_path: Path) -> None:
    """The listener has abandoned it and would never read what it sends."""
    tls = Authority(tmp_path / "ca").issue(tmp_path / "tls")

    async def scenario() -> None:
        async with started("b", tls=tls, timing=HASTY) as b:
            guests = b.transport._session._listener._inbounds = Guests()
            host, _, port = b.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            await until(lambda: guests.ever and guests.ever[0].connection.closing)
            with suppress(ConnectionError):
                await writer.start_tls(Certificates(tls).current.client, server_hostname=host)
                async with asyncio.timeout(PATIENCE):
                    assert await reader.read(1) == b""
            writer.close()

    asyncio.run(scenario())


def test_a_stop_does_not_wait_for_handshakes_that_never_end(started: Any, tmp_path: Path) -> None:
    """Since Python 3.12 an asyncio server waits for its connections, here for 60 s."""
    tls = Authority(tmp_path / "ca").issue(tmp_path / "tls")

    async def scenario() -> None:
        async with started("b", tls=tls) as b:
            guests = b.transport._session._listener._inbounds = Guests()
            host, _, port = b.address.rpartition(":")
            before = asyncio.all_tasks()
            silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
            await until(lambda: len(guests.ever) == 3)
            async with asyncio.timeout(PATIENCE):
                await b.transport.stop()
            assert asyncio.all_tasks() <= before
            for reader, writer in silent:
                async with asyncio.timeout(PATIENCE):
                    assert await reader.read() == b""
                writer.close()

    asyncio.run(scenario())


def test_callers_wait_while_there_are_no_descriptors(
    started: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [OSError(errno.EMFILE, "Too many open files")] * 5

    class Exhausted(socket.socket):
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return super().accept()

    listen = listening_socket._listen

    def exhausted(host: str, port: int) -> socket.socket:
        made = listen(host, port)
        return Exhausted(made.family, made.type, made.proto, made.detach())

    monkeypatch.setattr(listening_socket, "_listen", exhausted)
    timing = replace(PATIENT_TIMING, accept_pause=0.001)

    async def scenario() -> None:
        async with started("b", timing=timing) as b, started("a") as a:
            b.handler.on_called = hello
            await a.transport.call(b.address, peer.DetailsRequest(), PATIENCE)

    asyncio.run(scenario())
    assert failures == []
    told = [r for r in caplog.records if "cannot accept connections" in r.getMessage()]
    assert len(told) == 1


def test_a_member_does_not_talk_to_a_server_without_tls(started: Any, tmp_path: Path) -> None:
    tls = Authority(tmp_path / "ca").issue(tmp_path / "mine")

    async def scenario() -> None:
        async with started("b") as b, started("a", tls=tls) as a:
            b.handler.on_called = hello
            with pytest.raises(Unreachable):
                await a.transport.call(b.address, peer.DetailsRequest(), 5)
            assert b.handler.calls == []

    asyncio.run(scenario())


# ---------------------------------------------------------------------- certificates replaced


async def talks(a: Node, b: Node) -> None:
    """Send a call, an append and a heartbeat from ``a`` to ``b``, and await the answers."""
    b.handler.on_called = hello
    request = peer.DetailsRequest()
    assert await a.transport.call(b.address, request, PATIENCE) == peer.DetailsReply(b"{}")
    a.meets(b)
    for message in (append(1), AppendEntries("a", "b", 1, 0, 0, [], 0, request_id=2)):
        b.handler.requests.clear()

        def arrived(message: AppendEntries = message) -> object:
            a.transport.send(message)
            return [r for r in b.handler.requests if getattr(r, "entries", None) == message.entries]

        await until(arrived)


def test_a_peer_that_restarts_with_other_certificates_is_reached(
    started: Any, tmp_path: Path
) -> None:
    """All files including the CA are replaced while a node runs; the old ones are invalid."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    for_a, for_b = old.issue(tmp_path / "a"), old.issue(tmp_path / "b")

    async def scenario() -> None:
        async with started("a", tls=for_a) as a:
            a.handler.on_called = hello
            async with started("b", tls=for_b) as b:
                await talks(a, b)
                address = b.address
            new.issue(tmp_path / "a")
            new.issue(tmp_path / "b")
            a.transport.refresh()
            async with started("b", tls=for_b, listen=(address,)) as b:
                await talks(a, b)
                await b.transport.call(a.address, peer.DetailsRequest(), PATIENCE)

    asyncio.run(scenario())


def test_whoever_has_a_certificate_of_the_former_authority_is_kept_out(
    started: Any, tmp_path: Path
) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    for_b, for_c, for_d = (old.issue(tmp_path / name) for name in "bcd")
    new.issue(tmp_path / "d")
    trusts_both = (tmp_path / "old/ca.pem").read_bytes() + (tmp_path / "new/ca.pem").read_bytes()
    for files in (for_c, for_d):
        files.ca.write_bytes(trusts_both)

    async def scenario() -> None:
        async with started("b", tls=for_b, listen=("127.0.0.1:0",) * 2) as b:
            b.handler.on_called = hello
            request = peer.DetailsRequest()
            both_ports = b.transport.listening
            for newer in (False, True):
                if newer:
                    new.issue(tmp_path / "b")
                    b.transport.refresh()
                kept_out, let_in = (for_c, for_d) if newer else (for_d, for_c)
                async with started("x", tls=kept_out) as x, started("y", tls=let_in) as y:
                    for address in both_ports:
                        await y.transport.call(address, request, PATIENCE)
                        with pytest.raises(Unreachable):
                            await x.transport.call(address, request, 1)

    asyncio.run(scenario())


def test_half_a_pair_changes_nothing_and_is_noted(started: Any, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    for_a, for_b, other = (authority.issue(tmp_path / name) for name in ("a", "b", "other"))

    async def scenario() -> None:
        async with started("a", tls=for_a) as a, started("b", tls=for_b) as b:
            assert a.transport.notes == {}
            for node, files in ((a, for_a), (b, for_b)):
                shutil.copyfile(other.cert, files.cert)
                node.transport.refresh()
                assert "the former ones stay in use" in node.transport.notes["tls"]
            await talks(a, b)
            for node, files in ((a, for_a), (b, for_b)):
                shutil.copyfile(other.key, files.key)
                node.transport.refresh()
                assert node.transport.notes == {}
            await talks(a, b)

    asyncio.run(scenario())


@pytest.mark.parametrize("missing", ["ca", "cert", "key"])
def test_a_tls_file_that_cannot_be_read_is_named(tmp_path: Path, missing: str) -> None:
    paths: dict[str, Any] = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for name, path in paths.items():
        if name != missing:
            path.write_text("x")
    options = TransportOptions(listen=("127.0.0.1:0",), tls=TLSFiles(**paths))

    async def scenario() -> None:
        with pytest.raises(ConfigError, match=f"TLS {missing} .*{missing}.pem"):
            await TcpTransport(options).start(RecordingHandler("a", "", ""))

    asyncio.run(scenario())


def test_tls_files_without_a_certificate_in_them_are_named(tmp_path: Path) -> None:
    paths: dict[str, Any] = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for path in paths.values():
        path.write_text("x")
    options = TransportOptions(listen=("127.0.0.1:0",), tls=TLSFiles(**paths))

    async def scenario() -> None:
        with pytest.raises(ConfigError, match=r"ca\.pem holds no PEM certificate"):
            await TcpTransport(options).start(RecordingHandler("a", "", ""))

    asyncio.run(scenario())


# ---------------------------------------------------------------------- start, stop, calls


def test_an_address_of_another_host_is_an_error_that_names_it() -> None:
    async def scenario() -> None:
        transport = TcpTransport(TransportOptions(listen=("127.0.0.1:0", "192.0.2.1:15000")))
        with pytest.raises(ConfigError, match=r"192\.0\.2\.1:15000"):
            await transport.start(RecordingHandler("a", "", ""))
        await transport.stop()

    asyncio.run(scenario())


def test_both_ports_answer(started: Any) -> None:
    async def scenario() -> None:
        listen = ("127.0.0.1:0", "127.0.0.1:0")
        async with started("b", listen=listen) as b, started("a") as a:
            b.handler.on_called = hello
            for address in b.transport.listening:
                reply = await a.transport.call(address, peer.DetailsRequest(), 20)
                assert reply == peer.DetailsReply(b"{}")

    asyncio.run(scenario())


def test_calls_under_way_end_as_unreachable_when_their_node_stops(started: Any) -> None:
    async def scenario() -> None:
        async with started("b") as b, started("a") as a:
            b.handler.on_called = never
            call = asyncio.create_task(a.transport.call(b.address, peer.DetailsRequest(), 30))
            await until(lambda: b.handler.calls)
            await a.transport.stop()
            with pytest.raises(Unreachable) as caught:
                await call
            assert caught.value.data["sent"] is True
            with pytest.raises(Stopped):
                await a.transport.call(b.address, peer.DetailsRequest(), 30)

    asyncio.run(scenario())


def test_a_cancelled_call_is_cancelled_at_the_other_end_too(started: Any) -> None:
    async def scenario() -> None:
        async with started("b") as b, started("a") as a:
            ended: list[str] = []

            async def serve(_request: PeerRequest) -> PeerReply:
                try:
                    return await never(_request)
                finally:
                    ended.append("cancelled")

            b.handler.on_called = serve
            call = asyncio.create_task(a.transport.call(b.address, peer.DetailsRequest(), 30))
            await until(lambda: b.handler.calls)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await until(lambda: ended)

    asyncio.run(scenario())


def test_calls_at_one_time_to_nobody_all_fail_as_never_sent(started: Any) -> None:
    async def scenario() -> None:
        async with started("a") as a:
            async with started("b") as b:
                address = b.address  # free once b has stopped, and not a's
            batch = (a.transport.call(address, peer.DetailsRequest(), 10) for _ in range(20))
            for error in await asyncio.gather(*batch, return_exceptions=True):
                assert isinstance(error, Unreachable)
                assert error.data["sent"] is False

    asyncio.run(scenario())


def test_a_call_under_way_survives_that_its_caller_joins_a_cluster(started: Any) -> None:
    """The next call uses a new connection that names the cluster; the pending one is answered."""

    async def scenario() -> None:
        async with started("b") as b, started("a", cluster_id="") as a:
            go = asyncio.Event()

            async def wait(_request: PeerRequest) -> PeerReply:
                await go.wait()
                return peer.DetailsReply(b"first")

            b.handler.on_called = wait
            first = asyncio.create_task(a.transport.call(b.address, peer.DetailsRequest(), 30))
            await until(lambda: b.handler.calls)
            a.handler.identify(cluster_id="cl")
            b.handler.on_called = hello
            second = await a.transport.call(b.address, peer.DetailsRequest(), 20)
            assert second == peer.DetailsReply(b"{}")
            go.set()
            assert await first == peer.DetailsReply(b"first")

    asyncio.run(scenario())


def test_uvloop_runs_the_same(started: Any) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def scenario() -> None:
        async with started("b") as b, started("a") as a:
            a.meets(b)
            index = 0

            def exchange() -> bool:
                nonlocal index
                index += 1
                a.transport.send(append(index))
                return len(a.handler.responses) > 50

            await until(exchange)
            ids = [r.request_id for r in a.handler.responses]
            assert ids == sorted(ids)
        await until(lambda: len(asyncio.all_tasks()) == 1, "no task is left")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


# ---------------------------------------------------------------------- snapshots


def test_a_snapshot_that_changed_on_its_way_is_not_taken_in(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = zlib.crc32, iter(range(1000))

    def wrong(data: bytes, value: int = 0) -> int:
        return real(data, value) ^ next(calls)

    monkeypatch.setattr("braft_tcp.snapshot_channel.zlib.crc32", wrong)

    async def scenario() -> None:
        async with started("b") as b, started("a") as a:
            a.meets(b)
            meta = put(a.handler.snapshots, 5, [bytes(1000)], term=2)
            a.transport.send(InstallSnapshot("a", "b", 3, meta, request_id=7))
            await until(lambda: a.handler.responses)
            assert a.handler.responses[0].success is False
            assert b.transport.counters["refused_garbage"] == 1
            assert b.handler.requests == b.handler.snapshots.list() == []

    asyncio.run(scenario())
