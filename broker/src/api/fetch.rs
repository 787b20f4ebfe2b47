//! Fetch: v4-18.
//!
//! v5 log start · v7 sessions · v9 leader epochs · v11 rack · v12 diverging epochs · v13 topic ids · v15 replica state ·
//! v16 the current leader beside its errors · v17 directory ids · v18 the follower's high watermark.

use std::sync::Arc;
use std::time::Duration;

use ottla_metadata::MetadataImage;
use ottla_protocol::fetch_response::{self, FetchAnswer};
use ottla_protocol::messages::FetchRequest;
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, StrBytes, Timestamp, TopicId};
use tokio::time::Instant;

use super::fetch_answers::{Answered, by_topic, endpoints, failed, readable, told, unreadable};
use super::fetch_session::{Asked, FetchContext, FetchSessions, Known, PartitionKey, Reader, SessionRequest, TopicKey};
use super::wire::endpoint_of;
use super::{ApiSpec, House, Reply, RequestContext, Response};
use crate::clock;
use crate::metadata_cache::MetadataCache;
use crate::quotas::{self, Quotas};
use crate::replica::{
    Epochs, FetchWait, FollowerRead, Isolation, LogOffsetSnapshot, Partition, Partitions, ReadAt, Throttle,
};

/// Partitions of a request before others on this thread get their turn.
const READ_AT_ONCE: usize = 512;
const SESSIONS_VERSION: i16 = 7;
const ANY_REPLICA_VERSION: i16 = 11;
const TOPIC_ID_VERSION: i16 = 13;
/// The one plugin for picking replicas that is built in here, under Kafka's name for it.
const RACK_AWARE_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// The replica that a broker moves between its log directories. Every other one below zero is a consumer: -1, or -2 for one
/// that debugs.
const FUTURE_REPLICA: i32 = -3;
const REPLICA_STATE_VERSION: i16 = 15;

/// Handler of Fetch. Cheap to clone: a fetch that waits keeps one.
#[derive(Clone)]
pub struct Fetch {
    partitions: Partitions,
    metadata: MetadataCache,
    sessions: FetchSessions,
    /// `fetch.max.bytes`
    max_bytes: i32,
    /// `leader.replication.throttled.rate`
    throttle: Arc<Throttle>,
    /// `replica.selector.class` is the one that goes by racks.
    selects_by_rack: bool,
    quotas: Quotas,
}

/// Who fetches, and how much.
#[derive(Debug, Clone)]
struct Fetcher {
    /// Where a consumer is that may be sent to a nearer replica.
    rack: Option<StrBytes>,
    /// The fetching broker; negative for clients.
    replica: BrokerId,
    broker_epoch: i64,
    /// A follower of the registration that the metadata shows: only such a one's progress counts.
    is_current: bool,
    /// A replica that is none, or was registered again since: every partition is refused with this.
    refusal: Option<ErrorCode>,
    isolation: Isolation,
    leader_only: bool,
    min_bytes: usize,
    max_bytes: usize,
}

impl Fetcher {
    /// As its session knows it.
    fn reader(&self) -> Reader {
        let follower = (self.replica.0 >= 0).then_some((self.replica, self.broker_epoch));
        // Where a consumer had better read may change with every fetch of a follower; and what a broker fetches that the
        // metadata does not show yet has to count once it does.
        let learns_by_moves = self.rack.is_none() && (follower.is_none() || self.is_current);
        Reader { isolation: self.isolation, follower, learns_by_moves }
    }
}

/// A round of reads over all partitions.
#[derive(Default)]
struct Round {
    answers: Vec<(PartitionKey, Answered)>,
    /// Partitions that may have more later, in the order of the looks.
    waits_at: Vec<Waiting>,
    /// How many looks were taken.
    looked_at: usize,
    size: usize,
    /// Bytes of partitions whose replication is throttled.
    throttled_size: usize,
    /// An error, a diverging epoch, or offsets that a follower must learn: nobody waits for more then.
    is_remarkable: bool,
}

/// What came of reading a partition.
enum Read {
    /// It is not known here.
    Refused(Answered),
    Failed(Answered),
    Done {
        answer: Answered,
        partition: Arc<Partition>,
        seen: LogOffsetSnapshot,
        size: usize,
        is_held_back: bool,
    },
}

/// A partition that was read, and may have more later.
struct Waiting {
    /// Which of those that were to be read, and which of the answers.
    look: usize,
    answer: usize,
    partition: Arc<Partition>,
    /// What was seen of it, and how much was read.
    seen: LogOffsetSnapshot,
    size: usize,
    /// It is being moved, and more was read lately than such partitions may.
    is_held_back: bool,
}

