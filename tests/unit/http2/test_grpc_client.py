"""grpcio as the client: all shapes, metadata, deadlines, cancellation, big messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from braft_core.http2.grpc_aio import generic_handler
from braft_core.http2.limits import Limits

PATIENCE = 60.0


class Client:
    """Calls the methods of the test service with bytes."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def unary(self, name: str, request: bytes = b"", **options: Any) -> bytes:
        call = self._channel.unary_unary(f"/test.Test/{name}")
        answer: bytes = call(request, **{"timeout": PATIENCE, **options})
        return answer

    def __getattr__(self, shape: str) -> Callable[[str], Any]:
        return lambda name: getattr(self._channel, shape)(f"/test.Test/{name}")


OPTIONS = [("grpc.max_receive_message_length", -1)]


@pytest.fixture
def running(serve: Callable[..., Any]) -> Any:
    return serve()


@pytest.fixture
def client(running: Any) -> Iterator[Client]:
    with grpc.insecure_channel(f"127.0.0.1:{running.port}", OPTIONS) as channel:
        yield Client(channel)


def test_unary(client: Client) -> None:
    assert client.unary("Echo", b"hello") == b"hello"
    assert client.unary("Echo") == b""
    assert client.unary("Later", b"x" * 100) == b"x" * 100


def test_many_at_once(client: Client) -> None:
    call = client.unary_unary("Later")
    futures = [call.future(str(number).encode(), timeout=PATIENCE) for number in range(300)]
    assert [future.result() for future in futures] == [b"%d" % number for number in range(300)]


