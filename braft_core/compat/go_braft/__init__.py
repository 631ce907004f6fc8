"""What exists only for users of the Go original (github.com/bingoohuang/braft).

* :mod:`.details`: the JSON of ``GET /raft``, with the original's keys.
* :mod:`.build_info`: the application's ``appVersion``, ``buildTime`` and ``gitCommit``.
* :mod:`.server_id`: server ids as the original makes them.
* :mod:`.raft_service`: the gRPC service ``Raft`` (``ApplyLog``, ``GetDetails``).
* :mod:`.routes`: the HTTP routes ``/kv`` and ``/distribute``.

The environment variable ``GOLOG_STDOUT`` is a setting (:mod:`braft_core.config`). The modules
belong to different layers, so this package imports none of them.
"""
