"""Encode and decode answers to commands between nodes, large ones in another thread.

On the loop they would delay heartbeats and their receipt.
"""

from __future__ import annotations

import asyncio
from typing import Any

from braft_core.encoding_cost import is_cheap
from braft_core.services.envelope import decode_outcome, encode_answer

__all__ = ["decoded", "encoded"]

#: Bytes of an answer that are decoded on the loop.
_QUICK = 16 << 10


async def encoded(answer: Any) -> bytes:
    """See :func:`~braft_core.services.envelope.encode_answer`."""
    if is_cheap(answer):
        return encode_answer(answer)
    return await asyncio.to_thread(encode_answer, answer)


async def decoded(outcome: bytes) -> Any:
    """See :func:`~braft_core.services.envelope.decode_outcome`."""
    if len(outcome) <= _QUICK:
        return decode_outcome(outcome)
    return await asyncio.to_thread(decode_outcome, outcome)
