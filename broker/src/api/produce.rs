//! Produce: v3-13 (v0-2 are advertised for old librdkafka, never decoded).
//!
//! v7 zstd · v8 errors by record · v10 the current leader beside NOT_LEADER_OR_FOLLOWER · v13 topic ids.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_metadata::{MetadataImage, TopicImage};
use ottla_protocol::compression::Codec;
use ottla_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use ottla_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use ottla_protocol::record_batch::BatchHeader;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp, TopicId};
use ottla_storage::{AppendOrigin, Verification};
use tokio::time::Instant;

use super::transaction_gate::{Question, TransactionGate, adds_partitions, told, transactional};
use super::turn::Turn;
use super::wire::{current_leader, endpoint_of, is_internal, text};
use super::{ApiSpec, House, Reply, RequestContext, Response};
use crate::clock;
use crate::metadata_cache::MetadataCache;
use crate::quotas::{self, Quotas};
use crate::replica::{AppendError, LeaderAppend, Partition, Partitions};

/// The only client that may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// From here on requests name topics by id.
const TOPIC_ID_VERSION: i16 = 13;
const ZSTD_VERSION: i16 = 7;
const RECORD_ERRORS_VERSION: i16 = 8;
const CURRENT_LEADER_VERSION: i16 = 10;

/// Handler of Produce.
pub struct Produce {
    partitions: Partitions,
    metadata: MetadataCache,
    transaction_gate: Option<Arc<dyn TransactionGate>>,
    quotas: Quotas,
}

/// What the transaction coordinator said, by place of topic and partition in the request.
/// By place; where the transaction coordinator refuses, its code.
type Admission = HashMap<(usize, usize), Result<Verification, ErrorCode>>;

/// What all partitions of a request share.
struct Round<'a> {
    cx: &'a RequestContext,
    image: &'a MetadataImage,
    acks: i16,
    now: Timestamp,
    admission: Admission,
}

/// An append that is not yet on the whole in-sync set: topic and partition place in the answer.
struct Pending {
    topic: usize,
    partition: usize,
    waits_at: Arc<Partition>,
    offset: Offset,
    epoch: LeaderEpoch,
}

/// How long a flush is waited for where the request's timeout does not say it.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

