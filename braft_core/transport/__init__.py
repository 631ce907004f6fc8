"""Implementations of :class:`braft_core.abc.Transport`: ``grpc`` and ``memory``."""
