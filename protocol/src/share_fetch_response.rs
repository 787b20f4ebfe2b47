//! ShareFetch answers, v1-2, whose records are lent and never copied.

use bytes::BufMut;

use crate::messages::ShareFetchResponse;
use crate::messages::share_fetch_response::PartitionData;
use crate::response::{Chunk, EncodeError, RecordsLen};
use crate::scatter::Scatter;
use crate::wire::{Out, WireError, put_count, put_string, put_unknown, put_uvarint};

/// Encodes the whole frame, length prefix included. `records` yields those of each partition, in the order of the
/// partitions of `response`, whose own `records` fields are not looked at.
pub fn encode<R: RecordsLen + Clone>(
    correlation_id: i32,
    version: i16,
    response: &ShareFetchResponse,
    records: impl IntoIterator<Item = Vec<R>>,
) -> Result<Vec<Chunk<R>>, EncodeError> {
    let fail = |reason: String| EncodeError { message: "ShareFetchResponse", version, reason };
    if !(1..=2).contains(&version) {
        return Err(fail("not a version of ShareFetch".to_owned()));
    }
    // Every version is flexible.
    let mut out = Scatter::begin(correlation_id, true);
    write(&mut out, response, version, &mut records.into_iter()).map_err(|e| fail(e.to_string()))?;
    out.finish().ok_or_else(|| fail("longer than a frame can be".to_owned()))
}

fn write<R: RecordsLen + Clone>(
    out: &mut Scatter<R>,
    response: &ShareFetchResponse,
    version: i16,
    records: &mut dyn Iterator<Item = Vec<R>>,
) -> Result<(), WireError> {
    out.head.put_i32(response.throttle_time_ms);
    out.head.put_i16(response.error_code);
    put_string(&mut Out(&mut out.head), true, response.error_message.as_deref())?;
    out.head.put_i32(response.acquisition_lock_timeout_ms);
    out.put_length(response.responses.len());
    for topic in &response.responses {
        out.head.put_slice(topic.topic_id.as_bytes());
        out.put_length(topic.partitions.len());
        for partition in &topic.partitions {
            write_partition(out, partition, version, &records.next().unwrap_or_default())?;
        }
        put_tags(out, &topic.unknown_tagged_fields);
    }
    out.put_length(response.node_endpoints.len());
    for endpoint in &response.node_endpoints {
        endpoint.write(&mut Out(&mut out.head), version)?;
    }
    put_tags(out, &response.unknown_tagged_fields);
    Ok(())
}

fn write_partition<R: RecordsLen + Clone>(
    out: &mut Scatter<R>,
    partition: &PartitionData,
    version: i16,
    records: &[R],
) -> Result<(), WireError> {
    out.head.put_i32(partition.partition_index);
    out.head.put_i16(partition.error_code);
    put_string(&mut Out(&mut out.head), true, partition.error_message.as_deref())?;
    out.head.put_i16(partition.acknowledge_error_code);
    put_string(&mut Out(&mut out.head), true, partition.acknowledge_error_message.as_deref())?;
    partition.current_leader.write(&mut Out(&mut out.head), version)?;
    out.put_records(records);
    let mut head = Out(&mut out.head);
    put_count(&mut head, true, Some(partition.acquired_records.len()))?;
    for acquired in &partition.acquired_records {
        acquired.write(&mut head, version)?;
    }
    put_tags(out, &partition.unknown_tagged_fields);
    Ok(())
}

fn put_tags<R>(out: &mut Scatter<R>, fields: &std::collections::BTreeMap<i32, bytes::Bytes>) {
    let mut head = Out(&mut out.head);
    put_uvarint(&mut head, fields.len() as u32);
    put_unknown(&mut head, fields);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::messages::BrokerId;
    use crate::messages::share_fetch_response::{AcquiredRecords, NodeEndpoint, ShareFetchableTopicResponse};

    #[test]
    fn every_version_is_the_plain_encoding() {
        for version in 1..=2 {
            for sizes in [vec![], vec![0], vec![100, 0, 3], vec![4096; 50]] {
                let records: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![7; *size])).collect();
                let partitions = records.iter().enumerate().map(|(index, records)| {
                    PartitionData::default()
                        .with_partition_index(index as i32)
                        .with_error_message(Some("why".into()))
                        .with_records(Some(records.clone()))
                        .with_acquired_records(vec![AcquiredRecords::default().with_last_offset(9)])
                });
                let topic = ShareFetchableTopicResponse::default().with_partitions(partitions.collect());
                let response = ShareFetchResponse::default()
                    .with_responses(vec![topic])
                    .with_node_endpoints(vec![NodeEndpoint::default().with_node_id(BrokerId(3))])
                    .with_unknown_tagged_field(99, Bytes::from_static(b"x"));
                let chunks = encode(5, version, &response, records.into_iter().map(|bytes| vec![bytes])).unwrap();
                let joined: Vec<u8> = chunks
                    .into_iter()
                    .flat_map(|chunk| match chunk {
                        Chunk::Bytes(bytes) | Chunk::Records(bytes) => bytes,
                    })
                    .collect();
                assert!(joined == crate::response::encode(5, version, &response).unwrap(), "v{version} {sizes:?}");
            }
        }
    }
}