impl Fetch {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(1)];

    pub fn new(house: &House) -> Self {
        let slots = house.settings.i32("max.incremental.fetch.session.cache.slots");
        Self {
            partitions: house.partitions.clone(),
            metadata: house.metadata.clone(),
            sessions: FetchSessions::new(usize::try_from(slots).unwrap_or(0)),
            max_bytes: house.settings.i32("fetch.max.bytes"),
            throttle: Arc::new(Throttle::new(house.effective.clone(), "leader.replication.throttled.rate")),
            selects_by_rack: house.settings.text("replica.selector.class") == Some(RACK_AWARE_SELECTOR),
            quotas: house.quotas.clone(),
        }
    }

    /// Reads once at once; only if that is not enough the request waits, apart from the connection's order of work.
    pub async fn handle(&self, cx: &RequestContext, request: FetchRequest) -> Reply {
        let image = self.metadata.load();
        let fetcher = self.fetcher(cx, &request, &image);
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        let deadline = Instant::now() + wait;
        let session = session_request(cx.version, request, &image, fetcher.reader());
        let mut context =
            self.sessions.resolve(session, clock::steady(), |id| image.topics.by_id(id).map(|t| Arc::clone(&t.name)));
        let round = self.read(cx, &image, &fetcher, &mut context).await;
        let nobody_moves = round.waits_at.is_empty() && !context.has_partitions_at_rest();
        if wait.is_zero() || nobody_moves || is_enough(&round, &fetcher) {
            return Reply::Now(self.answer(cx, &fetcher, &image, context, round));
        }
        let (this, cx) = (self.clone(), cx.clone());
        Reply::Later(Box::pin(async move { this.wait(&cx, &fetcher, context, round, deadline).await }))
    }

    /// Reads those partitions again that move, until it is enough.
    async fn wait(
        &self,
        cx: &RequestContext,
        fetcher: &Fetcher,
        mut context: FetchContext,
        mut round: Round,
        deadline: Instant,
    ) -> Response {
        // A session is told by its own partitions, those that were not read now among them.
        let waiting = round.waits_at.iter().filter(|_| !matches!(context, FetchContext::Incremental(_)));
        let waiting = waiting.map(|waits| (waits.look, Arc::clone(&waits.partition), waits.seen));
        let wait = FetchWait::new(waiting, fetcher.isolation);
        loop {
            let moved: Vec<usize> = tokio::select! {
                moved = wait.moved() => moved.into_iter().collect(),
                moved = self.sessions.moved(&mut context) => match moved {
                    Some(moved) => moved,
                    None => {
                        drop(wait);
                        let image = self.metadata.load();
                        return self.answer(cx, fetcher, &image, context, Round::default());
                    }
                },
                () = tokio::time::sleep_until(deadline) => {
                    drop(wait);
                    // What was held back may go by now, though it has not moved.
                    let image = self.metadata.load();
                    let held_back = round.waits_at.iter().filter(|waits| waits.is_held_back);
                    let held_back: Vec<usize> = held_back.map(|waits| waits.look).collect();
                    self.read_again(cx, (&image, fetcher), &mut context, &held_back, &mut round);
                    return self.answer(cx, fetcher, &image, context, round);
                }
            };
            let image = self.metadata.load();
            let all_there = self.read_again(cx, (&image, fetcher), &mut context, &moved, &mut round);
            if !all_there || is_enough(&round, fetcher) {
                drop(wait);
                return self.answer(cx, fetcher, &image, context, round);
            }
        }
    }

    fn fetcher(&self, cx: &RequestContext, request: &FetchRequest, image: &MetadataImage) -> Fetcher {
        let version = cx.version;
        let (replica, broker_epoch) = if version >= REPLICA_STATE_VERSION {
            (request.replica_state.replica_id.0, request.replica_state.replica_epoch)
        } else {
            (request.replica_id.0, -1)
        };
        let is_follower = replica >= 0;
        // Nobody is taken for a replica for the mere claim: it must name the registration of that broker (KIP-903).
        let registered = image.brokers.get(&BrokerId(replica)).map(|broker| broker.epoch);
        let is_current = is_follower && registered == Some(broker_epoch);
        // A later registration than is known here may be served already, but does not count yet.
        let is_ahead = broker_epoch > registered.unwrap_or(i64::MAX);
        let refusal = (is_follower && !is_current && !is_ahead).then_some(ErrorCode::NotLeaderOrFollower);
        let is_consumer = replica < 0 && replica != FUTURE_REPLICA;
        let isolation = match (is_consumer, request.isolation_level) {
            (false, _) => Isolation::LogEnd,
            (true, 1) => Isolation::LastStable,
            (true, _) => Isolation::HighWatermark,
        };
        let max_bytes = if is_follower { request.max_bytes } else { request.max_bytes.min(self.max_bytes) };
        let mut max_bytes = usize::try_from(max_bytes).unwrap_or(0);
        if !is_follower {
            max_bytes = max_bytes.min(self.quotas.fetch_bytes_max(&cx.client()));
        }
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes);
        // Consumers may read from followers since they say in which rack they are (KIP-392).
        let leader_only = is_follower || (is_consumer && version < ANY_REPLICA_VERSION);
        let may_be_sent_on = self.selects_by_rack && is_consumer && version >= ANY_REPLICA_VERSION;
        let rack = (may_be_sent_on && !request.rack_id.is_empty()).then(|| request.rack_id.clone());
        let replica = BrokerId(replica);
        Fetcher { rack, replica, broker_epoch, is_current, refusal, isolation, leader_only, min_bytes, max_bytes }
    }

    /// Reads the partitions in order until the answer is full.
    async fn read(
        &self,
        cx: &RequestContext,
        image: &MetadataImage,
        fetcher: &Fetcher,
        context: &mut FetchContext,
    ) -> Round {
        let count = context.looks().len();
        let mut round =
            Round { answers: Vec::with_capacity(count), waits_at: Vec::with_capacity(count), ..Round::default() };
        // Refused partitions come behind the others, as in Kafka.
        let mut refused = Vec::new();
        let when = (true, clock::steady());
        for place in 0..count {
            if let Some(answer) = self.read_look(cx, (image, fetcher), (context, place), when, &mut round) {
                refused.push(answer);
            }
            if place % READ_AT_ONCE == READ_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        round.answers.append(&mut refused);
        round
    }

    /// Reads what is to be read at this place, for the first time. The answer is the round's, unless the partition is refused.
    fn read_look(
        &self,
        cx: &RequestContext,
        (image, fetcher): (&MetadataImage, &Fetcher),
        (context, look): (&mut FetchContext, usize),
        when: (bool, Timestamp),
        round: &mut Round,
    ) -> Option<(PartitionKey, Answered)> {
        let key = context.looks().get(look)?.asked.key.clone();
        round.looked_at = look + 1;
        match self.read_one(cx, (image, fetcher), (context, look), when, round) {
            Read::Refused(answer) => return Some((key, answer)),
            Read::Failed(answer) => round.answers.push((key, answer)),
            Read::Done { answer, partition, seen, size, is_held_back } => {
                let answered = round.answers.len();
                round.waits_at.push(Waiting { look, answer: answered, partition, seen, size, is_held_back });
                round.answers.push((key, answer));
            }
        }
        None
    }

    /// Reads some of the partitions that a round waits at once more, and puts the answers in the places of the old ones; those
    /// that were at rest when the round began come behind the others. False when one of them is not to be waited at any longer.
    fn read_again(
        &self,
        cx: &RequestContext,
        (image, fetcher): (&MetadataImage, &Fetcher),
        context: &mut FetchContext,
        looks: &[usize],
        round: &mut Round,
    ) -> bool {
        let when = (false, clock::steady());
        let mut all_there = true;
        for &look in looks {
            // In order of their places among what is to be read, as they were read.
            let Ok(place) = round.waits_at.binary_search_by_key(&look, |waiting| waiting.look) else {
                if look >= round.looked_at {
                    let refused = self.read_look(cx, (image, fetcher), (context, look), when, round);
                    all_there &= refused.is_none();
                    round.answers.extend(refused);
                }
                continue;
            };
            let waiting = &mut round.waits_at[place];
            let answer_place = waiting.answer;
            let before = std::mem::take(&mut waiting.size);
            round.size -= before;
            if fetcher.replica.0 >= 0 && waiting.partition.counts_as_leader() {
                round.throttled_size = round.throttled_size.saturating_sub(before);
            }
            let answer = match self.read_one(cx, (image, fetcher), (context, look), when, round) {
                Read::Refused(answer) | Read::Failed(answer) => {
                    all_there = false;
                    answer
                }
                Read::Done { answer, seen, size, partition, is_held_back } => {
                    let answer_place = round.waits_at[place].answer;
                    round.waits_at[place] = Waiting { look, answer: answer_place, partition, seen, size, is_held_back };
                    answer
                }
            };
            if let Some(old) = round.answers.get_mut(answer_place) {
                old.1 = answer;
            }
        }
        all_there
    }

    /// Reads one partition, as far as the round has room. The round counts what was read.
    fn read_one(
        &self,
        cx: &RequestContext,
        (image, fetcher): (&MetadataImage, &Fetcher),
        (context, look): (&mut FetchContext, usize),
        (first, now): (bool, Timestamp),
        round: &mut Round,
    ) -> Read {
        let one = &context.looks()[look].asked;
        let Some(name) = one.name.clone() else {
            return Read::Refused(unreadable(one.key.partition, ErrorCode::UnknownTopicId));
        };
        if image.topics.partition(&name, one.key.partition).is_none() {
            return Read::Refused(unreadable(one.key.partition, ErrorCode::UnknownTopicOrPartition));
        }
        let partition = fetcher.refusal.map_or_else(|| self.find(one, &name), Err);
        if let Ok(partition) = &partition {
            // Before it is read, so that nothing is missed that happens from now on.
            context.watch(look, partition);
        }
        let one = &context.looks()[look].asked;
        let left = fetcher.max_bytes.saturating_sub(round.size);
        let mut at = ReadAt {
            offset: one.fetch_offset,
            max_bytes: left.min(usize::try_from(one.max_bytes).unwrap_or(0)),
            at_least_one: round.size == 0,
            isolation: fetcher.isolation,
            epochs: Epochs { current: one.current_leader_epoch, leader_only: fetcher.leader_only },
            last_fetched_epoch: one.last_fetched_epoch,
            follower: (fetcher.replica.0 >= 0).then_some(FollowerRead {
                replica: fetcher.replica,
                log_start: one.log_start,
                broker_epoch: fetcher.broker_epoch,
                now,
                counts: first && fetcher.is_current && one.current_leader_epoch != LeaderEpoch::UNKNOWN,
            }),
        };
        let mut is_held_back = false;
        let read = partition.and_then(|partition| {
            is_held_back = at.follower.is_some()
                && partition.throttles_as_leader(fetcher.replica)
                && self.throttle.is_exceeded(now);
            if is_held_back {
                (at.max_bytes, at.at_least_one) = (0, false);
            }
            Ok((partition.read(&at).map_err(|e| e.0)?, partition))
        });
        match read {
            Ok((mut read, partition)) => {
                let preferred = fetcher.rack.as_ref().and_then(|rack| {
                    partition.preferred_replica(one.fetch_offset, rack, |broker| {
                        let (registration, _) = endpoint_of(image, broker, &cx.listener.name)?;
                        Some(registration.rack.as_deref())
                    })
                });
                if preferred.is_some() && read.diverging.is_none() {
                    // It fetches there, so there is nothing to be had here.
                    (read.records, read.size, read.aborted) = (Vec::new(), 0, read.aborted.map(|_| Vec::new()));
                    read.has_more = false;
                    round.is_remarkable = true;
                }
                round.size += read.size;
                if at.follower.is_some() && read.size > 0 && partition.counts_as_leader() {
                    round.throttled_size += read.size;
                }
                // Behind the end of a segment there is more, however little lies before: nobody waits for what is there.
                round.is_remarkable |= read.has_more;
                round.is_remarkable |=
                    read.diverging.is_some() || (at.follower.is_some() && has_news(one, &read.offsets));
                let (seen, size) = (read.offsets, read.size);
                let mut answer = readable(one.key.partition, read);
                answer.preferred_read_replica = preferred.map_or(-1, |broker| broker.0);
                Read::Done { answer, partition, seen, size, is_held_back }
            }
            Err(code) => {
                round.is_remarkable = true;
                Read::Failed(failed(cx.version, image, &name, one.key.partition, code))
            }
        }
    }

    fn find(&self, asked: &Asked, name: &str) -> Result<Arc<Partition>, ErrorCode> {
        let partition = self.partitions.get(name, asked.key.partition)?;
        match asked.key.topic {
            // The topic was created again under its name since the client learned the id.
            TopicKey::Id(id) if partition.topic_id() != id => Err(ErrorCode::InconsistentTopicId),
            _ => Ok(partition),
        }
    }

    fn answer(
        &self,
        cx: &RequestContext,
        fetcher: &Fetcher,
        image: &MetadataImage,
        mut context: FetchContext,
        mut round: Round,
    ) -> Response {
        if round.throttled_size > 0 {
            self.throttle.record(round.throttled_size, clock::steady());
        }
        let throttle_ms = self.throttle_ms(cx, fetcher, &round);
        let context = if throttle_ms > 0 {
            // The client is told to wait and gets nothing yet (KIP-219).
            round = Round::default();
            context.held_back()
        } else {
            settle(&mut context, &round, fetcher.isolation);
            context
        };
        let (session_id, answers) = self.sessions.finish(context, round.answers, told, clock::steady());
        let answer = match answers {
            Ok(answers) => FetchAnswer {
                throttle_time_ms: throttle_ms,
                session_id,
                node_endpoints: endpoints(cx, image, &answers),
                topics: by_topic(image, answers),
                ..FetchAnswer::default()
            },
            Err(code) => FetchAnswer { error_code: code as i16, session_id, ..FetchAnswer::default() },
        };
        match fetch_response::encode(cx.correlation_id, cx.version, &answer) {
            Ok(chunks) => Response { chunks, throttle_ms },
            Err(error) => {
                tracing::error!(%error, "fetch answer could not be encoded, closing the connection");
                Response::close()
            }
        }
    }
}

