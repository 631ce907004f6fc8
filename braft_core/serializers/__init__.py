"""Serializers: plain values as bytes.

:mod:`~braft_core.serializers.msgpack` is the default one, :mod:`~braft_core.serializers.registry`
finds a serializer by its tag or name, :mod:`~braft_core.serializers.plain` says what a plain value
is. Must not know what the bytes are used for.
"""
