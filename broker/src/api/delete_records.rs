//! DeleteRecords: v0-2. Moves the log start on and answers once every live replica has done so.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use ottla_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use ottla_protocol::{ErrorCode, Offset};
use tokio::time::Instant;

use super::wire::is_internal;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::replica::{Partition, Partitions};

/// Handler of DeleteRecords.
pub struct DeleteRecords {
    partitions: Partitions,
}

/// A replica has not deleted yet: topic and partition place in the answer.
struct Pending {
    topic: usize,
    partition: usize,
    waits_at: Arc<Partition>,
    offset: Offset,
}

impl DeleteRecords {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(21)];

    pub fn new(house: &House) -> Self {
        Self { partitions: house.partitions.clone() }
    }

    pub async fn handle(&self, cx: &RequestContext, request: DeleteRecordsRequest) -> Reply {
        let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let mut pending = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut results = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                results.push(match self.delete(&topic.name, asked.partition_index, Offset(asked.offset)) {
                    Ok((partition, low, wanted)) => {
                        if low < wanted {
                            let place = (topics.len(), results.len());
                            pending.push(Pending {
                                topic: place.0,
                                partition: place.1,
                                waits_at: partition,
                                offset: wanted,
                            });
                        }
                        result.with_low_watermark(low.0)
                    }
                    Err(code) => result.with_error_code(code as i16).with_low_watermark(-1),
                });
            }
            topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(results));
        }
        let mut response = DeleteRecordsResponse::default().with_topics(topics);
        if pending.is_empty() {
            return cx.reply(&response);
        }
        let cx = cx.clone();
        Reply::Later(Box::pin(async move {
            for wait in pending {
                let low = wait.waits_at.wait_for_low_watermark(wait.offset, deadline).await;
                let place = response.topics.get_mut(wait.topic).map(|topic| &mut topic.partitions);
                if let Some(result) = place.and_then(|partitions| partitions.get_mut(wait.partition)) {
                    match low {
                        Ok(low) => result.low_watermark = low.0,
                        Err(code) => result.error_code = code as i16,
                    }
                }
            }
            cx.respond(&response)
        }))
    }

    fn delete(&self, topic: &str, index: i32, before: Offset) -> Result<(Arc<Partition>, Offset, Offset), ErrorCode> {
        let partition = self.partitions.get(topic, index)?;
        if is_internal(topic) {
            return Err(ErrorCode::InvalidTopicException);
        }
        let (low, wanted) = partition.delete_records_before(before)?;
        Ok((partition, low, wanted))
    }
}
