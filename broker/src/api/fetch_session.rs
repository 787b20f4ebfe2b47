//! Incremental fetch sessions (KIP-227): a client names its partitions once and afterwards only what changed about them.
//!
//! A session remembers what was asked of each partition and what was last told about it, so that an answer leaves out the
//! partitions with nothing new. Its epoch counts the requests: a request with another epoch than expected was lost,
//! repeated or overtaken, and the client begins anew.
//!
//! ```text
//!              named in a request, moved
//!        ┌─────────────────────────────────────┐
//!   at rest                                 unsettled ──► read with every request
//!        └─────────────────────────────────────┘
//!              read to its end, nothing to add
//! ```
//!
//! A partition at rest is not looked at: it is watched, and says itself when there may be something to tell.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, Timestamp, TopicId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::list::PartitionList;
use crate::replica::{Isolation, Partition, Watch, Watched};

/// Answers that belong to no session carry this id.
pub const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// A session that was used within this time is never pushed out by one of the same worth.
const EVICTION_MIN_MS: i64 = 120_000;
/// Partitions remembered by all sessions together; beyond it clients are served without sessions.
const PARTITIONS_MAX: usize = 1_000_000;

/// A partition as requests name it: by topic name up to version 12, by topic id from 13 on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    pub topic: TopicKey,
    pub partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// What a client wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub key: PartitionKey,
    /// The topic's name; `None` while the id is unknown here. Once known it stays, so that a topic that was deleted or
    /// created again is told from one that was never seen.
    pub name: Option<Arc<str>>,
    pub fetch_offset: Offset,
    /// Start of the fetching replica's log; -1 for consumers.
    pub log_start: Offset,
    pub max_bytes: i32,
    pub current_leader_epoch: LeaderEpoch,
    /// Epoch of the last record the fetcher has; -1 when it does not say.
    pub last_fetched_epoch: LeaderEpoch,
    /// What the fetcher knows already; `None` when nobody knows what that is.
    pub known: Option<Known>,
}

/// The offsets that a fetcher was told last, or says that it has (KIP-1166).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// The parts of an answer that decide whether it is worth sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub has_records: bool,
    /// An error, a diverging epoch or a preferred replica: always sent.
    pub is_remarkable: bool,
    pub is_error: bool,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// Who fetches. As long as that stays the same, a partition that has nothing to tell stays so until it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    pub isolation: Isolation,
    /// A broker, and the registration it names.
    pub follower: Option<(BrokerId, i64)>,
    /// What it is told depends on nothing but the partition. Otherwise it is read with every request.
    pub learns_by_moves: bool,
}

/// A partition to be read for a request.
#[derive(Debug, Clone)]
pub struct Look {
    pub asked: Asked,
    /// What its session calls it.
    slot: usize,
    watched: Option<Arc<Watched>>,
    /// It moved while the request waits.
    has_moved: bool,
    is_settled: bool,
}

impl Look {
    fn outside(asked: Asked) -> Self {
        Self { asked, slot: 0, watched: None, has_moved: false, is_settled: false }
    }
}

#[derive(Debug)]
struct Session {
    /// The epoch the next request must carry.
    epoch: i32,
    reader: Reader,
    uses_topic_ids: bool,
    created: Timestamp,
    last_used: Timestamp,
    partitions: PartitionList,
    watch: Watch,
    /// Tells a request that waits that a partition has moved, or that the next request has come.
    waiting: Arc<Notify>,
}

impl Session {
    /// Worth in the cache: a lower one is pushed out by a higher one.
    fn worth(&self) -> (bool, usize) {
        (self.is_privileged(), self.partitions.len())
    }

    /// Sessions of followers outlive those of consumers.
    const fn is_privileged(&self) -> bool {
        self.reader.follower.is_some()
    }

    /// The next request has come, from `reader`.
    fn begin(&mut self, reader: Reader, now: Timestamp) {
        if self.reader != reader {
            self.reader = reader;
            self.watch = Watch::new(reader.follower.map(|(broker, _)| broker));
            self.partitions.unsettle_all();
        }
        if reader.learns_by_moves {
            self.watch.fetched(now);
        }
        let waiting = Arc::new(Notify::new());
        self.watch.wake(&waiting);
        std::mem::replace(&mut self.waiting, waiting).notify_one();
        self.last_used = now;
        self.epoch = next_epoch(self.epoch);
    }
}

