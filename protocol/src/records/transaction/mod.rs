//! Records of `__transaction_state`: one per transactional id.

use bytes::Bytes;

use super::record_kinds;

record_kinds! {
    /// The key of a record of `__transaction_state`.
    TransactionRecordKey,
    /// The value of a record of `__transaction_state`; a tombstone is no value.
    TransactionRecordValue,
    0 transaction_log TransactionLog TransactionLogKey TransactionLogValue |_| 1;
}
