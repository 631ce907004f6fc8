"""Serializers turn values into bytes and back.

:mod:`~braft_core.serializers.msgpack` is the default one, :mod:`~braft_core.serializers.registry`
finds a serializer by its tag or name, :mod:`~braft_core.serializers.plain` says what a plain value
is, :mod:`~braft_core.serializers.typed_values` makes plain values of others, and
:mod:`~braft_core.serializers.command_types` is the one registry of the classes that may be sent.
Must not know what the bytes are used for. What is exported here is public.
"""

from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.plain import INT_MAX, INT_MIN, MAX_DEPTH, check_plain

__all__ = ["INT_MAX", "INT_MIN", "MAX_DEPTH", "MsgpackSerializer", "check_plain"]
