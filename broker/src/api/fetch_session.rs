//! Incremental fetch sessions (KIP-227): a client names its partitions once and afterwards only what changed about them.
//!
//! A session remembers what was asked of each partition and what was last told about it, so that an answer leaves out the
//! partitions with nothing new. Its epoch counts the requests: a request with another epoch than expected was lost,
//! repeated or overtaken, and the client begins anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp, TopicId};
use parking_lot::Mutex;
use tokio::sync::Notify;

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

#[derive(Debug)]
struct Cached {
    asked: Asked,
    high_watermark: Offset,
    log_start: Offset,
}

impl Cached {
    fn as_asked(&self) -> Asked {
        let told = (self.high_watermark.0 >= 0)
            .then_some(Known { high_watermark: self.high_watermark, log_start: self.log_start });
        Asked { known: told.or(self.asked.known), ..self.asked.clone() }
    }

    /// Remembers what is about to be told; true if it has to be.
    fn must_tell(&mut self, told: Told) -> bool {
        let moved = self.high_watermark != told.high_watermark || self.log_start != told.log_start;
        self.log_start = told.log_start;
        // After an error the partition is told again even if nothing else changed.
        self.high_watermark = if told.is_error { Offset(-1) } else { told.high_watermark };
        moved || told.has_records || told.is_remarkable
    }
}

/// The partitions of a session in the order in which they are read. Whoever got records goes to the end, so that nobody
/// starves behind a partition that always has more.
#[derive(Debug, Default)]
struct PartitionList {
    places: HashMap<PartitionKey, u64>,
    ordered: BTreeMap<u64, Cached>,
    next_place: u64,
}

impl PartitionList {
    fn ask(&mut self, asked: Asked) {
        if let Some(cached) = self.places.get(&asked.key).and_then(|place| self.ordered.get_mut(place)) {
            let name = cached.asked.name.take().or_else(|| asked.name.clone());
            cached.asked = Asked { name, ..asked };
            return;
        }
        self.places.insert(asked.key.clone(), self.next_place);
        self.ordered.insert(self.next_place, Cached { asked, high_watermark: Offset(-1), log_start: Offset(-1) });
        self.next_place += 1;
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(place) = self.places.remove(key) {
            self.ordered.remove(&place);
        }
    }

    fn get_mut(&mut self, key: &PartitionKey) -> Option<&mut Cached> {
        self.ordered.get_mut(self.places.get(key)?)
    }

    fn move_to_end(&mut self, key: &PartitionKey) {
        if let Some(place) = self.places.get_mut(key)
            && let Some(cached) = self.ordered.remove(place)
        {
            *place = self.next_place;
            self.ordered.insert(self.next_place, cached);
            self.next_place += 1;
        }
    }

    fn len(&self) -> usize {
        self.ordered.len()
    }
}

#[derive(Debug)]
struct Session {
    /// The epoch the next request must carry.
    epoch: i32,
    /// Sessions of followers outlive those of consumers.
    privileged: bool,
    uses_topic_ids: bool,
    created: Timestamp,
    last_used: Timestamp,
    partitions: PartitionList,
    /// Tells a request that waits that the next one has come.
    overtaken: Arc<Notify>,
}

impl Session {
    /// Worth in the cache: a lower one is pushed out by a higher one.
    fn worth(&self) -> (bool, usize) {
        (self.privileged, self.partitions.len())
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
            .filter(|(_, session)| settled(session) || (worth.0 && !session.privileged))
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
    Sessionless(Vec<Asked>),
    /// Complete in itself; its answer opens a session if there is room.
    Full { asked: Vec<Asked>, uses_topic_ids: bool, privileged: bool },
    /// Everything the session asks for, as of this request.
    Incremental { asked: Vec<Asked>, session_id: i32, expected_epoch: i32, overtaken: Arc<Notify> },
}

impl FetchContext {
    /// Resolves when the next request of the same session has come.
    pub async fn overtaken(&self) {
        match self {
            Self::Incremental { overtaken, .. } => overtaken.notified().await,
            _ => std::future::pending().await,
        }
    }

    /// The request is answered with nothing but a time to wait. Clients take an empty answer to a complete request for no
    /// answer, and ask all of it again: nobody would ever use a session that it opened.
    pub fn held_back(self) -> Self {
        match self {
            Self::Full { .. } => Self::Sessionless(Vec::new()),
            Self::Refused(_) | Self::Sessionless(_) | Self::Incremental { .. } => self,
        }
    }