@pytest.mark.parametrize(
    ("method", "request_bytes", "code", "details"),
    [
        ("Refuse", "lost 100% \n ü".encode(), grpc.StatusCode.NOT_FOUND, "lost 100% \n ü"),
        ("Crash", b"", grpc.StatusCode.INTERNAL, "internal error"),
        ("None", b"", grpc.StatusCode.UNIMPLEMENTED, "unknown method /test.Test/None"),
    ],
)
def test_errors(
    client: Client, method: str, request_bytes: bytes, code: grpc.StatusCode, details: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        client.unary(method, request_bytes)
    assert (raised.value.code(), raised.value.details()) == (code, details)


def test_metadata(client: Client) -> None:
    given = (("token", "secret"), ("key-bin", b"\x00\xff"))
    seen = json.loads(client.unary("Metadata", metadata=given))
    assert ["token", "secret"] in seen["metadata"]
    assert ["key-bin", "\x00\xff"] in seen["metadata"]
    assert seen["deadline"]


def test_server_streaming(client: Client) -> None:
    answers = list(client.unary_stream("Count")(b"1000", timeout=PATIENCE))
    assert answers == [b"%d" % number for number in range(1000)]


def test_client_streaming(client: Client) -> None:
    parts = (b"x" * 100_000 for _ in range(100))
    assert client.stream_unary("Add")(parts, timeout=PATIENCE) == b"10000000"


def test_both_ways(client: Client) -> None:
    answers = client.stream_stream("Chat")((b"%d" % n for n in range(100)), timeout=PATIENCE)
    assert list(answers) == [b"%d" % number for number in range(100)]


def test_an_error_after_answers(client: Client) -> None:
    answers = client.stream_stream("Chat")(iter([b"1", b"2", b"fail"]), timeout=PATIENCE)
    assert [next(answers), next(answers)] == [b"1", b"2"]
    with pytest.raises(grpc.RpcError) as raised:
        next(answers)
    assert raised.value.code() is grpc.StatusCode.ABORTED


def test_cancellation_reaches_the_handler(client: Client, handlers: Any) -> None:
    future = client.unary_unary("Hang").future(b"", timeout=PATIENCE)
    handlers.wait_for("hangs")
    future.cancel()
    handlers.wait_for("cancelled True")


def test_cancellation_of_a_stream(client: Client, handlers: Any) -> None:
    answers = client.unary_stream("Forever")(b"x" * 1000, timeout=PATIENCE)
    assert next(answers) == b"x" * 1000
    answers.cancel()
    handlers.wait_for("stream closed")


def test_a_slow_reader_holds_its_stream_alone(client: Client, handlers: Any) -> None:
    answers = client.unary_stream("Forever")(b"x" * 10_000, timeout=PATIENCE)
    next(answers)  # and no more, so that the windows fill
    assert client.unary("Big", b"3000000", timeout=PATIENCE) == b"x" * 3_000_000
    assert client.unary("Echo", b"still") == b"still"
    answers.cancel()
    handlers.wait_for("stream closed")


def test_a_deadline(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        client.unary("Hang", timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("size", [16_379, 16_380, 65_530, 2**21])
def test_messages_of_all_sizes(client: Client, size: int) -> None:
    assert client.unary("Echo", b"m" * size) == b"m" * size


def test_an_answer_may_be_large(client: Client) -> None:
    assert len(client.unary("Big", b"20000000")) == 20_000_000


def test_a_message_that_is_too_large(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        client.unary("Echo", b"m" * (2**21 + 1))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2097153 bytes" in raised.value.details()
    assert client.unary("Echo", b"next") == b"next"


def test_compressed_messages_are_refused(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        client.unary("Echo", b"m" * 1000, compression=grpc.Compression.Gzip)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_more_calls_than_streams(serve: Callable[..., Any]) -> None:
    running = serve(Limits(max_concurrent_streams=3))
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        call = Client(channel).unary_unary("Later")
        futures = [call.future(b"x", timeout=PATIENCE) for _ in range(50)]
        assert {future.result() for future in futures} == {b"x"}


def test_a_graceful_stop_lets_calls_finish(client: Client, running: Any, handlers: Any) -> None:
    answers = client.stream_stream("Chat")
    sent = iter([b"1"])
    assert list(answers(sent, timeout=PATIENCE)) == [b"1"]
    future = client.unary_unary("Hang").future(b"", timeout=PATIENCE)
    handlers.wait_for("hangs")
    running.stop(0.2)
    assert future.exception().code() is grpc.StatusCode.UNAVAILABLE
    handlers.wait_for("cancelled True")
    assert running.server.connections == 0


async def serve_by_grpcio(handlers: Any, port: asyncio.Future[int], end: asyncio.Event) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((generic_handler(handlers.application().methods),))
    port.set_result(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await end.wait()
    await server.stop(0)


def test_the_same_handlers_behind_grpcio(handlers: Any) -> None:
    """The handlers know no server."""

    async def run() -> None:
        port, end = asyncio.get_running_loop().create_future(), asyncio.Event()
        serving = asyncio.create_task(serve_by_grpcio(handlers, port, end))
        address = f"127.0.0.1:{await port}"
        try:
            await asyncio.to_thread(check_all_shapes, address, handlers)
        finally:
            end.set()
            await serving

    asyncio.run(run())


def test_all_shapes(running: Any, handlers: Any) -> None:
    check_all_shapes(f"127.0.0.1:{running.port}", handlers)


def check_all_shapes(address: str, handlers: Any) -> None:
    with grpc.insecure_channel(address, OPTIONS) as channel:
        client = Client(channel)
        assert client.unary("Echo", b"hello") == b"hello"
        assert client.unary("Later", b"hello") == b"hello"
        given = (("token", "secret"), ("key-bin", b"\x00\xff"))
        seen = json.loads(client.unary("Metadata", metadata=given))
        assert ["token", "secret"] in seen["metadata"]
        assert ["key-bin", "\x00\xff"] in seen["metadata"]
        assert seen["deadline"]
        assert list(client.unary_stream("Count")(b"3", timeout=PATIENCE)) == [b"0", b"1", b"2"]
        parts = iter([b"ab", b"c"])
        assert client.stream_unary("Add")(parts, timeout=PATIENCE) == b"3"
        answers = client.stream_stream("Chat")(iter([b"1", b"fail"]), timeout=PATIENCE)
        assert next(answers) == b"1"
        for failing, code in (
            (lambda: next(answers), grpc.StatusCode.ABORTED),
            (lambda: client.unary("Refuse", b"x"), grpc.StatusCode.NOT_FOUND),
            (lambda: client.unary("None"), grpc.StatusCode.UNIMPLEMENTED),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                failing()
            assert raised.value.code() is code
        future = client.unary_unary("Hang").future(b"", timeout=PATIENCE)
        handlers.wait_for("hangs")
        future.cancel()
        handlers.wait_for("cancelled")