impl Produce {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(0)];

    pub fn new(house: &House) -> Self {
        Self {
            partitions: house.partitions.clone(),
            metadata: house.metadata.clone(),
            transaction_gate: house.transaction_gate.clone(),
            quotas: house.quotas.clone(),
        }
    }

    /// Stage one appends, in the order of the connection; what `acks=all` still waits for is stage two.
    pub async fn handle(&self, cx: &RequestContext, request: ProduceRequest) -> Reply {
        let image = self.metadata.load();
        let acks = request.acks;
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let admission = match self.admit(cx, &image, &request).await {
            Ok(admission) => admission,
            Err(code) => return self.refuse(cx, &request, code),
        };
        let now = clock::now();
        let (mut pending, mut turn) = (Vec::new(), Turn::begin());
        let mut topics = Vec::with_capacity(request.topic_data.len());
        let round = Round { cx, image: &image, acks, now, admission };
        for topic in request.topic_data {
            let place = topics.len();
            topics.push(self.append_topic(&round, topic, (place, &mut pending, &mut turn)).await);
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of one frame")]
        let throttle_ms = match self.quotas.is_any_set() {
            true => self.quotas.record(quotas::Kind::Produce, &cx.client(), cx.request_size as f64),
            false => 0,
        };
        let response = ProduceResponse::default().with_responses(topics).with_throttle_time_ms(throttle_ms);
        if acks == 0 {
            // Without an answer a closed connection is the only way to tell the producer.
            return if first_error(&response).is_some() { Reply::Close } else { Reply::None { throttle_ms } };
        }
        if pending.is_empty() {
            return Reply::Now(answer(cx, &image, response));
        }
        // The request's own timeout is for the in-sync set, and begins once all is appended, as in Kafka. Who asks for the
        // leader alone is not told there that it ran out, so the disk is waited for longer.
        let deadline = Instant::now() + if acks == -1 { timeout } else { timeout.max(DISK_PATIENCE) };
        let (cx, metadata) = (cx.clone(), self.metadata.clone());
        Reply::Later(Box::pin(async move {
            let response = wait_for_all(response, pending, deadline).await;
            answer(&cx, &metadata.load(), response)
        }))
    }

    async fn append_topic(
        &self,
        round: &Round<'_>,
        topic: TopicProduceData,
        (place, pending, turn): (usize, &mut Vec<Pending>, &mut Turn),
    ) -> TopicProduceResponse {
        let Round { cx, image, .. } = *round;
        let TopicProduceData { name, topic_id, partition_data, .. } = topic;
        let by_id = cx.version >= TOPIC_ID_VERSION;
        let known = if by_id { image.topics.by_id(TopicId(topic_id)) } else { image.topics.by_name(&name) };
        let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        let mut responses = Vec::with_capacity(partition_data.len());
        for data in partition_data {
            // Batches that expand to many times their size take long to check: the others of the broker have their turn.
            turn.pass().await;
            let index = data.index;
            let appended = match known {
                None => Err(Refusal::code(unknown)),
                Some(topic) => self.append(round, topic, data, (place, responses.len())),
            };
            let response = match appended {
                Ok(Appended { partition, mut response, end, epoch }) => {
                    // In Kafka what an only replica has answered with acks=1 can be read by the next request, whoever asks:
                    // tools and tests count on it. Where the disk is waited for, so does this answer.
                    let waits = round.acks == -1 || partition.is_only_replica();
                    match if waits && round.acks != 0 { partition.is_committed(end, epoch) } else { Some(Ok(())) } {
                        Some(Ok(())) => {}
                        Some(Err(code)) => response.error_code = code as i16,
                        None => pending.push(Pending {
                            topic: place,
                            partition: responses.len(),
                            waits_at: partition,
                            offset: end,
                            epoch,
                        }),
                    }
                    response
                }
                Err(refusal) => refusal.response(cx.version, index),
            };
            responses.push(response);
        }
        let answered = TopicProduceResponse::default().with_partition_responses(responses);
        if by_id { answered.with_topic_id(topic_id) } else { answered.with_name(name) }
    }

    fn append(
        &self,
        round: &Round<'_>,
        topic: &TopicImage,
        data: PartitionProduceData,
        place: (usize, usize),
    ) -> Result<Appended, Refusal> {
        let Round { cx, acks, now, ref admission, .. } = *round;
        let index = data.index;
        if topic.partition(index).is_none() {
            return Err(Refusal::code(ErrorCode::UnknownTopicOrPartition));
        }
        let records = checked_records(cx.version, data.records)?;
        if !(-1..=1).contains(&acks) {
            return Err(Refusal::code(ErrorCode::InvalidRequiredAcks));
        }
        if is_internal(&topic.name) && &*cx.client_id != ADMIN_CLIENT {
            return Err(Refusal::code(ErrorCode::InvalidTopicException));
        }
        let verification = match admission.get(&place) {
            Some(Err(code)) => return Err(Refusal::not_admitted(cx.version, *code)),
            Some(Ok(verification)) => *verification,
            None => Verification::Missing,
        };
        let partition = self.partitions.get_by_id(topic.id, index).map_err(|code| match code {
            // Deleted a moment ago, and named by a client that knows no ids.
            ErrorCode::UnknownTopicId if cx.version < TOPIC_ID_VERSION => {
                Refusal::code(ErrorCode::UnknownTopicOrPartition)
            }
            code => Refusal::code(code),
        })?;
        let how = LeaderAppend { required_acks: acks, origin: AppendOrigin::Client, now, verification, only_at: None };
        let info = partition.append_as_leader(records, &how).map_err(|error| {
            let log_start = Some(partition.snapshot().log_start);
            Refusal { log_start, code: error.error_code(), error: Some(error), message: None }
        })?;
        let response = PartitionProduceResponse::default()
            .with_index(index)
            .with_base_offset(info.first_offset.0)
            .with_log_append_time_ms(info.log_append_time.map_or(-1, |time| time.0))
            .with_log_start_offset(info.log_start_offset.0);
        Ok(Appended { partition, response, end: info.last_offset.plus(1), epoch: info.leader_epoch })
    }

    /// Asks the transaction coordinator about the partitions that transactional records go to. Partitions where the
    /// producer's transaction has already written are part of it.
    async fn admit(
        &self,
        cx: &RequestContext,
        image: &MetadataImage,
        request: &ProduceRequest,
    ) -> Result<Admission, ErrorCode> {
        let Some(found) = transactional(request)? else { return Ok(Admission::new()) };
        let id = request.transactional_id.as_ref().ok_or(ErrorCode::TransactionalIdAuthorizationFailed)?;
        let mut admission = Admission::new();
        let mut asked = Vec::new();
        for &((topic_place, place), sequence) in &found.places {
            let topic = &request.topic_data[topic_place];
            let index = topic.partition_data[place].index;
            let name = if cx.version >= TOPIC_ID_VERSION {
                image.topics.by_id(TopicId(topic.topic_id)).map(|topic| &*topic.name)
            } else {
                Some(topic.name.as_str())
            };
            // What cannot be written to is refused by the append itself.
            let Some(partition) = name.and_then(|name| self.partitions.get(name, index).ok()) else { continue };
            // The guard is taken before the coordinator is asked: a marker that comes between makes its answer void.
            let producer = (found.producer_id, found.producer_epoch);
            let adds = adds_partitions(cx.version);
            match partition.log().start_verification(producer, sequence, adds, clock::now()) {
                None => drop(admission.insert((topic_place, place), Ok(Verification::Missing))),
                Some(guard) => asked.push(((topic_place, place), partition.id().clone(), guard)),
            }
        }
        if asked.is_empty() {
            return Ok(admission);
        }
        let refused = match &self.transaction_gate {
            Some(gate) => {
                let question = Question {
                    transactional_id: id.as_str().into(),
                    producer_id: found.producer_id,
                    producer_epoch: found.producer_epoch,
                    partitions: asked.iter().map(|(_, partition, _)| partition.clone()).collect(),
                    adds: adds_partitions(cx.version),
                };
                gate.admit(question).await
            }
            None => asked.iter().map(|(_, partition, _)| (partition.clone(), ErrorCode::InvalidTxnState)).collect(),
        };
        for (place, partition, guard) in asked {
            let verified = Ok(Verification::Guard(guard));
            let admitted = refused.get(&partition).map_or(verified, |&code| Err(code));
            admission.insert(place, admitted);
        }
        Ok(admission)
    }

    /// One error for every partition of the request.
    fn refuse(&self, cx: &RequestContext, request: &ProduceRequest, code: ErrorCode) -> Reply {
        if request.acks == 0 {
            return Reply::Close;
        }
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| refused(data.index, code)).collect();
            let answered = TopicProduceResponse::default().with_partition_responses(partitions);
            if cx.version >= TOPIC_ID_VERSION {
                answered.with_topic_id(topic.topic_id)
            } else {
                answered.with_name(TopicName(topic.name.0.clone()))
            }
        });
        cx.reply(&ProduceResponse::default().with_responses(topics.collect()))
    }
}