impl Drop for Session {
    /// Nobody tells the request that waits of anything any more.
    fn drop(&mut self) {
        self.waiting.notify_one();
    }
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Session>,
    partitions: usize,
}

impl Cache {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }

    /// Sessions of a broker's earlier registrations: nothing that goes on with them would be answered.
    fn remove_earlier(&mut self, follower: BrokerId, epoch: i64) {
        let is_earlier = |session: &Session| {
            session.reader.follower.is_some_and(|(broker, registered)| broker == follower && registered < epoch)
        };
        let earlier = self.sessions.iter().filter(|(_, session)| is_earlier(session)).map(|(id, _)| *id);
        for id in earlier.collect::<Vec<_>>() {
            self.remove(id);
        }
    }

    /// Makes room for a session of this worth, if it may have it.
    fn make_room(&mut self, slots: usize, worth: (bool, usize), now: Timestamp) -> bool {
        if self.partitions + worth.1 > PARTITIONS_MAX {
            return false;
        }
        if self.sessions.len() < slots {
            return true;
        }
        let Some((&stalest, session)) = self.sessions.iter().min_by_key(|(_, session)| session.last_used) else {
            return false;
        };
        if now.0 - session.last_used.0 > EVICTION_MIN_MS {
            self.remove(stalest);
            return true;
        }
        let settled = |session: &Session| now.0 - session.created.0 > EVICTION_MIN_MS;
        let evictable = self
            .sessions
            .iter()
            .filter(|(_, session)| settled(session) || (worth.0 && !session.is_privileged()))
            .min_by_key(|(id, session)| (session.worth(), **id));
        match evictable {
            Some((&id, session)) if session.worth() < worth => {
                self.remove(id);
                true
            }
            _ => false,
        }
    }
}

/// A fetch request in the light of its session.
#[derive(Debug)]
pub enum FetchContext {
    /// Answered with this error and nothing else.
    Refused(ErrorCode),
    /// Complete in itself, and no session is wanted.
    Sessionless(Vec<Look>),
    /// Complete in itself; its answer opens a session if there is room.
    Full { looks: Vec<Look>, uses_topic_ids: bool, reader: Reader },
    /// Goes on with a session.
    Incremental(Incremental),
}

/// What of a session is to be read for a request.
#[derive(Debug)]
pub struct Incremental {
    looks: Vec<Look>,
    session_id: i32,
    expected_epoch: i32,
    reader: Reader,
    watch: Watch,
    waiting: Arc<Notify>,
    /// Places in `looks` by slot; made when it is first needed.
    places: HashMap<usize, usize>,
    /// How many of the session's partitions are not in `looks` when the request comes.
    at_rest: usize,
}

impl FetchContext {
    /// The request is answered with nothing but a time to wait. Clients take an empty answer to a complete request for no
    /// answer, and ask all of it again: nobody would ever use a session that it opened.
    pub fn held_back(self) -> Self {
        match self {
            Self::Full { .. } => Self::Sessionless(Vec::new()),
            Self::Refused(_) | Self::Sessionless(_) | Self::Incremental(_) => self,
        }
    }

    /// The partitions to read, in order.
    pub fn looks(&self) -> &[Look] {
        match self {
            Self::Refused(_) => &[],
            Self::Sessionless(looks) | Self::Full { looks, .. } => looks,
            Self::Incremental(incremental) => &incremental.looks,
        }
    }

    /// Whether there are partitions that were read to their ends before and may move while the request waits.
    pub const fn has_partitions_at_rest(&self) -> bool {
        matches!(self, Self::Incremental(incremental) if incremental.at_rest > 0)
    }

    /// A partition that is about to be read was found: its session hears of it from now on.
    pub fn watch(&mut self, place: usize, partition: &Arc<Partition>) {
        let Self::Incremental(Incremental { looks, watch, reader, .. }) = self else { return };
        let Some(look) = looks.get_mut(place) else { return };
        if !look.watched.as_ref().is_some_and(|watched| watched.is_at(partition)) {
            look.watched = Some(Arc::new(watch.at(look.slot, partition, reader.isolation)));
        }
    }

