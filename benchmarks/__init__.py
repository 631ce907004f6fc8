"""Compare braft with its peers on this machine: ``python -m benchmarks`` (see docs/benchmarks.md).

Nothing of braft imports this package and it is in no wheel.
"""
