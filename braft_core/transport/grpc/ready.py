"""Waiting for a channel to connect."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

__all__ = ["when_ready"]

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
