"""The hooks of braft, in the order of a node's life. This module is the plugin author's manual.

Rules that hold for every hook:

- An implementation is a plain function of the plugin's module, marked ``@hookimpl`` and named like
  the hook. braft refuses to load coroutines, generators and hook wrappers.
- It may take any subset of the hook's parameters, by name. Later versions of a hook may have more
  parameters. Defaults, ``*args`` and ``**kwargs`` are refused: pluggy would never pass a value.
- The prefix ``braft_`` is reserved for hooks: any other function with it is refused as a misspelt
  hook.
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

    from braft_core.abc import (
        Discovery,
        FrontEnd,
        NodeAPI,
        Serializer,
        Service,
        Storage,
        Transport,
    )
    from braft_core.plugin.options import PluginOptions
    from braft_core.raft.types import Server
    from braft_core.tokens import Keyring

_spec: Final = pluggy.HookspecMarker(NAME)


# --------------------------------------------------------------------------------------------
# Before a node exists: classes that are chosen by name


@_spec
def braft_register_discovery() -> type[Discovery] | Sequence[type[Discovery]]:
    """Provide discoveries: ways to find other nodes.

    When: once per loaded set of plugins, when a discovery is first chosen by name.
    Thread: the one that builds the node or runs the command. Must not block, must not use the
    network: that is the work of the class's instances.

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
    """Provide serializers: how commands, queries and results become bytes.

    When: once per loaded set of plugins, when a serializer is first used.
    Thread: the one that builds the node or runs the command. Must not block.

    A serializer that wrote to a log must stay installed as long as that log exists: its class's
    ``tag`` precedes each command. Tags 1 to 15 belong to braft's own serializers.

    :return: a :class:`~braft_core.abc.Serializer` class or a list of them, each with a ``name``
        (``BRAFT_SERIALIZER=<name>``) and a unique ``tag``.

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

    When: once per loaded set of plugins, when a service is first chosen by name.
    Thread: the one that builds the node or runs the command. Must not block.

    All nodes of a cluster need the same services; the same command must do the same on each node.

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

    When: once per loaded set of plugins, when a transport is first chosen by name.
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
    """Provide storages: what keeps a node's log, term and vote.

    When: once per loaded set of plugins, when a storage is first chosen by name.
    Thread: the one that builds the node or runs the command. Must not block, must not open files.

    :return: a :class:`~braft_core.abc.Storage` class or a list of them. The class's ``name``
        selects it on this node: ``BRAFT_STORAGE=<name>``.

    Example::

        @hookimpl
        def braft_register_storage():
            from braft_lab.storage import LabStorage

            return LabStorage
    """
    return ()


@_spec
def braft_register_options() -> type[PluginOptions] | Sequence[type[PluginOptions]]:
    """Declare the plugin's options: the keys of ``[plugins.<section>]``, ``BRAFT_<SECTION>_*``.

    When: once per loaded set of plugins, before a node is built and when settings are shown.
    Thread: the one that builds the node or runs the command. Must not block.

    braft validates every declared option before a node starts, whether the plugin is used or not.

    :return: a :class:`~braft_core.plugin.options.PluginOptions` class or a list of them, each with
        a unique ``section``; a class that is chosen by name has the section of its name.

    Example::

        @hookimpl
        def braft_register_options():
            from braft_lab.options import LabOptions

            return LabOptions
    """
    return ()


# --------------------------------------------------------------------------------------------
# While the front ends are built: HTTP routes, other servers, and commands


@_spec
def braft_register_http(app: falcon.asgi.App[Any, Any], node: NodeAPI) -> None:
    """Add Falcon resources to the node's HTTP application.

    When: once per node, after braft added its own routes and before the server listens.
    Thread: the one that starts the node. Must not block. The node does not serve requests yet, so
    keep it and use it in the resources. Resources run on the HTTP server's event loop, where
    nothing may block: their methods are ``async def``, and await ``node.aquery`` and the like.

    :param app: the application, ``falcon.asgi.App``; use ``app.add_route``. Prefer
        ``/plugins/<your name>/...``.
    :param node: the node, for commands, queries and status.
    :return: nothing. If it raises, or adds a resource with a method that is not ``async``, the node
        does not start.

    Example::

        @hookimpl
        def braft_register_http(app, node):
            from braft_lab.web import CounterResource

            app.add_route("/plugins/lab/counter", CounterResource(node))
    """


@_spec
def braft_serve(node: NodeAPI, keyring: Keyring) -> FrontEnd | None:
    """Make a server of another protocol, through which other programs use the node.

    When: once per node, after the node listens and before its HTTP server does.
    Thread: the one that starts the node. Must not block, must not listen yet: that is the work of
    ``start``, which braft awaits on the loop of the front ends. If the hook or ``start`` raises,
    the node does not start.

    :param node: the node, for commands, queries and status. It may not be in a cluster yet.
    :param keyring: the tokens that the node accepts now; ask ``keyring.current`` for each call.
    :return: a :class:`~braft_core.abc.FrontEnd`, or ``None`` if the plugin's options want none.

    Example::

        @hookimpl
        def braft_serve(node):
            from braft_lab.server import LabServer

            return LabServer(node) if node.plugin_options(LabOptions).listen else None
    """


@_spec
def braft_register_cli(app: typer.Typer) -> None:
    """Add commands to the ``braft`` command line.

    When: once, each time ``braft`` is run, before it reads its arguments.
    Thread: the main thread. Must not block: every ``braft --help`` waits for it. Import slow
    modules inside the commands.

    :param app: the root command; use ``app.command`` or ``app.add_typer``. A group with the name
        ``store`` adds its commands to ``braft store``.
    :return: nothing. If it raises, ``braft`` ends with an error that names the plugin.

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
# All observers run on one thread, which is not the loop, one at a time: a slow observer delays only
# later observers. If an observer raises, braft logs the exception with the plugin's name and calls
# the others. Events arrive in the order in which they happened on this node. An observer sees this
# node's view, which may lag behind the cluster's; no command may depend on it.


