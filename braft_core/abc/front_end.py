"""Front ends: servers of plugins through which other programs use a node."""

from __future__ import annotations

import abc

__all__ = ["FrontEnd"]


class FrontEnd(abc.ABC):
    """A server of a plugin, beside the node's own ports. Made by the hook ``braft_serve``.

    braft calls :meth:`start` and :meth:`stop` on an event loop that the node's front ends share. It
    runs in a thread of its own, so that their work does not delay consensus. Nothing may block
    there: await ``node.aquery``, ``node.aexecute`` and the like.
    """

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """The ``host:port`` that it listens on, for the log; "" before :meth:`start`."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Listen. The node is running and may not be in a cluster yet.

        :raises BraftError: it cannot serve; then the node does not start.
        """

    @abc.abstractmethod
    async def stop(self, grace: float) -> None:
        """Stop listening, and end all calls and tasks. The node still serves.

        Called once, also after a :meth:`start` that raised.

        :param grace: seconds for which calls under way may finish.
        """

    def refresh(self) -> None:  # noqa: B027 - most have nothing to reload
        """Reload what may have changed outside, such as certificates.

        *Any thread*, once each second and on SIGHUP, after :meth:`start`; may block. Existing
        connections stay. Files that cannot be used change nothing; :attr:`trouble` says why.
        """

    @property
    def trouble(self) -> str:
        """What is wrong although it serves, for the node's notes; "" for nothing. Any thread."""
        return ""
