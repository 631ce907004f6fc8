"""Certificates: what is in their files, who holds them, until when, and how they are made.

Knows no connections and no settings' objects. Its modules are imported where they are used, for
the library that reads certificates takes longer to import than the rest of a command.
"""
