"""The hooks of braft, in the order of a node's life. This module is the plugin author's manual.

Rules that hold for every hook:

- An implementation is a plain function of the plugin's module, marked ``@hookimpl`` and named like
  the hook. Coroutines, generators and hook wrappers are refused when the plugin is loaded.
- It may take any subset of the hook's parameters, by name. Hooks grow by new parameters, so a
  plugin that is not interested in one need not mention it. Defaults, ``*args`` and ``**kwargs``
  are refused: they would never be filled.
- Names that begin with ``braft_`` are hooks. Any other function so named is taken for a misspelt
  hook and refused.
- A plugin imports only the public modules ``braft_core``, ``braft_core.abc``,
  ``braft_core.plugin``, ``braft_core.plugin.options``, ``braft_core.errors``, ``braft_core.raft``
  and, in its tests, ``braft_testing``.

This module must not know who implements the hooks, nor import what it mentions in annotations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pluggy

from braft_core.plugin import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import falcon.asgi
    import typer

    from braft_core.abc import Discovery, NodeAPI, Serializer, Service, Storage, Transport
    from braft_core.plugin.options import PluginOptions
    from braft_core.raft.types import Server

_spec: Final = pluggy.HookspecMarker(NAME)


# --------------------------------------------------------------------------------------------
# Before a node exists: what can be chosen by name


@_spec
def braft_register_discovery() -> type[Discovery] | Sequence[type[Discovery]]:
    """Provide discoveries: ways to find out where other nodes may be.

    When: once per loaded set of plugins, when a discovery is first asked for by name.
    Thread: the one that builds the node or runs the command. Must not block; must not look around
    the network: that is the work of the class's instances.

    :return: a :class:`~braft_core.abc.Discovery` class or a list of them. The class's ``name`` is
        the scheme that selects it: ``BRAFT_DISCOVERY=<name>:<spec>``.

    Example::

        @hookimpl
        def braft_register_discovery():
            from braft_lab.discovery import LabDiscovery

            return LabDiscovery
    """
    return ()


@_spec
def braft_register_serializer() -> type[Serializer] | Sequence[type[Serializer]]:
    """Provide serializers: how commands, queries and answers become bytes.

    When: once per loaded set of plugins, when a serializer is first asked for.
    Thread: the one that builds the node or runs the command. Must not block.

    Every serializer that ever wrote to a log must stay installed as long as that log lives: its
    class's ``tag`` is in front of each command. Tags 1 to 15 belong to braft's own serializers.

    :return: a :class:`~braft_core.abc.Serializer` class or a list of them, each with a ``name``
        (``BRAFT_SERIALIZER=<name>``) and a ``tag`` that nobody else uses.

    Example::

        @hookimpl
        def braft_register_serializer():
            from braft_lab.packing import LabSerializer

            return LabSerializer
    """
    return ()


@_spec
def braft_register_service() -> type[Service] | Sequence[type[Service]]:
    """Provide services: named parts of the replicated state machine.

    When: once per loaded set of plugins, when a service is first asked for by name.
    Thread: the one that builds the node or runs the command. Must not block.

    All nodes of a cluster need the same services, in the same version wherever it changes what a
    command does.

    :return: a :class:`~braft_core.abc.Service` class or a list of them. The class's ``name``
        selects it in ``BRAFT_SERVICES=kv,<name>`` and routes commands to it.

    Example::

        @hookimpl
        def braft_register_service():
            from braft_lab.counter import Counter

            return [Counter]
    """
    return ()


@_spec
def braft_register_transport() -> type[Transport] | Sequence[type[Transport]]:
    """Provide transports: how messages travel between nodes.

    When: once per loaded set of plugins, when a transport is first asked for by name.
    Thread: the one that builds the node or runs the command. Must not block, must not listen yet.

    :return: a :class:`~braft_core.abc.Transport` class or a list of them. The class's ``name``
        selects it: ``BRAFT_TRANSPORT=<name>``; all nodes of a cluster need the same one.

    Example::

        @hookimpl
        def braft_register_transport():
            from braft_lab.quic import QuicTransport

            return QuicTransport
    """
    return ()


@_spec
def braft_register_storage() -> type[Storage] | Sequence[type[Storage]]:
    """Provide stores: what keeps a node's log, term and vote.

    When: once per loaded set of plugins, when a store is first asked for by name.
    Thread: the one that builds the node or runs the command. Must not block, must not open files.

    :return: a :class:`~braft_core.abc.Storage` class or a list of them. The class's ``name``
        selects it on this node: ``BRAFT_STORAGE=<name>``.

    Example::

        @hookimpl
        def braft_register_storage():
            from braft_lab.store import LabStorage

            return LabStorage
    """
    return ()


@_spec
def braft_register_options() -> type[PluginOptions] | Sequence[type[PluginOptions]]:
    """Declare the plugin's options: what ``[plugins.<section>]`` and ``BRAFT_<SECTION>_*`` may say.

    When: once per loaded set of plugins, before a node is built and when settings are shown.
    Thread: the one that builds the node or runs the command. Must not block.

    Every declared option is checked before a node starts, whether the plugin is used or not.

    :return: a :class:`~braft_core.plugin.options.PluginOptions` class or a list of them, each with
        a ``section`` that nobody else has; for a class that is chosen by name, the class's name.

    Example::

        @hookimpl
        def braft_register_options():
            from braft_lab.options import LabOptions

            return LabOptions
    """
    return ()


# --------------------------------------------------------------------------------------------
# While the front ends are built: HTTP routes and commands


@_spec
def braft_register_http(app: falcon.asgi.App[Any, Any], node: NodeAPI) -> None:
    """Add Falcon resources to the node's HTTP application.

    When: once per node, after braft's own routes are there and before the server listens.
    Thread: the one that starts the node. Must not block; the node does not serve requests yet, so
    keep it and use it when a request comes. Resources run on the HTTP server's event loop, where
    nothing may block: their methods are ``async def``, and await ``node.aquery`` and the like.

    :param app: the application, ``falcon.asgi.App``; use ``app.add_route``. Prefer
        ``/plugins/<your name>/...``.
    :param node: the node, for commands, queries and status.
    :return: nothing. What it raises keeps the node from starting, and so does a resource with a
        method that is not ``async``.

    Example::

        @hookimpl
        def braft_register_http(app, node):
            from braft_lab.web import CounterResource

            app.add_route("/plugins/lab/counter", CounterResource(node))
    """


@_spec
def braft_register_cli(app: typer.Typer) -> None:
    """Add commands to the ``braft`` command line.

    When: once, each time ``braft`` is run, before it reads its arguments.
    Thread: the main thread. Must not block: every ``braft --help`` waits for it, so import heavy
    modules inside the commands.

    :param app: the root command; use ``app.command`` or ``app.add_typer``.
    :return: nothing. What it raises ends ``braft`` with an error that names the plugin.

    Example::

        @hookimpl
        def braft_register_cli(app):
            @app.command("lab")
            def lab() -> None:
                print("hello from the lab")
    """


# --------------------------------------------------------------------------------------------
# While a node runs: observers
#
# Observers run one after the other on a thread of the runtime that is theirs alone, never on the
# loop: a slow one delays later observers and nothing else. Each observer is called even if another
# one raises; what it raises is logged with the plugin's name and changes nothing. Events arrive in
# the order in which they happened on this node. An observer sees this node's view, which may lag
# behind the cluster's; it must not be used to decide what a command does.


@_spec
def braft_on_started(node: NodeAPI) -> None:
    """Told that a node has started: it listens, and has begun to look for its cluster.

    When: once per node. It may not be in a cluster yet: ask ``node.ready()``.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node; all its synchronous methods may be used.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_started(node):
            ok, reason = node.ready()
            print(node.server_id, "started", "ready" if ok else reason)
    """


@_spec
def braft_on_stopping(node: NodeAPI) -> None:
    """Told that a node is about to stop: release what :func:`braft_on_started` took.

    When: once per node that had started, before leadership is handed over and sockets close.
    Thread: the observers' thread. May block, but only briefly: stopping waits a bounded time for
    it and then goes on.

    :param node: the node, still able to answer.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_stopping(node):
            print(node.server_id, "is stopping")
    """


@_spec
def braft_on_leader_changed(node: NodeAPI, leader: str, term: int) -> None:
    """Told that this node follows another leader than before, or none.

    When: after each change of the leader known to this node, itself included.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node.
    :param leader: the server id of the new leader; empty while none is known.
    :param term: the term in which it was learnt.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_leader_changed(node, leader):
            if leader == node.server_id:
                print("this node leads now")
    """


@_spec
def braft_on_member_joined(node: NodeAPI, server: Server) -> None:
    """Told that a server became a member of the cluster.

    When: after a configuration that has a new server was committed. A change of address or
    suffrage of a member is not a join.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node that observed it.
    :param server: the new member: ``id``, ``address``, ``suffrage``.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_member_joined(server):
            print(server.id, "joined at", server.address)
    """


@_spec
def braft_on_member_left(node: NodeAPI, server: Server) -> None:
    """Told that a server is no longer a member of the cluster.

    When: after a configuration without that server was committed.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node that observed it.
    :param server: the former member, as it was in the last configuration that had it.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_member_left(server):
            print(server.id, "left")
    """


@_spec
def braft_on_snapshot_taken(node: NodeAPI, index: int) -> None:
    """Told that this node wrote a snapshot of its state machine.

    When: after the snapshot is durable and before the log behind it is cut.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node.
    :param index: the index of the last entry that the snapshot covers.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_snapshot_taken(index):
            print("snapshot up to", index)
    """