@_spec
def braft_on_started(node: NodeAPI) -> None:
    """Observe that a node has started: it listens, and discovers its cluster.

    When: once per node. It may not be in a cluster yet: see ``node.ready()``.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node; all its synchronous methods work.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_started(node):
            ok, reason = node.ready()
            print(node.server_id, "started", "ready" if ok else reason)
    """


@_spec
def braft_on_stopping(node: NodeAPI) -> None:
    """Observe that a node is about to stop; release what :func:`braft_on_started` acquired.

    When: once per node that started, before it transfers leadership and closes its sockets.
    Thread: the observers' thread. May block, but only briefly: the node waits a bounded time.

    :param node: the node, which still answers.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_stopping(node):
            print(node.server_id, "is stopping")
    """


@_spec
def braft_on_leader_changed(node: NodeAPI, leader: str | None, term: int) -> None:
    """Observe a change of the leader that this node knows.

    When: after each change, also when the node loses its leader or leads itself.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node.
    :param leader: the server id of the new leader; ``None`` while the node knows no leader.
    :param term: the term in which the node learnt of the leader.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_leader_changed(node, leader):
            if leader == node.server_id:
                print("this node leads now")
    """


@_spec
def braft_on_member_joined(node: NodeAPI, server: Server) -> None:
    """Observe that a server became a member of the cluster.

    When: after a configuration with a new server was committed. A new address or suffrage of a
    member is not a join.
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
    """Observe that a server is no longer a member of the cluster.

    When: after a configuration without that server was committed.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node that observed it.
    :param server: the former member, as in the last configuration that had it.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_member_left(server):
            print(server.id, "left")
    """


@_spec
def braft_on_snapshot_taken(node: NodeAPI, index: int) -> None:
    """Observe that this node wrote a snapshot of its state machine.

    When: after the snapshot is durable and before the log behind it is truncated.
    Thread: the observers' thread. May block, which delays other observers only.

    :param node: the node.
    :param index: the index of the last entry that the snapshot covers.
    :return: nothing.

    Example::

        @hookimpl
        def braft_on_snapshot_taken(index):
            print("snapshot up to", index)
    """