struct Appended {
    partition: Arc<Partition>,
    response: PartitionProduceResponse,
    end: Offset,
    epoch: LeaderEpoch,
}

/// Why a partition's records were not appended.
struct Refusal {
    code: ErrorCode,
    log_start: Option<Offset>,
    error: Option<AppendError>,
    message: Option<String>,
}

impl Refusal {
    const fn code(code: ErrorCode) -> Self {
        Self { code, log_start: None, error: None, message: None }
    }

    /// The transaction coordinator has not vouched for the partition: its code.
    fn not_admitted(version: i16, code: ErrorCode) -> Self {
        let (code, message) = told(version, code);
        Self { message, ..Self::code(code) }
    }

    fn response(self, version: i16, index: i32) -> PartitionProduceResponse {
        let mut response = refused(index, self.code);
        if version >= RECORD_ERRORS_VERSION {
            response.error_message = self.message.as_deref().map(text);
        }
        if let Some(AppendError::Log(error)) = &self.error {
            response.log_start_offset = self.log_start.map_or(-1, |offset| offset.0);
            if version >= RECORD_ERRORS_VERSION && !error.record_errors().is_empty() {
                response.error_message = Some(text(&error.to_string()));
                response.record_errors = error
                    .record_errors()
                    .iter()
                    .map(|record| {
                        BatchIndexAndErrorMessage::default()
                            .with_batch_index(record.batch_index)
                            .with_batch_index_error_message(Some(text(&record.message)))
                    })
                    .collect();
            }
        }
        response
    }
}

