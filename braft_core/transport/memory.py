"""The memory transport: nodes of one process talk without sockets, across threads and loops.

It gives the same guarantees as the gRPC transport (order, identity checks, reports to the node), so
that tests can use it instead. Its network produces faults on command. Build it with
``options={"network": MemoryNetwork()}``; nodes with the same network object reach each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from braft_core.abc import Identity, Transport, TransportHandler, TransportOptions
from braft_core.errors import (
    BraftError,
    ConfigError,
    ProtocolViolation,
    Stopped,
    Unreachable,
    WrongCluster,
    from_wire,
    to_wire,
)
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import (
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    Request,
    Response,
)
from braft_core.transport.admission import VIOLATION, WRONG_CLUSTER, refuse, refuse_call
from braft_core.transport.memory_peer import MemoryPeer, copied, resolve
from braft_core.transport.memory_snapshots import MemorySnapshotReceiver, on_loop, watched
from braft_core.transport.snapshot_transfer import SnapshotReader, SnapshotSender

__all__ = ["MemoryNetwork", "MemoryTransport"]

_log = logging.getLogger(__name__)
_Act = Callable[[TransportHandler], None]


class MemoryNetwork:
    """The listeners and the cuts between them. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._nodes: dict[str, MemoryTransport] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._ports = itertools.count(1)

    def block(self, source: str, target: str, *, both: bool = True) -> None:
        """Drop everything between two addresses, or only from ``source``, without an error."""
        with self._lock:
            self._cuts.add((source, target))
            if both:
                self._cuts.add((target, source))

    def heal(self, first: str | None = None, second: str | None = None) -> None:
        """End the cuts between two addresses, of one address, or all."""
        named = {name for name in (first, second) if name is not None}
        with self._lock:
            self._cuts = {cut for cut in self._cuts if not named <= set(cut)}

    def sever(self, first: str, second: str) -> None:
        """Break the established connections of two nodes once, as a reset of TCP does."""
        with self._lock:
            one, other = self._nodes.get(first), self._nodes.get(second)
        if one is not None and other is not None and one.knows(other) and other.knows(one):
            one.lose(other.identity.server_id)
            other.lose(one.identity.server_id)

    def kill(self, address: str) -> None:
        """Remove the node as if its process was killed: every peer's connection breaks."""
        with self._lock:
            victim = self._nodes.get(address)
            if victim is None:
                return
            self.leave(victim)
            others = self.others(victim)
        victim.silence()
        for other in others:
            if other.knows(victim) or victim.knows(other):
                other.lose(victim.identity.server_id)

    # Called by the transports.

    def deliver(self, source: MemoryTransport, target: MemoryTransport, act: _Act) -> bool:
        """Carry something to ``target``, which then runs ``act``; ``False``: its loop is gone."""
        return target.post(act)

    def run_on(self, target: MemoryTransport, step: Any) -> asyncio.Future[Any]:
        """Run a coroutine on another node's loop. :raises Unreachable: that loop is gone."""
        return on_loop(target.loop, step)

    def join(self, node: MemoryTransport, addresses: tuple[str, ...]) -> tuple[str, ...]:
        """Listen; port 0 is replaced. :raises ConfigError: if an address is taken."""
        with self._lock:
            chosen = tuple(self._chosen(address) for address in addresses)
            for address in chosen:
                if address in self._nodes:
                    raise ConfigError(
                        f"cannot listen on {address}: another node of this network does; "
                        "choose another address",
                        address=address,
                    )
            self._nodes.update(dict.fromkeys(chosen, node))
        return chosen

    def _chosen(self, address: str) -> str:
        host, _, port = address.rpartition(":")
        return f"{host}:{next(self._ports)}" if port == "0" else address

    def leave(self, node: MemoryTransport) -> None:
        """Stop listening."""
        with self._lock:
            self._nodes = {a: n for a, n in self._nodes.items() if n is not node}

    def find(self, address: str) -> MemoryTransport | None:
        """Return the node that listens there, if any."""
        with self._lock:
            return self._nodes.get(address)

    def others(self, node: MemoryTransport) -> list[MemoryTransport]:
        """Return the other nodes that listen."""
        with self._lock:
            return list({id(n): n for n in self._nodes.values() if n is not node}.values())

    def cut(self, source: tuple[str, ...], target: tuple[str, ...]) -> bool:
        """Return whether messages from ``source`` to ``target`` are dropped."""
        with self._lock:
            return any((s, t) in self._cuts for s in source for t in target)


