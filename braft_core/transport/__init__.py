"""How messages travel between nodes, and the parts that every transport is made of.

Public, for transports of other distributions: one wire schema (``encode_*``, ``decode_*``), one
set of rules about whom a node takes requests from (``refuse``, ``refuse_call``), the two ends of a
snapshot transfer, and the frame of a transport that keeps a link to each peer.
"""

from braft_core.descriptors import inbound_connections
from braft_core.transport.admission import (
    GARBAGE,
    NO_PEER,
    NOT_MEMBER,
    VIOLATION,
    WRONG_CLUSTER,
    WRONG_TARGET,
    Refusal,
    refuse,
    refuse_call,
)
from braft_core.transport.bounds import MAX_CALL, MAX_CONTROL, call_limit
from braft_core.transport.codec import (
    EntriesCache,
    decode_request,
    decode_response,
    encode_header,
    encode_request,
    encode_response,
)
from braft_core.transport.crowd import Crowd
from braft_core.transport.exhaustion import PAUSE, Exhaustion
from braft_core.transport.failures import decode_error, encode_error
from braft_core.transport.local import LocalNode
from braft_core.transport.look import Look, may_be_plain, no_peer, not_accepted
from braft_core.transport.peercodec import METHODS, decode_peer, encode_peer, method_of
from braft_core.transport.peers import LinkedTransport, Peers, Running
from braft_core.transport.presence import answers, first_byte, is_tls
from braft_core.transport.proving import (
    Proven,
    accept,
    asks_for_a_token,
    challenge,
    has_no_token,
    nonce,
    not_convinced,
    respond,
)
from braft_core.transport.snapshots import Incoming, Intake, Outgoing, Source
from braft_core.transport.standing import Standing
from braft_core.transport.tls import Certificates

__all__ = [
    "GARBAGE",
    "MAX_CALL",
    "MAX_CONTROL",
    "METHODS",
    "NOT_MEMBER",
    "NO_PEER",
    "PAUSE",
    "VIOLATION",
    "WRONG_CLUSTER",
    "WRONG_TARGET",
    "Certificates",
    "Crowd",
    "EntriesCache",
    "Exhaustion",
    "Incoming",
    "Intake",
    "LinkedTransport",
    "LocalNode",
    "Look",
    "Outgoing",
    "Peers",
    "Proven",
    "Refusal",
    "Running",
    "Source",
    "Standing",
    "accept",
    "answers",
    "asks_for_a_token",
    "call_limit",
    "challenge",
    "decode_error",
    "decode_peer",
    "decode_request",
    "decode_response",
    "encode_error",
    "encode_header",
    "encode_peer",
    "encode_request",
    "encode_response",
    "first_byte",
    "has_no_token",
    "inbound_connections",
    "is_tls",
    "may_be_plain",
    "method_of",
    "no_peer",
    "nonce",
    "not_accepted",
    "not_convinced",
    "refuse",
    "refuse_call",
    "respond",
]