fn refused(index: i32, code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code as i16)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}

/// What the request format itself asks of records: exactly one batch of the current format, in a codec that the version
/// may carry. What is in the batch is the log's to check.
fn checked_records(version: i16, records: Option<Bytes>) -> Result<Bytes, Refusal> {
    let records = records.unwrap_or_default();
    // Magic lies at byte 16 in every format there has been.
    if records.get(16).is_none_or(|&magic| magic != 2) {
        return Err(Refusal::code(ErrorCode::InvalidRecord));
    }
    let header = BatchHeader::read(&records).map_err(|_| Refusal::code(ErrorCode::CorruptMessage))?;
    if header.size() < records.len() {
        return Err(Refusal::code(ErrorCode::InvalidRecord));
    }
    if version < ZSTD_VERSION && header.codec().is_ok_and(|codec| codec == Codec::Zstd) {
        return Err(Refusal::code(ErrorCode::UnsupportedCompressionType));
    }
    Ok(records)
}

fn first_error(response: &ProduceResponse) -> Option<i16> {
    let mut codes = response.responses.iter().flat_map(|topic| &topic.partition_responses).map(|p| p.error_code);
    codes.find(|&code| code != 0)
}

/// One deadline for all: those that come in time are answered with success, the others with REQUEST_TIMED_OUT; their
/// records stay.
async fn wait_for_all(mut response: ProduceResponse, pending: Vec<Pending>, deadline: Instant) -> ProduceResponse {
    // Logs are told of a flush in the order of their appends: with the last one most of the others are there.
    for wait in pending.into_iter().rev() {
        if let Err(code) = wait.waits_at.wait_for_high_watermark(wait.offset, wait.epoch, deadline).await {
            let place = response.responses.get_mut(wait.topic).map(|topic| &mut topic.partition_responses);
            if let Some(partition) = place.and_then(|partitions| partitions.get_mut(wait.partition)) {
                partition.error_code = code as i16;
            }
        }
    }
    response
}

fn answer(cx: &RequestContext, image: &MetadataImage, mut response: ProduceResponse) -> Response {
    if cx.version >= CURRENT_LEADER_VERSION && has_wrong_leader(&response) {
        let leaders = name_leaders(cx.version, image, &mut response.responses);
        response.node_endpoints = endpoints(cx, image, leaders);
    }
    Response { throttle_ms: response.throttle_time_ms, ..cx.respond(&response) }
}

fn has_wrong_leader(response: &ProduceResponse) -> bool {
    response.responses.iter().flat_map(|topic| &topic.partition_responses).any(is_wrong_here)
}

fn is_wrong_here(answered: &PartitionProduceResponse) -> bool {
    answered.error_code == ErrorCode::NotLeaderOrFollower as i16
}

