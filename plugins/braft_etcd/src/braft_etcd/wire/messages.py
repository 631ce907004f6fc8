"""The messages of etcd's v3 API, with the numbers that its protocol fixed."""

from __future__ import annotations

from typing import Final

from braft_etcd.wire.schema import Message, Schema

__all__ = ["SCHEMA", "message"]

SCHEMA: Final = Schema()

SCHEMA.add(
    "mvccpb",
    """
KeyValue | 1 key:bytes; 2 create_revision:int64; 3 mod_revision:int64; 4 version:int64; 5 value:bytes; 6 lease:int64
Event | 1 type:EventType; 2 kv:KeyValue; 3 prev_kv:KeyValue
""",  # noqa: E501 - a table
    "EventType | 0 PUT; 1 DELETE",
)

#: As a database of etcd holds it.
SCHEMA.add("leasepb", "StoredLease | 1 ID:int64; 2 TTL:int64")

SCHEMA.add(
    "authpb",
    """
UserAddOptions | 1 no_password:bool
Permission | 1 permType:PermissionType; 2 key:bytes; 3 range_end:bytes
""",
    "PermissionType | 0 READ; 1 WRITE; 2 READWRITE",
)

_ENUMS: Final = """
SortOrder | 0 NONE; 1 ASCEND; 2 DESCEND
SortTarget | 0 KEY; 1 VERSION; 2 CREATE; 3 MOD; 4 VALUE
CompareResult | 0 EQUAL; 1 GREATER; 2 LESS; 3 NOT_EQUAL
CompareTarget | 0 VERSION; 1 CREATE; 2 MOD; 3 VALUE; 4 LEASE
FilterType | 0 NOPUT; 1 NODELETE
AlarmType | 0 NONE; 1 NOSPACE; 2 CORRUPT
AlarmAction | 0 GET; 1 ACTIVATE; 2 DEACTIVATE
DowngradeAction | 0 VALIDATE; 1 ENABLE; 2 CANCEL
"""

