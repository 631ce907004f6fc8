"""Compatibility with other implementations, one package for each."""
