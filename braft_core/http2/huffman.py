"""Decodes the Huffman code of HPACK (RFC 7541, section 5.2 and appendix B).

The code is canonical: the lengths of the codes determine them. The decoder is a table of states,
one for each inner node of the code's tree, with a row of sixteen entries for the next four bits.
"""

from __future__ import annotations

from typing import Final

__all__ = ["InvalidHuffman", "decode"]

#: Length in bits of the code of each octet, and of the end of the string (256).
_LENGTHS: Final = tuple(
    int(number)
    for number in """
    13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
    6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
    13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
    15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
    20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
    22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
    26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
    20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
    30
    """.split()
)
_END: Final = 256
#: Bits that may fill the last octet: at most seven, all ones (RFC 7541, section 5.2).
_MAX_PADDING: Final = 7


class InvalidHuffman(ValueError):
    """A string is not a sequence of codes with valid padding."""


def _tree() -> list[list[int]]:
    """Return the inner nodes; a child is the index of a node, or ``-1 - octet`` for a leaf."""
    nodes = [[0, 0]]
    code, length = 0, 0
    for octet in sorted(range(len(_LENGTHS)), key=lambda octet: (_LENGTHS[octet], octet)):
        code <<= _LENGTHS[octet] - length
        length = _LENGTHS[octet]
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if nodes[node][bit] == 0:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = -1 - octet
        code += 1
    return nodes


def _table(nodes: list[list[int]]) -> list[tuple[int, int]]:
    """Return the transitions, index ``16 * node + bits``: the next row and the octet (or -1)."""
    fail = 16 * len(nodes)
    table = []
    for start in range(len(nodes)):
        for bits in range(16):
            node, octet = start, -1
            for shift in (3, 2, 1, 0):
                node = nodes[node][bits >> shift & 1]
                if node < 0:
                    octet, node = -1 - node, 0
                if octet == _END:
                    break
            table.append((fail, -1) if octet == _END else (16 * node, octet))
    return table + [(fail, -1)] * 16


def _accepting(nodes: list[list[int]]) -> frozenset[int]:
    """Return the rows in which a string may end: its padding is a prefix of the end's code."""
    rows, node = {0}, 0
    for _ in range(_MAX_PADDING):
        node = nodes[node][1]
        rows.add(16 * node)
    return frozenset(rows)


_TABLE: Final = _table(_tree())
_ACCEPTING: Final = _accepting(_tree())


def decode(data: bytes) -> bytes:
    """Return the octets that ``data`` encodes, at most 8 / 5 of its length.

    Raises:
        InvalidHuffman: the code of the end occurs, or the padding is wrong.
    """
    table = _TABLE
    row = 0
    octets = bytearray()
    for pair in data:
        row, octet = table[row + (pair >> 4)]
        if octet >= 0:
            octets.append(octet)
        row, octet = table[row + (pair & 15)]
        if octet >= 0:
            octets.append(octet)
    if row not in _ACCEPTING:
        raise InvalidHuffman("a string does not end with valid padding")
    return bytes(octets)
