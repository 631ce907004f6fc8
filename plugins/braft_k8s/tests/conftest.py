"""An API server that answers lists and watches of services and pods, and fails on demand."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from braft_testing.processes import PATIENCE


class _Server(ThreadingHTTPServer):
    """Keeps the thread of each connection, which ends only when it sees the client go."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self.handlers: list[threading.Thread] = []
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        handler = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self.handlers.append(handler)
        handler.start()


class FakeApi:
    """API server with objects by kind and namespace; ``requests`` records the requests."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.requests: list[tuple[str, str, str]] = []
        #: Status and body of all answers, if set.
        self.failure: tuple[int, bytes] | None = None
        #: The same for watches only.
        self.watch_failure: tuple[int, bytes] | None = None
        #: Accepted bearer tokens; ``None`` accepts all.
        self.tokens: set[str] | None = None
        #: Number of open watches, and of all watches so far.
        self.watching = 0
        self.watches = 0
        self._version = 0
        self._news = threading.Condition()
        self._ending: bytes | None = None
        #: While clear, watches get no header.
        self.answering_watches = threading.Event()
        self.answering_watches.set()
        #: While clear, no request is answered.
        self.answering = threading.Event()
        self.answering.set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                api.answer(self)

            def log_message(self, *_: Any) -> None:
                """Keep the access log out of the test's output."""

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.answering.set()
        self.answering_watches.set()
        self.end_watches()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def wait_idle(self) -> None:
        """Wait until all clients have closed their connections."""
        self.end_watches()  # an idle watch does not see its client go
        for handler in self.server.handlers:
            handler.join(PATIENCE)

    def changed(self) -> None:
        """Report a change on all watches."""
        with self._news:
            self._version += 1
            self._news.notify_all()

    def end_watches(self, last: bytes = b"") -> None:
        """End all open watches, each with a last message."""
        with self._news:
            self._ending = last
            self._version += 1
            self._news.notify_all()
            self._news.wait_for(lambda: not self.watching, PATIENCE)
            self._ending = None

    def watch(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        with self._news:
            self.watching += 1
            self.watches += 1
            seen = -1
            try:
                while self._ending is None:
                    if seen != self._version:
                        seen = self._version
                        event = json.dumps({"type": "MODIFIED", "object": {}}).encode() + b"\n"
                        request.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                    self._news.wait(0.05)
                    request.wfile.flush()
                if self._ending:
                    request.wfile.write(b"%x\r\n%s\r\n" % (len(self._ending), self._ending))
                request.wfile.write(b"0\r\n\r\n")
            finally:
                self.watching -= 1
                self._news.notify_all()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.answering.wait(30)
        url = urlsplit(request.path)
        asked = parse_qs(url.query)
        selector = asked.get("labelSelector", [""])[0]
        authorization = request.headers.get("Authorization", "")
        watch = asked.get("watch", [""])[0].lower() == "true"
        if not watch:
            self.requests.append((url.path, selector, authorization))
        failure = self.failure or (self.watch_failure if watch else None)
        if self.tokens is not None and authorization.split()[-1:] != [*self.tokens][:1]:
            failure = 401, b""
        if watch:
            self.answering_watches.wait(30)
        if watch and failure is None:
            with contextlib.suppress(ConnectionError):
                self.watch(request)
            return
        status, body = failure or self.listed(url.path, selector)
        with contextlib.suppress(ConnectionError):  # the client may have timed out
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

    def listed(self, path: str, selector: str) -> tuple[int, bytes]:
        _, _api, _v1, _namespaces, namespace, kind = path.split("/")
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        items = [
            item
            for item in self.objects.get((kind, namespace), [])
            if wanted.items() <= item["metadata"]["labels"].items()
        ]
        name = {"services": "ServiceList", "pods": "PodList"}[kind]
        return 200, json.dumps({"kind": name, "apiVersion": "v1", "items": items}).encode()

    def service(
        self, labels: dict[str, str], selector: dict[str, str] | None, namespace: str = "prod"
    ) -> None:
        spec = {} if selector is None else {"selector": selector}
        self._add("services", namespace, {"metadata": {"labels": labels}, "spec": spec})

    def pod(
        self,
        ip: str,
        labels: dict[str, str],
        *,
        phase: str = "Running",
        namespace: str = "prod",
        terminating: bool = False,
        ports: dict[str, int] | None = None,
        more_ips: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": f"pod-{ip}", "labels": labels}
        if terminating:
            metadata["deletionTimestamp"] = "2024-05-15T09:41:41Z"
        listed = [{"name": k, "containerPort": v} for k, v in (ports or {}).items()]
        status: dict[str, Any] = {"phase": phase}
        if ip:
            status |= {"podIP": ip, "podIPs": [{"ip": text} for text in (ip, *more_ips)]}
        pod = {
            "metadata": metadata,
            "spec": {"containers": [{"name": "sidecar"}, {"name": "braft", "ports": listed}]},
            "status": status,
        }
        self._add("pods", namespace, pod)
        return pod

    def _add(self, kind: str, namespace: str, item: dict[str, Any]) -> None:
        self.objects.setdefault((kind, namespace), []).append(item)
        self.changed()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    yield server
    server.close()


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> Path:
    """Write a kubeconfig with the contexts "main" (namespace prod) and "bare" (none)."""
    user = {"name": "u", "user": {"token": "t0ken"}}
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}
    contexts = [
        {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "prod"}},
        {"name": "bare", "context": {"cluster": "c", "user": "u"}},
    ]
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "users": [user],
                "contexts": contexts,
                "current-context": "main",
            }
        )
    )
    return path