SCHEMA.add(
    "etcdserverpb",
    """
ResponseHeader | 1 cluster_id:uint64; 2 member_id:uint64; 3 revision:int64; 4 raft_term:uint64
RangeRequest | 1 key:bytes; 2 range_end:bytes; 3 limit:int64; 4 revision:int64; 5 sort_order:SortOrder; 6 sort_target:SortTarget; 7 serializable:bool; 8 keys_only:bool; 9 count_only:bool; 10 min_mod_revision:int64; 11 max_mod_revision:int64; 12 min_create_revision:int64; 13 max_create_revision:int64
RangeResponse | 1 header:ResponseHeader; 2 kvs:KeyValue*; 3 more:bool; 4 count:int64
PutRequest | 1 key:bytes; 2 value:bytes; 3 lease:int64; 4 prev_kv:bool; 5 ignore_value:bool; 6 ignore_lease:bool
PutResponse | 1 header:ResponseHeader; 2 prev_kv:KeyValue
DeleteRangeRequest | 1 key:bytes; 2 range_end:bytes; 3 prev_kv:bool
DeleteRangeResponse | 1 header:ResponseHeader; 2 deleted:int64; 3 prev_kvs:KeyValue*
RequestOp | 1 request_range°:RangeRequest; 2 request_put°:PutRequest; 3 request_delete_range°:DeleteRangeRequest; 4 request_txn°:TxnRequest
ResponseOp | 1 response_range°:RangeResponse; 2 response_put°:PutResponse; 3 response_delete_range°:DeleteRangeResponse; 4 response_txn°:TxnResponse
Compare | 1 result:CompareResult; 2 target:CompareTarget; 3 key:bytes; 4 version°:int64; 5 create_revision°:int64; 6 mod_revision°:int64; 7 value°:bytes; 8 lease°:int64; 64 range_end:bytes
TxnRequest | 1 compare:Compare*; 2 success:RequestOp*; 3 failure:RequestOp*
TxnResponse | 1 header:ResponseHeader; 2 succeeded:bool; 3 responses:ResponseOp*
CompactionRequest | 1 revision:int64; 2 physical:bool
CompactionResponse | 1 header:ResponseHeader
HashRequest |
HashKVRequest | 1 revision:int64
HashKVResponse | 1 header:ResponseHeader; 2 hash:uint32; 3 compact_revision:int64; 4 hash_revision:int64
HashResponse | 1 header:ResponseHeader; 2 hash:uint32
SnapshotRequest |
SnapshotResponse | 1 header:ResponseHeader; 2 remaining_bytes:uint64; 3 blob:bytes; 4 version:string
WatchRequest | 1 create_request°:WatchCreateRequest; 2 cancel_request°:WatchCancelRequest; 3 progress_request°:WatchProgressRequest
WatchCreateRequest | 1 key:bytes; 2 range_end:bytes; 3 start_revision:int64; 4 progress_notify:bool; 5 filters:FilterType*; 6 prev_kv:bool; 7 watch_id:int64; 8 fragment:bool
WatchCancelRequest | 1 watch_id:int64
WatchProgressRequest |
WatchResponse | 1 header:ResponseHeader; 2 watch_id:int64; 3 created:bool; 4 canceled:bool; 5 compact_revision:int64; 6 cancel_reason:string; 7 fragment:bool; 11 events:Event*
LeaseGrantRequest | 1 TTL:int64; 2 ID:int64
LeaseGrantResponse | 1 header:ResponseHeader; 2 ID:int64; 3 TTL:int64; 4 error:string
LeaseRevokeRequest | 1 ID:int64
LeaseRevokeResponse | 1 header:ResponseHeader
LeaseKeepAliveRequest | 1 ID:int64
LeaseKeepAliveResponse | 1 header:ResponseHeader; 2 ID:int64; 3 TTL:int64
LeaseTimeToLiveRequest | 1 ID:int64; 2 keys:bool
LeaseTimeToLiveResponse | 1 header:ResponseHeader; 2 ID:int64; 3 TTL:int64; 4 grantedTTL:int64; 5 keys:bytes*
LeaseLeasesRequest |
LeaseStatus | 1 ID:int64
LeaseLeasesResponse | 1 header:ResponseHeader; 2 leases:LeaseStatus*
Member | 1 ID:uint64; 2 name:string; 3 peerURLs:string*; 4 clientURLs:string*; 5 isLearner:bool
MemberAddRequest | 1 peerURLs:string*; 2 isLearner:bool
MemberAddResponse | 1 header:ResponseHeader; 2 member:Member; 3 members:Member*
MemberRemoveRequest | 1 ID:uint64
MemberRemoveResponse | 1 header:ResponseHeader; 2 members:Member*
MemberUpdateRequest | 1 ID:uint64; 2 peerURLs:string*
MemberUpdateResponse | 1 header:ResponseHeader; 2 members:Member*
MemberListRequest | 1 linearizable:bool
MemberListResponse | 1 header:ResponseHeader; 2 members:Member*
MemberPromoteRequest | 1 ID:uint64
MemberPromoteResponse | 1 header:ResponseHeader; 2 members:Member*
DefragmentRequest |
DefragmentResponse | 1 header:ResponseHeader
MoveLeaderRequest | 1 targetID:uint64
MoveLeaderResponse | 1 header:ResponseHeader
AlarmRequest | 1 action:AlarmAction; 2 memberID:uint64; 3 alarm:AlarmType
AlarmMember | 1 memberID:uint64; 2 alarm:AlarmType
AlarmResponse | 1 header:ResponseHeader; 2 alarms:AlarmMember*
DowngradeRequest | 1 action:DowngradeAction; 2 version:string
DowngradeResponse | 1 header:ResponseHeader; 2 version:string
StatusRequest |
StatusResponse | 1 header:ResponseHeader; 2 version:string; 3 dbSize:int64; 4 leader:uint64; 5 raftIndex:uint64; 6 raftTerm:uint64; 7 raftAppliedIndex:uint64; 8 errors:string*; 9 dbSizeInUse:int64; 10 isLearner:bool; 11 storageVersion:string; 12 dbSizeQuota:int64; 13 downgradeInfo:DowngradeInfo
DowngradeInfo | 1 enabled:bool; 2 targetVersion:string
AuthEnableRequest |
AuthDisableRequest |
AuthStatusRequest |
AuthenticateRequest | 1 name:string; 2 password:string
AuthUserAddRequest | 1 name:string; 2 password:string; 3 options:UserAddOptions; 4 hashedPassword:string
AuthUserGetRequest | 1 name:string
AuthUserDeleteRequest | 1 name:string
AuthUserChangePasswordRequest | 1 name:string; 2 password:string; 3 hashedPassword:string
AuthUserGrantRoleRequest | 1 user:string; 2 role:string
AuthUserRevokeRoleRequest | 1 name:string; 2 role:string
AuthRoleAddRequest | 1 name:string
AuthRoleGetRequest | 1 role:string
AuthUserListRequest |
AuthRoleListRequest |
AuthRoleDeleteRequest | 1 role:string
AuthRoleGrantPermissionRequest | 1 name:string; 2 perm:Permission
AuthRoleRevokePermissionRequest | 1 role:string; 2 key:bytes; 3 range_end:bytes
AuthStatusResponse | 1 header:ResponseHeader; 2 enabled:bool; 3 authRevision:uint64
AuthenticateResponse | 1 header:ResponseHeader; 2 token:string
AuthUserListResponse | 1 header:ResponseHeader; 2 users:string*
AuthRoleListResponse | 1 header:ResponseHeader; 2 roles:string*
""",  # noqa: E501 - a table
    _ENUMS,
)

SCHEMA.add(
    "v3lockpb",
    """
LockRequest | 1 name:bytes; 2 lease:int64
LockResponse | 1 header:ResponseHeader; 2 key:bytes
UnlockRequest | 1 key:bytes
UnlockResponse | 1 header:ResponseHeader
""",
)

SCHEMA.add(
    "v3electionpb",
    """
CampaignRequest | 1 name:bytes; 2 lease:int64; 3 value:bytes
CampaignResponse | 1 header:ResponseHeader; 2 leader:LeaderKey
LeaderKey | 1 name:bytes; 2 key:bytes; 3 rev:int64; 4 lease:int64
LeaderRequest | 1 name:bytes
LeaderResponse | 1 header:ResponseHeader; 2 kv:KeyValue
ResignRequest | 1 leader:LeaderKey
ResignResponse | 1 header:ResponseHeader
ProclaimRequest | 1 leader:LeaderKey; 2 value:bytes
ProclaimResponse | 1 header:ResponseHeader
""",
)

SCHEMA.resolve()


def message(name: str) -> Message:
    """Return a message by its name without the package."""
    return SCHEMA[name]
