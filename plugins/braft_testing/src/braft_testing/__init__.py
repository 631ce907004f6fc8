"""The test kit: conformance suites, clusters in memory and of processes, a simulator, faults."""