    /// The partition was read to its end, and what the answer tells of it is all there is to tell: if the answer is sent, it
    /// is at rest until it moves.
    pub fn settle(&mut self, place: usize) {
        if let Self::Incremental(incremental) = self
            && incremental.reader.learns_by_moves
            && let Some(look) = incremental.looks.get_mut(place)
        {
            // What a follower's request reads again while it waits does not count as the follower's fetch. It may be that very
            // count that something waits for: the next request looks once more.
            let counts = incremental.reader.follower.is_none() || !look.has_moved;
            look.is_settled = look.watched.is_some() && counts;
        }
    }
}

/// Where a request stands in its session, and what it says about its partitions.
#[derive(Debug)]
pub struct SessionRequest {
    pub session_id: i32,
    pub epoch: i32,
    pub uses_topic_ids: bool,
    pub reader: Reader,
    pub asked: Vec<Asked>,
    pub forgotten: Vec<PartitionKey>,
}

/// The sessions of this broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FetchSessions {
    cache: Arc<Mutex<Cache>>,
    slots: usize,
}

impl FetchSessions {
    /// Room for `slots` sessions (`max.incremental.fetch.session.cache.slots`).
    pub fn new(slots: usize) -> Self {
        Self { cache: Arc::default(), slots }
    }

    /// Puts a request into its session. `name_of` finds the names of topics that were unknown before.
    pub fn resolve(
        &self,
        request: SessionRequest,
        now: Timestamp,
        name_of: impl Fn(TopicId) -> Option<Arc<str>>,
    ) -> FetchContext {
        let SessionRequest { session_id, epoch, uses_topic_ids, reader, asked, forgotten } = request;
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if session_id != NO_SESSION {
                self.cache.lock().remove(session_id);
            }
            let looks = without_repeats(asked);
            return if epoch == FINAL_EPOCH {
                FetchContext::Sessionless(looks)
            } else {
                FetchContext::Full { looks, uses_topic_ids, reader }
            };
        }
        let mut cache = self.cache.lock();
        let room = PARTITIONS_MAX.saturating_sub(cache.partitions);
        let Some(session) = cache.sessions.get_mut(&session_id) else {
            return FetchContext::Refused(ErrorCode::FetchSessionIdNotFound);
        };
        if session.epoch != epoch {
            return FetchContext::Refused(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return FetchContext::Refused(ErrorCode::FetchSessionTopicIdError);
        }
        if asked.len() > room {
            // The client opens anew, and is then served without a session.
            cache.remove(session_id);
            return FetchContext::Refused(ErrorCode::FetchSessionIdNotFound);
        }
        let before = session.partitions.len();
        session.begin(reader, now);
        for one in asked {
            session.partitions.ask(one);
        }
        for key in &forgotten {
            session.partitions.forget(key);
        }
        let after = session.partitions.len();
        session.partitions.unsettle(session.watch.take());
        let looks = session.partitions.looks(name_of);
        let context = FetchContext::Incremental(Incremental {
            at_rest: after - looks.len(),
            looks,
            session_id,
            expected_epoch: session.epoch,
            reader,
            watch: session.watch.clone(),
            waiting: Arc::clone(&session.waiting),
            places: HashMap::new(),
        });
        cache.partitions = cache.partitions + after - before;
        if after == 0 {
            cache.remove(session_id);
            return FetchContext::Sessionless(Vec::new());
        }
        context
    }

    /// Waits until partitions of the request's session move; their places among what is to be read, which may have grown.
    /// `None` once the next request has come, or the session is no more. Never for a request without a session.
    pub async fn moved(&self, context: &mut FetchContext) -> Option<Vec<usize>> {
        let FetchContext::Incremental(incremental) = context else { return std::future::pending().await };
        let waiting = Arc::clone(&incremental.waiting);
        loop {
            // Looked at first: something may have moved since the request was resolved.
            let moved = self.moved_now(incremental)?;
            if !moved.is_empty() {
                return Some(moved);
            }
            waiting.notified().await;
        }
    }

    fn moved_now(&self, request: &mut Incremental) -> Option<Vec<usize>> {
        let mut cache = self.cache.lock();
        let session = cache.sessions.get_mut(&request.session_id)?;
        if session.epoch != request.expected_epoch {
            return None;
        }
        let moved = session.watch.take();
        if moved.is_empty() {
            return Some(Vec::new());
        }
        if request.places.is_empty() {
            request.places = request.looks.iter().enumerate().map(|(place, look)| (look.slot, place)).collect();
        }
        let mut places = Vec::with_capacity(moved.len());
        for slot in moved {
            let Some(look) = session.partitions.look_again(slot) else { continue };
            let place = *request.places.entry(slot).or_insert_with(|| {
                request.looks.push(look);
                request.looks.len() - 1
            });
            request.looks[place].has_moved = true;
            places.push(place);
        }
        Some(places)
    }

