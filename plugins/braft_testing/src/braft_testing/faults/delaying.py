"""Delay and reorder packets, as ``tc netem`` does, on kernels without it.

A rule hands packets to a netfilter queue. A :class:`DelayLine` holds each packet for its own random
time and then accepts it, so that a packet can overtake an earlier one. Speaks the kernel's
nfnetlink_queue protocol over a netlink socket: packet numbers cross it, never contents.
"""

from __future__ import annotations

import errno
import heapq
import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

from braft_testing.faults.machine import FaultKitError
from braft_testing.faults.namespaces import Namespace

__all__ = ["DelayLine"]

_NETLINK_NETFILTER = 12
_QUEUE_SUBSYSTEM = 3 << 8
_PACKET, _VERDICT, _CONFIG = (_QUEUE_SUBSYSTEM | kind for kind in (0, 1, 2))
_NLMSG_ERROR = 2
_REQUEST, _ACK = 1, 4
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
#: Attributes of a configuration, of a packet, of a verdict.
_CFG_COMMAND, _CFG_PARAMETERS, _CFG_MAX_LENGTH = 1, 2, 3
_PACKET_HEADER = 1
_VERDICT_HEADER = 2
_BIND = 1
_COPY_META = 1
_ACCEPT = 1
_MAX_LENGTH = 16_384
_BUFFER = 1 << 20
_TYPE_MASK = 0x3FFF


class DelayLine:
    """Holds the packets of queue 0 of a namespace. Use ``with``; leaving it accepts all.

    :param least: shortest delay, seconds.
    :param most: longest delay, seconds.
    """

    def __init__(self, namespace: Namespace, least: float, most: float, seed: int) -> None:
        self._namespace = namespace
        self._bounds = (least, most)
        self._random = random.Random(seed)  # noqa: S311 - must be reproducible, not secret
        self._held: list[tuple[float, int]] = []
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="delay-line", daemon=True)
        self.passed = 0
        self.overtaken = 0
        self._newest = 0

    def __enter__(self) -> DelayLine:
        """Open the queue.

        :raises FaultKitError: if the kernel has no such queue, or another process reads it.
        """
        with self._namespace.inside():
            self._socket = _open_queue()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        os.write(self._wake_writer, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            now = time.monotonic()
            wait = max(0.0, self._held[0][0] - now) if self._held else None
            sources = [self._socket.fileno(), self._wake_reader]
            ready, _, _ = select.select(sources, [], [], wait)
            stopping = self._wake_reader in ready
            if sources[0] in ready:
                self._take(time.monotonic())
            self._release(float("inf") if stopping else time.monotonic())

    def _take(self, now: float) -> None:
        try:
            data = self._socket.recv(_BUFFER)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # the kernel lost packets, as networks do
                raise
            return
        for number in _packets(data):
            heapq.heappush(self._held, (now + self._random.uniform(*self._bounds), number))

    def _release(self, now: float) -> None:
        while self._held and self._held[0][0] <= now:
            _, number = heapq.heappop(self._held)
            verdict = _attribute(_VERDICT_HEADER, struct.pack("!II", _ACCEPT, number))
            self._socket.send(_message(_VERDICT, _REQUEST, verdict))
            self.passed += 1
            self.overtaken += number < self._newest
            self._newest = max(self._newest, number)


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _message(kind: int, flags: int, *attributes: bytes) -> bytes:
    """Build a netlink message about queue 0."""
    body = struct.pack("!BBH", 0, 0, 0) + b"".join(attributes)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def _open_queue() -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        channel.bind((0, 0))
        for setting in (
            _attribute(_CFG_COMMAND, struct.pack("!BxH", _BIND, socket.AF_INET)),
            _attribute(_CFG_PARAMETERS, struct.pack("!IB", 0, _COPY_META)),
            _attribute(_CFG_MAX_LENGTH, struct.pack("!I", _MAX_LENGTH)),
        ):
            channel.send(_message(_CONFIG, _REQUEST | _ACK, setting))
            _check(channel.recv(_BUFFER))
    except OSError as error:
        channel.close()
        raise FaultKitError(f"the kernel gives no netfilter queue: {error.strerror}") from error
    except FaultKitError:
        channel.close()
        raise
    return channel


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each message in data from the kernel."""
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, data[_HEADER.size : length]
        data = data[length + -length % 4 :]


def _check(data: bytes) -> None:
    for kind, body in _messages(data):
        code = struct.unpack_from("=i", body)[0] if kind == _NLMSG_ERROR else 0
        if code:
            raise FaultKitError(f"the kernel gives no netfilter queue: {os.strerror(-code)}")


def _packets(data: bytes) -> Iterator[int]:
    """Yield the numbers of the packets announced in data from the kernel."""
    for kind, body in _messages(data):
        rest = body[4:] if kind == _PACKET else b""
        while len(rest) >= _ATTRIBUTE.size:
            length, attribute = _ATTRIBUTE.unpack_from(rest)
            if length < _ATTRIBUTE.size:
                break
            if attribute & _TYPE_MASK == _PACKET_HEADER:
                yield struct.unpack_from("!I", rest, _ATTRIBUTE.size)[0]
            rest = rest[length + -length % 4 :]
