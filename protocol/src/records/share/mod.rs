//! Records of `__share_group_state`: snapshots of a share partition's state and updates to them.

use bytes::Bytes;

use super::record_kinds;

record_kinds! {
    /// The key of a record of `__share_group_state`, one variant per record type.
    ShareRecordKey,
    /// The value of a record of `__share_group_state`; a tombstone is no value.
    ShareRecordValue,
    0 share_snapshot ShareSnapshot ShareSnapshotKey ShareSnapshotValue |_| 0;
    1 share_update ShareUpdate ShareUpdateKey ShareUpdateValue |_| 0;
}
