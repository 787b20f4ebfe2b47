//! What a coordinator is to its host: a state machine on one partition of an internal topic.
//!
//! ```text
//!   request ──► handle(&hard, &mut soft) ──► records ──► log ──► high watermark ──► effects are released
//!                                               └──► replay(&mut hard)   (at once: the next request decides on it)
//! ```
//!
//! `Hard` is rebuilt from the log alone and changed only by [`StateMachine::replay`]. The shard itself is the soft half
//! (session timers, parked joiners): it may be thrown away at any time and is started anew from `Hard` by
//! [`Shard::loaded`].

use std::fmt;

use bytes::Bytes;
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_state_machine::{Outcome, StateMachine};
use uuid::Uuid;

/// Names one waiting request; unique within a shard's life. The host keeps the way back to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What follows from a decision once its records are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<Response, Action> {
    /// Answers a waiting request. A request without any record is answered by an outcome that only has this.
    Reply(Token, Response),
    /// Refuses a waiting request with an error for the whole of it; the host builds the answer.
    Refuse(Token, ErrorCode),
    /// Something for the host to do.
    Act(Action),
}

/// The producer of a transactional record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A data record. With a producer it belongs to that producer's open transaction, and is written in a transactional
    /// batch of its own.
    Data { key: Bytes, value: Option<Bytes>, producer: Option<Producer> },
    /// The end of a producer's transaction: a control batch.
    Marker { producer: Producer, coordinator_epoch: i32, commit: bool },
}

/// A stored record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable coordinator record: {0}")]
pub struct BadRecord(pub String);

/// Randomness that is handed in, so that a seed reproduces everything.
pub trait Ids {
    /// A fresh random (version 4) UUID.
    fn uuid(&mut self) -> Uuid;

    /// A producer id that nobody else in the cluster ever gets; `None` when none is at hand just now.
    fn producer_id(&mut self) -> Option<ProducerId> {
        None
    }
}

/// What is handed to every decision besides the request.
pub struct Context<'a, S: Shard> {
    /// Now, by the host's clock.
    pub now: Timestamp,
    /// The newest metadata.
    pub image: &'a S::Image,
    /// Settings in force.
    pub config: &'a S::Config,
    pub ids: &'a mut dyn Ids,
}

impl<S: Shard> fmt::Debug for Context<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).finish_non_exhaustive()
    }
}

/// What a shard's decision looks like.
pub type Decision<S> = Outcome<<S as Shard>::Record, Effect<<S as Shard>::Response, <S as Shard>::Action>>;

/// One coordinator on one partition of its topic: the soft half, with the hard half passed in.
///
/// The host promises:
/// - all records of one outcome are appended together or not at all, and replayed into `hard` before the next call;
/// - effects are carried out in order, once everything decided up to then is committed;
/// - a token is answered at most once; a token whose client has gone is ignored;
/// - after [`Shard::append_failed`] or a resignation no effect of the failed outcomes is carried out: their tokens are
///   refused by the host.
pub trait Shard: Sized + Send + 'static {
    /// State rebuilt by replaying the log. Cloned before each append, so maps inside should be persistent ones.
    type Hard: StateMachine<Record = Self::Record> + Default + Send + Sync + 'static;
    type Record: Clone + fmt::Debug + Send + 'static;
    type Request: Send + 'static;
    type Response: Send + 'static;
    type Action: Send + 'static;
    /// Usually `MetadataImage`.
    type Image: Send + Sync + 'static;
    type Config: Send + Sync + 'static;

    /// How a record is written.
    fn encode(record: &Self::Record) -> Stored;

    /// How it is read back; `None` for a record of an unknown (newer) type, which is skipped.
    fn decode(stored: Stored) -> Result<Option<Self::Record>, BadRecord>;

    /// Starts the soft half on a loaded state: timers begin to run anew from now.
    fn loaded(hard: &Self::Hard, cx: &mut Context<'_, Self>) -> (Self, Decision<Self>);

    /// Decides a request. It is answered (by an effect) now or in a later outcome.
    fn handle(
        &mut self,
        hard: &Self::Hard,
        token: Token,
        request: Self::Request,
        cx: &mut Context<'_, Self>,
    ) -> Decision<Self>;

    /// The earliest moment at which [`Shard::on_deadline`] has something to do.
    fn next_deadline(&self, hard: &Self::Hard) -> Option<Timestamp>;

    /// Called at or after [`Shard::next_deadline`].
    fn on_deadline(&mut self, hard: &Self::Hard, cx: &mut Context<'_, Self>) -> Decision<Self>;

    /// The metadata moved on (topics came or went, settings changed).
    fn on_image(&mut self, _hard: &Self::Hard, _cx: &mut Context<'_, Self>) -> Decision<Self> {
        Decision::<Self>::nothing()
    }

    /// The records decided since the last successful append could not be written: `hard` is as before them, and the
    /// tokens that their effects would have answered are already refused with `error`. The soft half makes itself
    /// consistent with `hard` again and answers whoever else can no longer be served.
    fn append_failed(&mut self, hard: &Self::Hard, error: ErrorCode, cx: &mut Context<'_, Self>) -> Decision<Self>;

    /// Every record up to `offset` (exclusive) is committed. For bookkeeping only; answers need nothing of this.
    fn committed(&mut self, _offset: Offset) {}
}