    /// Ends a request: the session id to answer with and the answers worth sending, or the error of the whole request.
    /// `told` sums an answer up.
    pub fn finish<A>(
        &self,
        context: FetchContext,
        mut answers: Vec<(PartitionKey, A)>,
        told: impl Fn(&A) -> Told,
        now: Timestamp,
    ) -> (i32, Result<Vec<(PartitionKey, A)>, ErrorCode>) {
        match context {
            FetchContext::Refused(error) => (NO_SESSION, Err(error)),
            FetchContext::Sessionless(_) => (NO_SESSION, Ok(answers)),
            FetchContext::Full { looks, uses_topic_ids, reader } => {
                let id = self.open(looks, &answers, told, uses_topic_ids, reader, now);
                (id, Ok(answers))
            }
            FetchContext::Incremental(Incremental { looks, session_id, expected_epoch, .. }) => {
                let mut cache = self.cache.lock();
                let Some(session) = cache.sessions.get_mut(&session_id) else {
                    return (session_id, Ok(answers));
                };
                if session.epoch != expected_epoch && session.is_privileged() {
                    // A follower sends its next request without waiting for this one's answer when it begins to follow
                    // more partitions. What there is to tell it learns from that one.
                    return (session_id, Ok(Vec::new()));
                }
                if session.epoch != expected_epoch {
                    return (session_id, Err(ErrorCode::InvalidFetchSessionEpoch));
                }
                for look in looks {
                    session.partitions.looked(&look.asked.key, look.watched, look.is_settled);
                }
                answers.retain(|(key, answer)| {
                    let told = told(answer);
                    let Some(cached) = session.partitions.get_mut(key) else { return false };
                    let must_tell = cached.must_tell(told);
                    if told.has_records {
                        session.partitions.move_to_end(key);
                    }
                    must_tell
                });
                (session_id, Ok(answers))
            }
        }
    }

    /// How many sessions and how many partitions in them are remembered.
    #[cfg(test)]
    fn size(&self) -> (usize, usize) {
        let cache = self.cache.lock();
        (cache.sessions.len(), cache.partitions)
    }

    fn open<A>(
        &self,
        looks: Vec<Look>,
        answers: &[(PartitionKey, A)],
        told: impl Fn(&A) -> Told,
        uses_topic_ids: bool,
        reader: Reader,
        now: Timestamp,
    ) -> i32 {
        let mut cache = self.cache.lock();
        if let Some((follower, epoch)) = reader.follower {
            cache.remove_earlier(follower, epoch);
        }
        if !cache.make_room(self.slots, (reader.follower.is_some(), looks.len()), now) {
            return NO_SESSION;
        }
        let mut partitions = PartitionList::default();
        for look in looks {
            partitions.ask(look.asked);
        }
        for (key, answer) in answers {
            if let Some(cached) = partitions.get_mut(key) {
                cached.note(told(answer));
            }
        }
        let id = loop {
            // Random, so that a client with a stale id does not hit somebody else's session.
            let id = rand::random_range(1..i32::MAX);
            if !cache.sessions.contains_key(&id) {
                break id;
            }
        };
        cache.partitions += partitions.len();
        let session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            reader,
            uses_topic_ids,
            created: now,
            last_used: now,
            partitions,
            watch: Watch::new(reader.follower.map(|(broker, _)| broker)),
            waiting: Arc::default(),
        };
        cache.sessions.insert(id, session);
        id
    }
}

/// A partition named twice counts once: at its first place, with what was said last.
fn without_repeats(asked: Vec<Asked>) -> Vec<Look> {
    let mut list = PartitionList::default();
    for one in asked {
        list.ask(one);
    }
    list.into_asked().map(Look::outside).collect()
}

/// 1 ..= i32::MAX, then 1 again: 0 and -1 have meanings of their own.
const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

mod list;
#[cfg(test)]
mod rest_tests;
#[cfg(test)]
mod tests;
