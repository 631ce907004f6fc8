"""Test kit: conformance suites, in-memory and process clusters, a simulator, fault injection."""
