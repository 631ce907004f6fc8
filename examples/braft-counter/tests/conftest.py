"""The fixtures of braft's test kit."""

pytest_plugins = ["braft_core.testing.fixtures"]