    /// The partitions to read, in order.
    pub fn asked(&self) -> &[Asked] {
        match self {
            Self::Refused(_) => &[],
            Self::Sessionless(asked) | Self::Full { asked, .. } | Self::Incremental { asked, .. } => asked,
        }
    }
}

/// Where a request stands in its session, and what it says about its partitions.
#[derive(Debug)]
pub struct SessionRequest {
    pub session_id: i32,
    pub epoch: i32,
    pub uses_topic_ids: bool,
    pub is_follower: bool,
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
        let SessionRequest { session_id, epoch, uses_topic_ids, is_follower, asked, forgotten } = request;
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if session_id != NO_SESSION {
                self.cache.lock().remove(session_id);
            }
            let asked = without_repeats(asked);
            return if epoch == FINAL_EPOCH {
                FetchContext::Sessionless(asked)
            } else {
                FetchContext::Full { asked, uses_topic_ids, privileged: is_follower }
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
        for one in asked {
            session.partitions.ask(one);
        }
        for key in &forgotten {
            session.partitions.forget(key);
        }
        let after = session.partitions.len();
        for cached in session.partitions.ordered.values_mut() {
            if let (None, TopicKey::Id(id)) = (&cached.asked.name, &cached.asked.key.topic) {
                cached.asked.name = name_of(*id);
            }
        }
        session.last_used = now;
        session.epoch = next_epoch(epoch);
        let expected_epoch = session.epoch;
        let overtaken = Arc::new(Notify::new());
        std::mem::replace(&mut session.overtaken, Arc::clone(&overtaken)).notify_one();
        let asked = session.partitions.ordered.values().map(Cached::as_asked).collect();
        cache.partitions = cache.partitions + after - before;
        if after == 0 {
            cache.remove(session_id);
            return FetchContext::Sessionless(Vec::new());
        }
        FetchContext::Incremental { asked, session_id, expected_epoch, overtaken }
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
            FetchContext::Full { asked, uses_topic_ids, privileged } => {
                let id = self.open(asked, &answers, told, uses_topic_ids, privileged, now);
                (id, Ok(answers))
            }
            FetchContext::Incremental { session_id, expected_epoch, .. } => {
                let mut cache = self.cache.lock();
                let Some(session) = cache.sessions.get_mut(&session_id) else {
                    return (session_id, Ok(answers));
                };
                if session.epoch != expected_epoch && session.privileged {
                    // A follower sends its next request without waiting for this one's answer when it begins to follow
                    // more partitions. What there is to tell it learns from that one.
                    return (session_id, Ok(Vec::new()));
                }
                if session.epoch != expected_epoch {
                    return (session_id, Err(ErrorCode::InvalidFetchSessionEpoch));
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
        asked: Vec<Asked>,
        answers: &[(PartitionKey, A)],
        told: impl Fn(&A) -> Told,
        uses_topic_ids: bool,
        privileged: bool,
        now: Timestamp,
    ) -> i32 {
        let mut cache = self.cache.lock();
        if !cache.make_room(self.slots, (privileged, asked.len()), now) {
            return NO_SESSION;
        }
        let mut partitions = PartitionList::default();
        for one in asked {
            partitions.ask(one);
        }
        for (key, answer) in answers {
            if let Some(cached) = partitions.get_mut(key) {
                let told = told(answer);
                cached.high_watermark = told.high_watermark;
                cached.log_start = told.log_start;
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
        let epoch = next_epoch(INITIAL_EPOCH);
        let overtaken = Arc::default();
        cache.sessions.insert(
            id,
            Session { epoch, privileged, uses_topic_ids, created: now, last_used: now, partitions, overtaken },
        );
        id
    }
}

/// A partition named twice counts once: at its first place, with what was said last.
fn without_repeats(asked: Vec<Asked>) -> Vec<Asked> {
    let mut list = PartitionList::default();
    for one in asked {
        list.ask(one);
    }
    list.ordered.into_values().map(|cached| cached.asked).collect()
}

/// 1 ..= i32::MAX, then 1 again: 0 and -1 have meanings of their own.
const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests;