class _Route(NamedTuple):
    """``context`` of a request: where the response goes."""

    origin: MemoryTransport
    request_id: int


class MemoryTransport(Transport):
    """A transport within one process. See :class:`braft_core.abc.Transport`."""

    name: ClassVar[str] = "memory"

    def __init__(self, options: TransportOptions) -> None:
        super().__init__(options)
        network = options.options.get("network")
        if not isinstance(network, MemoryNetwork):
            raise ConfigError(
                f"the memory transport needs a MemoryNetwork as options['network'], got {network!r}"
            )
        self._network = network
        #: The actual addresses, with the ports chosen for 0. Set by :meth:`start`.
        self.listening: tuple[str, ...] = ()
        self._counters: Counter[str] = Counter()
        self._handler: TransportHandler | None = None
        self._sender = SnapshotSender(self._send_snapshot, self._transferred)
        self._receiver: MemorySnapshotReceiver | None = None
        self._peers: dict[str, MemoryPeer] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        #: Our calls under way, and who serves them.
        self._awaited: dict[asyncio.Future[PeerReply], MemoryTransport] = {}

    @property
    def counters(self) -> Counter[str]:
        """See the base class; further ``refused_by_peer`` and ``dropped``."""
        return self._counters

    @property
    def identity(self) -> Identity:
        """The node's identity, also after :meth:`stop`."""
        return self._identity_of.identity

    async def start(self, handler: TransportHandler) -> None:
        """See the base class."""
        self.loop = asyncio.get_running_loop()
        self._identity_of = handler
        self.listening = self._network.join(self, self.options.listen)
        self._handler = handler
        self._receiver = MemorySnapshotReceiver(
            handler, self.counters, self._hand_over, self.options.timing.snapshot_pace
        )

    async def stop(self) -> None:
        """See the base class."""
        self._network.leave(self)
        if self._handler is not None:
            self._say_goodbye()
        self.silence()
        for peer in self._peers.values():
            if peer.silence is not None:
                peer.silence.cancel()
        self._peers.clear()
        calls = [*self._calls]
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._sender.stop()
        if self._receiver is not None:
            await self._receiver.stop()

    def _say_goodbye(self) -> None:
        """Let the others report the requests that get no answer any more."""
        me = self.identity.server_id
        for other in self._network.others(self):
            other.post(lambda _, other=other: other._left_by(me))  # type: ignore[misc]

    def _left_by(self, server_id: str) -> None:
        peer = self._peers.get(server_id)
        if peer is not None and peer.forget():
            self._dropped(server_id)

    def silence(self) -> None:
        """Send and receive nothing from now on."""
        self._handler = None

    # ------------------------------------------------------------------ peers

    def set_peer(self, server_id: str, address: str) -> None:
        """See the base class."""
        peer = self._peers.get(server_id)
        if peer is None or peer.address != address:
            self._peers[server_id] = MemoryPeer(address)
            self._sender.cancel(server_id)

    def remove_peer(self, server_id: str) -> None:
        """See the base class."""
        self._peers.pop(server_id, None)
        self._sender.cancel(server_id)

    def knows(self, other: MemoryTransport) -> bool:
        """Return whether a connection to ``other`` would stand: right address, id and cluster."""
        theirs = other.identity
        peer = self._peers.get(theirs.server_id)
        return (
            peer is not None
            and peer.address in other.listening
            and bool(theirs.cluster_id)
            and theirs.cluster_id == self.identity.cluster_id
            and not self._network.cut(self.listening, other.listening)
        )

    def lose(self, server_id: str) -> None:
        """Report a broken connection with that peer. Any thread."""

        def lose(handler: TransportHandler) -> None:
            self._sender.cancel(server_id)
            if (peer := self._peers.get(server_id)) is not None:
                peer.forget()
            for answer, server in self._awaited.items():
                if server.identity.server_id == server_id:
                    resolve(answer, Unreachable("the connection broke", sent=True))
            handler.on_connection_lost(server_id)

        self.post(lose)

    def post(self, act: Callable[[TransportHandler], None]) -> bool:
        """Run ``act`` on this node's loop, if it still runs by then."""

        def run() -> None:
            if self._handler is not None:
                act(self._handler)

        try:
            self.loop.call_soon_threadsafe(run)
        except RuntimeError:
            return False  # The loop is closed, and with it the node.
        return True

    # ------------------------------------------------------------------ Raft messages

    def send(self, message: Request) -> None:
        """See the base class."""
        if self._handler is None:
            return
        if isinstance(message, InstallSnapshot):
            self._sender.send(message)
            return
        peer = self._peers.setdefault(message.to, MemoryPeer(""))
        target = self._network.find(peer.address)
        if target is None:
            self._dropped(message.to)
        elif self._network.cut(self.listening, target.listening):
            self._expect_silence(message.to)
        elif not peer.admit(message, self.loop.time() - self.options.rpc_timeout):
            self._dropped(message.to)
        else:
            cluster_id, sent = self.identity.cluster_id, copied(message)
            sent.context = _Route(self, message.request_id)
            if not self._network.deliver(
                self, target, lambda handler: target._receive(handler, sent, cluster_id)
            ):
                self._dropped(message.to)

    def _receive(self, handler: TransportHandler, message: Request, cluster_id: str) -> None:
        refusal = refuse(handler.identity, cluster_id, message.to)
        if refusal is None:
            handler.on_message(message)
            return
        self.counters[refusal.kind] += 1
        route: _Route = message.context
        to, reason = message.to, refusal.reason
        self._network.deliver(self, route.origin, lambda _: route.origin._refused(to, reason))

    def reply(self, message: Response) -> None:
        """See the base class."""
        if self._handler is None:
            return
        if isinstance(message.context, asyncio.Future):
            if not message.context.done():
                message.context.set_result(message)
            return
        route: _Route = message.context
        origin, sender = route.origin, self.identity.server_id
        if self._network.cut(self.listening, origin.listening):
            origin.post(lambda _: origin._expect_silence(sender))
            return
        response = replace(message, context=None, request_id=route.request_id)
        self._network.deliver(self, origin, lambda h: origin._answered(h, response))

    def refuse(self, message: Message, error: BraftError) -> None:
        """See the base class. There is no connection to close; report to the request's sender."""
        if isinstance(error, ProtocolViolation):
            self.counters[VIOLATION] += 1
        context, me = message.context, self.identity.server_id
        if isinstance(context, asyncio.Future):
            if not context.done():
                context.set_exception(error)
        elif isinstance(context, _Route):
            origin, reason = context.origin, error.message
            self._network.deliver(self, origin, lambda _: origin._refused(me, reason))
        else:
            self._dropped(message.sender)

    def _answered(self, handler: TransportHandler, response: Response) -> None:
        peer = self._peers.get(response.sender)
        if peer is not None:
            peer.answered(response)
        handler.on_message(response)

    def _refused(self, to: str, reason: str) -> None:
        self.counters["refused_by_peer"] += 1
        error = WrongCluster(f"server {to} refuses us: {reason}", server_id=to)
        _log.warning("%s: %s", type(error).__name__, error)
        self._dropped(to)

    def _dropped(self, to: str) -> None:
        self.counters["dropped"] += 1
        peer = self._peers.get(to)
        if self._handler is not None and peer is not None and not peer.reported:
            peer.reported = True
            self._handler.on_unreachable(to)

    def _expect_silence(self, to: str) -> None:
        """Report the peer as unreachable unless a response comes in time."""
        peer = self._peers.get(to)
        if peer is not None and peer.silence is None:

            def over() -> None:
                peer.silence = None
                self._dropped(to)

            peer.silence = self.loop.call_later(self.options.rpc_timeout, over)

    # ------------------------------------------------------------------ snapshots

    async def _send_snapshot(self, message: InstallSnapshot) -> InstallSnapshotResponse:
        handler, peer = self._handler, self._peers.get(message.to)
        target = self._network.find(peer.address) if peer is not None else None
        if handler is None or target is None or target._receiver is None:
            raise Unreachable(f"nothing listens at the address of server {message.to}", sent=False)
        with contextlib.closing(SnapshotReader(handler, message.meta)) as source:
            await self._pass(target)
            sent = replace(message, meta=message.meta._replace(id=""), request_id=0)
            contents = self._contents(target, source)
            stall = self.options.timing.snapshot_stall
            receiving = target._receiver.receive(sent, self.identity.cluster_id, contents)
            try:
                response: InstallSnapshotResponse = await watched(
                    self._network.run_on(target, receiving), source, stall
                )
            except WrongCluster:
                self.counters["refused_by_peer"] += 1
                raise
            await target._pass(self)
            return replace(response, context=None)

    async def _contents(
        self, target: MemoryTransport, source: SnapshotReader
    ) -> AsyncGenerator[bytes]:
        """Yield the contents, on the target's loop."""
        while True:
            await self._pass(target)
            chunk = await self._network.run_on(self, source.next())
            if not chunk:
                return
            yield chunk

    async def _pass(self, target: MemoryTransport) -> None:
        """Check that messages reach ``target``. :raises Unreachable: they do not."""
        if self._handler is None or target._handler is None:
            raise Unreachable("the connection broke", sent=True)
        if self._network.cut(self.listening, target.listening):
            await asyncio.sleep(self.options.rpc_timeout)
            raise Unreachable(f"nothing was heard for {self.options.rpc_timeout} s", sent=True)

    def _hand_over(self, message: InstallSnapshot) -> None:
        if self._handler is not None:
            self._handler.on_message(message)

    def _transferred(self, response: InstallSnapshotResponse) -> None:
        if self._handler is not None:
            self._handler.on_message(response)

    # ------------------------------------------------------------------ peer calls

    async def call(
        self,
        address: str,
        request: PeerRequest,
        timeout: float,
    ) -> PeerReply:
        """See the base class."""
        if self._handler is None:
            raise Stopped("the transport is not running")
        target = self._network.find(address)
        if target is None:
            raise Unreachable(f"nobody listens on {address}", address=address, sent=False)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(target, request)
        except TimeoutError as error:
            message = f"no answer from {address} in {timeout} s"
            raise Unreachable(message, address=address, sent=True) from error

    async def _exchange(self, target: MemoryTransport, request: PeerRequest) -> PeerReply:
        answer: asyncio.Future[PeerReply] = self.loop.create_future()
        cluster_id = self.identity.cluster_id
        if not self._network.cut(self.listening, target.listening):
            posted = self._network.deliver(
                self,
                target,
                lambda handler: target._spawn(handler, request, cluster_id, self, answer),
            )
            if not posted:
                raise Unreachable("the node is gone", sent=False)
        self._awaited[answer] = target
        try:
            return await answer
        finally:
            del self._awaited[answer]

    def _spawn(
        self,
        handler: TransportHandler,
        request: PeerRequest,
        cluster_id: str,
        origin: MemoryTransport,
        answer: asyncio.Future[PeerReply],
    ) -> None:
        task = self.loop.create_task(self._serve(handler, request, cluster_id, origin, answer))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _serve(
        self,
        handler: TransportHandler,
        request: PeerRequest,
        cluster_id: str,
        origin: MemoryTransport,
        answer: asyncio.Future[PeerReply],
    ) -> None:
        result: PeerReply | BraftError
        try:
            reason = refuse_call(handler.identity, type(request), cluster_id)
            if reason:
                self.counters[WRONG_CLUSTER] += 1
                raise WrongCluster(reason, cluster_id=handler.identity.cluster_id)
            result = await handler.on_call(request)
        except asyncio.CancelledError:
            result = Unreachable("the peer stopped while it served the call", sent=True)
        except BraftError as error:
            result = from_wire(*to_wire(error))
        # A bug in a handler must reach the caller as an answer and the log as a traceback.
        except Exception as error:  # noqa: BLE001
            _log.exception("a peer call failed")
            result = BraftError(f"internal error: {type(error).__name__}: {error}")
        if not self._network.cut(self.listening, origin.listening):
            self._network.deliver(self, origin, lambda _: resolve(answer, result))
