"""How messages travel between nodes, and the parts that transports share.

Public, for transports of other distributions: one wire schema (``encode_*``, ``decode_*``), one
set of rules about which requests a node accepts (``refuse``, ``refuse_call``), the two ends of a
snapshot transfer, and a base class for transports that keep a link to each peer.
"""

from braft_core.file_descriptors import inbound_connection_limit
from braft_core.transport.accept_backoff import PAUSE, AcceptBackoff
from braft_core.transport.address_quota import AddressQuota
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
from braft_core.transport.call_codec import METHODS, decode_peer, encode_peer, method_of
from braft_core.transport.certificates import Certificates
from braft_core.transport.endpoint import LocalEndpoint
from braft_core.transport.error_codec import decode_error, encode_error
from braft_core.transport.linked import LinkedTransport, PeerLinks, TransportSession
from braft_core.transport.peer_health import PeerHealthReporter
from braft_core.transport.raft_codec import (
    EntriesCache,
    decode_request,
    decode_response,
    encode_header,
    encode_request,
    encode_response,
)
from braft_core.transport.reachability import first_byte, is_tls_record, probe_reachability
from braft_core.transport.size_limits import MAX_CALL, MAX_CONTROL, call_limit
from braft_core.transport.snapshot_transfer import (
    InboundSnapshot,
    SnapshotReader,
    SnapshotReceiver,
    SnapshotSender,
)
from braft_core.transport.tls_probe import TLSProbe, handshake_error, may_lack_tls, not_a_peer_error
from braft_core.transport.token_handshake import (
    HandshakeKeys,
    accept,
    challenge,
    nonce,
    respond,
    token_mismatch_error,
    token_required_error,
    token_unset_error,
)

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
    "AcceptBackoff",
    "AddressQuota",
    "Certificates",
    "EntriesCache",
    "HandshakeKeys",
    "InboundSnapshot",
    "LinkedTransport",
    "LocalEndpoint",
    "PeerHealthReporter",
    "PeerLinks",
    "Refusal",
    "SnapshotReader",
    "SnapshotReceiver",
    "SnapshotSender",
    "TLSProbe",
    "TransportSession",
    "accept",
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
    "handshake_error",
    "inbound_connection_limit",
    "is_tls_record",
    "may_lack_tls",
    "method_of",
    "nonce",
    "not_a_peer_error",
    "probe_reachability",
    "refuse",
    "refuse_call",
    "respond",
    "token_mismatch_error",
    "token_required_error",
    "token_unset_error",
]
