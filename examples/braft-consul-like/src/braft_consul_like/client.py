"""Coroutines for the registry's HTTP interface.

::

    PUT    /v1/services/{cluster}/{node}   {"host": ..., "port": ..., "ttl": seconds}
    DELETE /v1/services/{cluster}/{node}
    GET    /v1/services/{cluster}[?index=N&wait=seconds]

The last returns ``{"index": N, "nodes": [{"id", "host", "port"}, ...]}``; with ``index`` only when
there is a newer state, or after ``wait``. This module checks all responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError

from braft_core.errors import Unreachable

__all__ = ["Found", "Node", "RegistryClient"]

#: Largest response of a registry, bytes.
_MOST = 1 << 20


class Node(BaseModel):
    """One entry of the registry."""

    id: str
    host: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.:-]+$")
    port: int = Field(ge=1, le=65535)


class _Answer(BaseModel):
    index: int
    nodes: list[Node]


@dataclass(frozen=True, slots=True)
class Found:
    """All nodes of a cluster, and the index of the registry's state."""

    index: int
    nodes: list[Node]


class RegistryClient:
    """A client of one registry. Use it in ``async with``, from one loop.

    Every method raises ``Unreachable`` if the registry does not answer as it should.
    """

    def __init__(self, url: str, cluster: str, token: str, timeout: float) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._path = f"/v1/services/{quote(cluster, safe='')}"
        self._timeout = timeout
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def register(self, node: Node, ttl: float) -> None:
        """Register a node for ``ttl`` seconds."""
        said = {"host": node.host, "port": node.port, "ttl": ttl}
        await self._request("PUT", self._of(node), json=said)

    async def withdraw(self, node: Node) -> None:
        """Remove a node."""
        await self._request("DELETE", self._of(node))

    async def find(self, index: int | None = None, wait: float = 0.0) -> Found:
        """Return all nodes; with ``index``, once the state is newer or after ``wait`` seconds."""
        asked = {} if index is None else {"index": str(index), "wait": f"{wait:g}"}
        text = await self._request("GET", self._path, params=asked, patience=wait)
        try:
            answer = _Answer.model_validate_json(text)
        except ValidationError as error:
            raise Unreachable(f"{self._http.base_url}: no registry's answer: {error}") from error
        return Found(answer.index, answer.nodes)

    def _of(self, node: Node) -> str:
        return f"{self._path}/{quote(node.id, safe='')}"

    async def _request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: dict[str, str] | None = None,
        patience: float = 0.0,
    ) -> bytes:
        asking = self._http.stream(
            method, path, json=json, params=params, timeout=self._timeout + patience
        )
        body = b""
        try:
            async with asking as response:
                response.raise_for_status()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MOST:
                        raise Unreachable(f"{self._http.base_url}: more than {_MOST} bytes")
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"the registry {self._http.base_url}: {reason}") from error
        return body
