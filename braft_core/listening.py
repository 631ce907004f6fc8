"""Stop listening without losing a connection that was just accepted."""

from __future__ import annotations

import asyncio

__all__ = ["close_server"]


async def close_server(server: asyncio.Server) -> None:
    """Stop listening. Connections that were accepted before have got their protocol. Idempotent.

    Before Python 3.12, ``asyncio.Server.close`` forgets what was accepted in the turn of the loop
    before: such a connection is neither served nor closed.
    """
    loop = server.get_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)
    server.close()
