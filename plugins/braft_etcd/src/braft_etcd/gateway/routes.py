"""The gateway's paths below ``/v3/``, and the calls that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ROUTES"]

_PATHS: Final = """
kv/range KV/Range
kv/put KV/Put
kv/deleterange KV/DeleteRange
kv/txn KV/Txn
kv/compaction KV/Compact
kv/lease/revoke Lease/LeaseRevoke
kv/lease/timetolive Lease/LeaseTimeToLive
kv/lease/leases Lease/LeaseLeases
watch Watch/Watch
lease/grant Lease/LeaseGrant
lease/revoke Lease/LeaseRevoke
lease/keepalive Lease/LeaseKeepAlive
lease/timetolive Lease/LeaseTimeToLive
lease/leases Lease/LeaseLeases
cluster/member/add Cluster/MemberAdd
cluster/member/remove Cluster/MemberRemove
cluster/member/update Cluster/MemberUpdate
cluster/member/list Cluster/MemberList
cluster/member/promote Cluster/MemberPromote
maintenance/alarm Maintenance/Alarm
maintenance/status Maintenance/Status
maintenance/defragment Maintenance/Defragment
maintenance/hash Maintenance/Hash
maintenance/hashkv Maintenance/HashKV
maintenance/snapshot Maintenance/Snapshot
maintenance/transfer-leadership Maintenance/MoveLeader
maintenance/downgrade Maintenance/Downgrade
auth/enable Auth/AuthEnable
auth/disable Auth/AuthDisable
auth/status Auth/AuthStatus
auth/authenticate Auth/Authenticate
auth/user/add Auth/UserAdd
auth/user/get Auth/UserGet
auth/user/list Auth/UserList
auth/user/delete Auth/UserDelete
auth/user/changepw Auth/UserChangePassword
auth/user/grant Auth/UserGrantRole
auth/user/revoke Auth/UserRevokeRole
auth/role/add Auth/RoleAdd
auth/role/get Auth/RoleGet
auth/role/list Auth/RoleList
auth/role/delete Auth/RoleDelete
auth/role/grant Auth/RoleGrantPermission
auth/role/revoke Auth/RoleRevokePermission
lock/lock v3lockpb.Lock/Lock
lock/unlock v3lockpb.Lock/Unlock
election/campaign v3electionpb.Election/Campaign
election/proclaim v3electionpb.Election/Proclaim
election/leader v3electionpb.Election/Leader
election/observe v3electionpb.Election/Observe
election/resign v3electionpb.Election/Resign
"""


def _read() -> dict[str, str]:
    pairs = (line.split() for line in _PATHS.strip().splitlines())
    return {path: f"/{name}" if "." in name else f"/etcdserverpb.{name}" for path, name in pairs}


#: The gRPC path of each path.
ROUTES: Final[Mapping[str, str]] = _read()
