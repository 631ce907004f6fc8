"""Certificates: their files, their holders, their validity, and how they are issued.

Knows no connections and no settings objects. Its modules are imported where they are used, because
the library that reads certificates takes longer to import than the rest of a command.
"""
