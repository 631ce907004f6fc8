"""The public test kit: conformance suites, a laboratory, a simulator. Nothing imports it."""
