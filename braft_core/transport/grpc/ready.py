"""Waiting for a channel to connect, and why it does not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import grpc.aio

__all__ = ["when_ready", "why_not"]

_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


async def when_ready(channel: grpc.aio.Channel, patience: float) -> bool:
    """Whether the channel connects within ``patience`` seconds; False at the first failure."""
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


async def why_not(address: str, patience: float) -> str:
    """What is to be added to "cannot connect": "" unless somebody listens there all the same.

    gRPC does not tell a port on which nobody listens from one where TLS fails. So it is looked at
    once more, without TLS; a process that stands still has used up ``patience`` (seconds) already.
    """
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(max(0.0, patience)):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError, ValueError):
        return ""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return (
        ", though something listens there: BRAFT_TLS_* or BRAFT_TRANSPORT differs between the two, "
        "or one does not accept the certificate of the other"
    )
