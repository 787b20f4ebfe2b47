//! Records of `__remote_log_metadata` as Java prints the objects that they become.

use std::collections::BTreeMap;

use super::value::{Value, java_uuid};

const SEGMENT_STATES: [&str; 4] =
    ["COPY_SEGMENT_STARTED", "COPY_SEGMENT_FINISHED", "DELETE_SEGMENT_STARTED", "DELETE_SEGMENT_FINISHED"];
const PARTITION_STATES: [&str; 3] =
    ["DELETE_PARTITION_MARKED", "DELETE_PARTITION_STARTED", "DELETE_PARTITION_FINISHED"];

/// By the type of the record.
pub fn text(kind: i16, record: &Value) -> String {
    let number = |name: &str| record.field(name).int();
    let of = |states: &[&str], name: &str| {
        let state = usize::try_from(number(name)).ok().and_then(|state| states.get(state).copied());
        state.unwrap_or("null").to_owned()
    };
    let state = || of(&SEGMENT_STATES, "remoteLogSegmentState");
    let custom = || match record.field("customMetadata") {
        Value::Bytes(bytes) => format!("Optional[CustomMetadata{{{} bytes}}]", bytes.len()),
        _ => "Optional.empty".to_owned(),
    };
    // Of a tagged field what is not there is false.
    let is_empty = record.field("txnIndexEmpty") == &Value::Bool(true);
    match kind {
        0 => format!(
            "RemoteLogSegmentMetadata{{remoteLogSegmentId={}, startOffset={}, endOffset={}, brokerId={}, maxTimestampMs={}, \
             eventTimestampMs={}, segmentLeaderEpochs={}, segmentSizeInBytes={}, customMetadata={}, state={}, txnIdxEmpty={is_empty}}}",
            segment_id(record.field("remoteLogSegmentId")),
            number("startOffset"),
            number("endOffset"),
            number("brokerId"),
            number("maxTimestampMs"),
            number("eventTimestampMs"),
            epochs(record),
            number("segmentSizeInBytes"),
            custom(),
            state()
        ),
        1 => format!(
            "RemoteLogSegmentMetadataUpdate{{remoteLogSegmentId={}, customMetadata={}, state={}, eventTimestampMs={}, brokerId={}}}",
            segment_id(record.field("remoteLogSegmentId")),
            custom(),
            state(),
            number("eventTimestampMs"),
            number("brokerId")
        ),
        2 => format!(
            "RemotePartitionDeleteMetadata{{topicPartition={}, state={}, eventTimestampMs={}, brokerId={}}}",
            partition(record.field("topicIdPartition")),
            of(&PARTITION_STATES, "remotePartitionDeleteState"),
            number("eventTimestampMs"),
            number("brokerId")
        ),
        _ => format!(
            "RemoteLogSegmentMetadataSnapshot{{segmentId={}, startOffset={}, endOffset={}, maxTimestampMs={}, segmentLeaderEpochs={}, \
             segmentSizeInBytes={}, customMetadata={}, state={}, txnIdxEmpty={is_empty}}}",
            id(record.field("segmentId")),
            number("startOffset"),
            number("endOffset"),
            number("maxTimestampMs"),
            epochs(record),
            number("segmentSizeInBytes"),
            custom(),
            state()
        ),
    }
}

fn segment_id(value: &Value) -> String {
    let partition = partition(value.field("topicIdPartition"));
    format!("RemoteLogSegmentId{{topicIdPartition={partition}, id={}}}", id(value.field("id")))
}

fn partition(value: &Value) -> String {
    let Value::Text(name) = value.field("name") else { return String::new() };
    format!("{}:{name}-{}", id(value.field("id")), value.field("partition").int())
}

fn id(value: &Value) -> String {
    match value {
        Value::Uuid(id) => java_uuid(*id),
        _ => String::new(),
    }
}

/// A map of Java that is sorted by its keys.
fn epochs(record: &Value) -> String {
    let entries = record.field("segmentLeaderEpochs").elements();
    let map: BTreeMap<i64, i64> =
        entries.iter().map(|entry| (entry.field("leaderEpoch").int(), entry.field("offset").int())).collect();
    let pairs: Vec<String> = map.iter().map(|(epoch, offset)| format!("{epoch}={offset}")).collect();
    format!("{{{}}}", pairs.join(", "))
}