impl Fetch {
    /// Records what the answer carries; what is held back is not counted.
    fn throttle_ms(&self, cx: &RequestContext, fetcher: &Fetcher, round: &Round) -> i32 {
        if fetcher.replica.0 >= 0 || !self.quotas.is_any_set() {
            return 0;
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of one answer")]
        let bytes = round.size as f64;
        let throttle_ms = self.quotas.record(quotas::Kind::Fetch, &cx.client(), bytes);
        if throttle_ms > 0 {
            self.quotas.record(quotas::Kind::Fetch, &cx.client(), -bytes);
        }
        throttle_ms
    }
}

/// A follower that lags behind the high watermark or the log start is told at once: producers and deletions wait for it.
fn has_news(asked: &Asked, offsets: &LogOffsetSnapshot) -> bool {
    asked.known.is_some_and(|known| {
        (known.high_watermark < offsets.high_watermark && known.high_watermark < asked.fetch_offset)
            || known.log_start < offsets.log_start
    })
}

/// What has nothing left to read and nothing to add is at rest in its session until it moves.
fn settle(context: &mut FetchContext, round: &Round, isolation: Isolation) {
    for waiting in &round.waits_at {
        let Some(asked) = context.looks().get(waiting.look).map(|look| &look.asked) else { continue };
        let Some((_, answer)) = round.answers.get(waiting.answer) else { continue };
        let is_read = asked.fetch_offset >= isolation.bound(&waiting.seen) && !waiting.is_held_back;
        // A follower's fetch that names no leader epoch does not count, so it is not left at that.
        let counts = isolation != Isolation::LogEnd || asked.current_leader_epoch != LeaderEpoch::UNKNOWN;
        if is_read && counts && answer.records.is_empty() && !told(answer).is_remarkable {
            context.settle(waiting.look);
        }
    }
}

fn is_enough(round: &Round, fetcher: &Fetcher) -> bool {
    round.is_remarkable || round.size >= fetcher.min_bytes
}

fn session_request(version: i16, request: FetchRequest, image: &MetadataImage, reader: Reader) -> SessionRequest {
    let by_id = version >= TOPIC_ID_VERSION;
    let topic_key = |name: &StrBytes, id: uuid::Uuid| {
        if by_id {
            let id = TopicId(id);
            (TopicKey::Id(id), image.topics.by_id(id).map(|topic| Arc::clone(&topic.name)))
        } else {
            let name = super::wire::shared(image, name);
            (TopicKey::Name(Arc::clone(&name)), Some(name))
        }
    };
    let mut asked = Vec::new();
    for topic in &request.topics {
        let (key, name) = topic_key(&topic.topic, topic.topic_id);
        asked.extend(topic.partitions.iter().map(|partition| Asked {
            key: PartitionKey { topic: key.clone(), partition: partition.partition },
            name: name.clone(),
            fetch_offset: Offset(partition.fetch_offset),
            log_start: Offset(partition.log_start_offset),
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
            last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
            known: (reader.follower.is_some() && partition.high_watermark != i64::MAX).then_some(Known {
                high_watermark: Offset(partition.high_watermark),
                log_start: Offset(partition.log_start_offset),
            }),
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let (key, _) = topic_key(&topic.topic, topic.topic_id);
        forgotten.extend(topic.partitions.iter().map(|&partition| PartitionKey { topic: key.clone(), partition }));
    }
    // Without sessions every request is complete in itself.
    let (session_id, epoch) =
        if version >= SESSIONS_VERSION { (request.session_id, request.session_epoch) } else { (0, -1) };
    SessionRequest { session_id, epoch, uses_topic_ids: by_id, reader, asked, forgotten }
}
