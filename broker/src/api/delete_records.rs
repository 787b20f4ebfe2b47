//! DeleteRecords: v0-2. Moves the log start on and answers once every live replica has done so.

use std::collections::BTreeMap;
use std::path::PathBuf;
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

/// A replica has not deleted yet.
struct Pending {
    place: Place,
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
        let partitions = self.partitions.clone();
        // Files are written and synced, for as many directories as the partitions lie in.
        let Ok((mut response, pending)) = tokio::task::spawn_blocking(move || delete_all(&partitions, request)).await
        else {
            return Reply::Close;
        };
        if pending.is_empty() {
            return cx.reply(&response);
        }
        let cx = cx.clone();
        Reply::Later(Box::pin(async move {
            for wait in pending {
                let low = wait.waits_at.wait_for_low_watermark(wait.offset, deadline).await;
                if let Some(result) = at(&mut response, wait.place) {
                    match low {
                        Ok(low) => result.low_watermark = low.0,
                        Err(code) => result.error_code = code as i16,
                    }
                }
            }
            cx.respond(&response)
        }))
    }
}

/// Topic and partition in the answer.
type Place = (usize, usize);

fn at(response: &mut DeleteRecordsResponse, place: Place) -> Option<&mut DeleteRecordsPartitionResult> {
    response.topics.get_mut(place.0)?.partitions.get_mut(place.1)
}

/// Moves all log starts, then notes them, once for each log directory.
fn delete_all(partitions: &Partitions, request: DeleteRecordsRequest) -> (DeleteRecordsResponse, Vec<Pending>) {
    let mut pending = Vec::new();
    let mut moved: BTreeMap<PathBuf, Vec<(Place, Arc<Partition>)>> = BTreeMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut results = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            let place = (topics.len(), results.len());
            results.push(match delete(partitions, &topic.name, asked.partition_index, Offset(asked.offset)) {
                Ok((partition, low, wanted)) => {
                    let dir = moved.entry(partition.log().parent_dir()).or_default();
                    dir.push((place, Arc::clone(&partition)));
                    if low < wanted {
                        pending.push(Pending { place, waits_at: partition, offset: wanted });
                    }
                    result.with_low_watermark(low.0)
                }
                Err(code) => result.with_error_code(code as i16).with_low_watermark(-1),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(results));
    }
    let mut response = DeleteRecordsResponse::default().with_topics(topics);
    for logs in moved.into_values() {
        let Some(Err(error)) = logs.first().map(|(_, partition)| partition.log().note_log_start()) else { continue };
        tracing::error!(partition = %logs[0].1.id(), %error, "that records were deleted could not be noted");
        for (place, _) in logs {
            pending.retain(|wait| wait.place != place);
            if let Some(result) = at(&mut response, place) {
                result.error_code = ErrorCode::KafkaStorageError as i16;
                result.low_watermark = -1;
            }
        }
    }
    (response, pending)
}

fn delete(
    partitions: &Partitions,
    topic: &str,
    index: i32,
    before: Offset,
) -> Result<(Arc<Partition>, Offset, Offset), ErrorCode> {
    let partition = partitions.get(topic, index)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let (low, wanted) = partition.delete_records_before(before)?;
    Ok((partition, low, wanted))
}
