"""The transport in its process: TLS, ports, loops and threads."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from braft_core import peer
from braft_core.abc import TLSFiles, TransportOptions
from braft_core.errors import ConfigError, Stopped, Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Entry
from braft_core.transport.grpc import GrpcTransport, poller_workaround
from braft_testing.certificates import Authority
from braft_testing.transport import PATIENCE, PATIENT_TIMING, Node, RecordingHandler, until


async def hello(_request: PeerRequest) -> PeerReply:
    return peer.DetailsReply(b"{}")


# ---------------------------------------------------------------------- TLS


def test_mutual_tls_lets_members_in_and_keeps_others_out(started: Any, tmp_path: Path) -> None:
    tls = Authority(tmp_path / "ours").issue(tmp_path / "mine")
    other_tls = Authority(tmp_path / "theirs").issue(tmp_path / "foreign")

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

    asyncio.run(scenario())


def append(index: int) -> AppendEntries:
    return AppendEntries("a", "b", 1, index - 1, 1, [Entry(index, 1, 0, b"x")], 0, request_id=index)


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
            await GrpcTransport(options).start(RecordingHandler("a", "", ""))

    asyncio.run(scenario())


def test_an_address_of_another_host_is_an_error_that_names_it() -> None:
    async def scenario() -> None:
        transport = GrpcTransport(TransportOptions(listen=("127.0.0.1:0", "192.0.2.1:15000")))
        with pytest.raises(ConfigError, match=r"192\.0\.2\.1:15000"):
            await transport.start(RecordingHandler("a", "", ""))
        await transport.stop()

    asyncio.run(scenario())


# ---------------------------------------------------------------------- calls


def test_calls_under_way_end_as_unreachable_when_their_node_stops(started: Any) -> None:
    async def scenario() -> None:
        async with started("b") as b, started("a") as a:

            async def never(_request: PeerRequest) -> PeerReply:
                await asyncio.sleep(60)
                raise AssertionError("the call was not cancelled")

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


def test_a_cancelled_call_is_cancelled(started: Any) -> None:
    async def scenario() -> None:
        async with started("b") as b, started("a") as a:

            async def never(_request: PeerRequest) -> PeerReply:
                await asyncio.sleep(60)
                raise AssertionError("the call was not cancelled")

            b.handler.on_called = never
            call = asyncio.create_task(a.transport.call(b.address, peer.DetailsRequest(), 30))
            await until(lambda: b.handler.calls)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

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


def test_idle_connections_are_closed(started: Any) -> None:
    timing = replace(PATIENT_TIMING, idle_call_connection=0.0)

    async def scenario() -> None:
        async with started("b") as b, started("c") as c, started("a", timing=timing) as a:
            b.handler.on_called = c.handler.on_called = hello
            request = peer.DetailsRequest()
            await a.transport.call(b.address, request, 20)
            await a.transport.call(c.address, request, 20)
            assert list(a.transport._session.pool._cache) == [c.address]
            await a.transport.call(b.address, request, 20)

    asyncio.run(scenario())


# ---------------------------------------------------------------------- loops


def context(message: str, exception: BaseException) -> dict[str, Any]:
    return {"message": message, "exception": exception}


NOISE = "Exception in callback PollerCompletionQueue._handle_events(<_UnixSelectorEventLoop ...>)"


def test_only_the_poller_race_is_kept_out_of_the_log() -> None:
    loop = asyncio.new_event_loop()
    seen: list[str] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context["message"]))
    before = loop.get_exception_handler()
    poller_workaround.install(loop)
    poller_workaround.install(loop)
    poller_workaround.remove(loop)
    loop.call_exception_handler(context(NOISE, BlockingIOError(11, "try again")))
    loop.call_exception_handler(context(NOISE, ValueError()))
    loop.call_exception_handler(context("Exception in callback mine()", BlockingIOError(11, "x")))
    assert seen == [NOISE, "Exception in callback mine()"]
    poller_workaround.remove(loop)
    assert loop.get_exception_handler() is before
    poller_workaround.remove(loop)
    loop.close()


def test_without_a_handler_the_rest_is_logged_as_ever(caplog: Any) -> None:
    loop = asyncio.new_event_loop()
    poller_workaround.install(loop)
    loop.call_exception_handler(context("mine", ValueError("v")))
    loop.close()
    assert "mine" in caplog.text


def test_a_handler_set_later_is_left_alone() -> None:
    loop = asyncio.new_event_loop()
    poller_workaround.install(loop)

    def later(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None: ...

    loop.set_exception_handler(later)
    poller_workaround.remove(loop)
    assert loop.get_exception_handler() is later
    loop.close()


def test_two_nodes_in_two_threads_start_and_stop_again_and_again(caplog: Any) -> None:
    failures: list[BaseException] = []

    def run(main: Callable[[], Any]) -> threading.Thread:
        def body() -> None:
            try:
                asyncio.run(main())
            # The test's thread checks it below.
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    before = threading.active_count()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            meeting = _Meeting()
            threads = [
                run(partial(meeting.node, "a", "b")),
                run(partial(meeting.node, "b", "a")),
            ]
            for thread in threads:
                thread.join(60)
            assert not failures, failures
            assert all(handler.lost == [] for handler in meeting.handlers)
    # grpc.aio keeps one poller thread per process.
    assert threading.active_count() <= before + 1
    assert caplog.records == []


class _Meeting:
    """Two nodes, each on a separate loop, exchange messages in both directions."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self.handlers: list[RecordingHandler] = []
        self._met = threading.Barrier(2, timeout=40)

    async def node(self, own: str, other: str) -> None:
        transport = GrpcTransport(TransportOptions(listen=("127.0.0.1:0",)))
        handler = RecordingHandler(own, "", "cl")
        handler.transport = transport
        self.handlers.append(handler)
        await transport.start(handler)
        self._addresses[own] = transport.listening[0]
        await until(lambda: other in self._addresses)
        transport.set_peer(other, self._addresses[other])
        index = 0

        def exchange() -> bool:
            nonlocal index
            index += 1
            entries = [Entry(index, 1, 0, b"x")]
            transport.send(AppendEntries(own, other, 1, index - 1, 1, entries, 0, index))
            return len(handler.responses) > 20

        await until(exchange)
        # A late GOAWAY has no effect, so nothing may wait before it.
        running: Any = transport._session
        bulk = running.peers.links[other]._bulk
        await until(lambda: not bulk.pending, "the last response")
        await asyncio.to_thread(self._met.wait)
        await transport.stop()
        # This also tests a loop that ends while the other node still closes in order.
        # Cancelled calls end a moment later: grpc's poller reports it, and the other loop may run
        # that.
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "no task is left")
