"""Waits for a channel to connect, and explains failures."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from braft_core.errors import Unreachable
from braft_core.transport.reachability import probe_reachability
from braft_core.transport.tls_probe import DIFFERS

__all__ = ["connect_error", "wait_until_ready"]

_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


async def wait_until_ready(channel: grpc.aio.Channel, patience: float) -> bool:
    """Return whether the channel connects in ``patience`` seconds; False at the first failure."""
    try:
        async with asyncio.timeout(patience):
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state in _FAILED:
                    return False
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        return False
    return True


async def connect_error(address: str, patience: float) -> Unreachable:
    """Return the error for an address to which no channel connects.

    gRPC does not distinguish a closed port from a failed TLS handshake, so the address is probed.
    A frozen process has used up ``patience`` (seconds) already.
    """
    accepted, answered = await probe_reachability(address, patience)
    return Unreachable(
        f"cannot connect to {address}{DIFFERS if accepted else ''}",
        address=address,
        sent=False,
        answered=answered,
    )