/// Tells who leads now where this broker does not, or no longer: leadership may be lost while a producer waits for the
/// in-sync set. Answers with all leaders that it named.
fn name_leaders(version: i16, image: &MetadataImage, responses: &mut [TopicProduceResponse]) -> BTreeSet<i32> {
    let mut leaders = BTreeSet::new();
    for topic in responses {
        let name = if version >= TOPIC_ID_VERSION {
            image.topics.by_id(TopicId(topic.topic_id)).map(|topic| &*topic.name)
        } else {
            Some(topic.name.as_str())
        };
        let Some(name) = name else { continue };
        for answered in topic.partition_responses.iter_mut().filter(|answered| is_wrong_here(answered)) {
            let (leader, epoch) = current_leader(image, name, answered.index);
            answered.current_leader =
                LeaderIdAndEpoch::default().with_leader_id(leader.0.into()).with_leader_epoch(epoch.0);
            if leader.0 >= 0 {
                leaders.insert(leader.0);
            }
        }
    }
    leaders
}

/// Where the leaders are.
fn endpoints(cx: &RequestContext, image: &MetadataImage, leaders: BTreeSet<i32>) -> Vec<NodeEndpoint> {
    leaders
        .into_iter()
        .filter_map(|id| {
            let (broker, endpoint) = endpoint_of(image, ottla_protocol::BrokerId(id), &cx.listener.name)?;
            Some(
                NodeEndpoint::default()
                    .with_node_id(id.into())
                    .with_host(text(&endpoint.host))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(broker.rack.as_deref().map(text)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ottla_metadata::{MetadataRecord, PartitionImage};
    use ottla_protocol::{BrokerId, LeaderEpoch};
    use ottla_state_machine::StateMachine;

    use super::*;
    use crate::api::wire::topic_name;

    #[test]
    fn producers_are_told_that_a_partition_is_not_part_of_their_transaction() {
        let told = |version, code| Refusal::not_admitted(version, code).response(version, 0).error_message;
        let message = Some(text("Partition was not added to the transaction"));
        assert_eq!(told(RECORD_ERRORS_VERSION, ErrorCode::InvalidTxnState), message);
        assert_eq!(told(11, ErrorCode::TransactionAbortable), None);
        let unable =
            text("Unable to verify the partition has been added to the transaction. Underlying error: NOT_COORDINATOR");
        assert_eq!(told(RECORD_ERRORS_VERSION, ErrorCode::NotCoordinator), Some(unable));
        let older = told(RECORD_ERRORS_VERSION - 1, ErrorCode::InvalidTxnState);
        assert_eq!(older, PartitionProduceResponse::default().error_message);
    }

    #[test]
    fn a_leader_that_was_lost_while_a_producer_waited_is_replaced_in_the_answer() {
        let id = TopicId(uuid::Uuid::from_u128(9));
        let mut image = MetadataImage::default();
        image.replay(&MetadataRecord::Topic { name: "t".into(), id });
        let partition =
            PartitionImage { leader: Some(BrokerId(2)), leader_epoch: LeaderEpoch(5), ..PartitionImage::default() };
        image.replay(&MetadataRecord::Partition { topic_id: id, index: 0, partition });
        let waited = |code: ErrorCode| {
            PartitionProduceResponse::default().with_index(0).with_base_offset(7).with_error_code(code as i16)
        };
        for version in [CURRENT_LEADER_VERSION, TOPIC_ID_VERSION] {
            let partitions = vec![waited(ErrorCode::NotLeaderOrFollower), waited(ErrorCode::RequestTimedOut)];
            let topic = TopicProduceResponse::default().with_partition_responses(partitions);
            let topic =
                if version >= TOPIC_ID_VERSION { topic.with_topic_id(id.0) } else { topic.with_name(topic_name("t")) };
            let mut responses = [topic];
            assert_eq!(name_leaders(version, &image, &mut responses), BTreeSet::from([2]), "v{version}");
            let told: Vec<(i32, i32)> = responses[0]
                .partition_responses
                .iter()
                .map(|answered| (answered.current_leader.leader_id.0, answered.current_leader.leader_epoch))
                .collect();
            assert_eq!(told, [(2, 5), (-1, -1)], "v{version}");
        }
    }
}
