//! A transaction coordinator with its log, for tests: what the host promises, without a host.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use ottla_metadata::{MetadataImage, MetadataRecord};
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};
use ottla_state_machine::StateMachine;
use uuid::Uuid;

use super::{
    TRANSACTION_VERSION, TransactionAction, TransactionConfig, TransactionRecord, TransactionRequest,
    TransactionResponse, TransactionShard, Transactions,
};
use crate::shard::{Context, Decision, Effect, Ids, Shard, Stored, Token};

/// Hands out producer ids from 1000 on, unless it is out of them.
pub(super) struct TestIds {
    pub(super) next: i64,
    pub(super) out_of_ids: bool,
}

impl Ids for TestIds {
    fn uuid(&mut self) -> Uuid {
        Uuid::nil()
    }

    fn producer_id(&mut self) -> Option<ProducerId> {
        if self.out_of_ids {
            return None;
        }
        self.next += 1;
        Some(ProducerId(self.next - 1))
    }
}

pub(super) type Answer = Result<TransactionResponse, ErrorCode>;

/// What one step led to.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) records: Vec<TransactionRecord>,
    pub(super) answers: Vec<Answer>,
    pub(super) actions: Vec<TransactionAction>,
    /// The records could not be written.
    pub(super) failed: bool,
}

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) image: MetadataImage,
    pub(super) config: TransactionConfig,
    pub(super) ids: TestIds,
    pub(super) log: Vec<Stored>,
    pub(super) hard: Transactions,
    pub(super) soft: TransactionShard,
    /// Appends fail.
    pub(super) log_is_down: bool,
    next_token: u64,
}

impl World {
    pub(super) fn new(transaction_version: i16) -> Self {
        let mut image = MetadataImage::default();
        image.replay(&MetadataRecord::FeatureLevel { name: TRANSACTION_VERSION.into(), level: transaction_version });
        let config = TransactionConfig::default();
        let mut ids = TestIds { next: 1000, out_of_ids: false };
        let hard = Transactions::default();
        let now = Timestamp(0);
        let (soft, _) =
            TransactionShard::loaded(&hard, &mut Context { now, image: &image, config: &config, ids: &mut ids });
        Self { now, image, config, ids, log: Vec::new(), hard, soft, log_is_down: false, next_token: 0 }
    }

    fn decide(
        &mut self,
        decide: impl FnOnce(
            &mut TransactionShard,
            &Transactions,
            &mut Context<'_, TransactionShard>,
        ) -> Decision<TransactionShard>,
    ) -> Step {
        let mut cx = Context { now: self.now, image: &self.image, config: &self.config, ids: &mut self.ids };
        let decision = decide(&mut self.soft, &self.hard, &mut cx);
        if self.log_is_down && !decision.records.is_empty() {
            let mut cx = Context { now: self.now, image: &self.image, config: &self.config, ids: &mut self.ids };
            let more = self.soft.append_failed(&self.hard, ErrorCode::CoordinatorNotAvailable, &mut cx);
            assert!(more.is_nothing());
            let refuse = |effect: &Effect<_, _>| match effect {
                Effect::Act(_) => None,
                Effect::Reply(..) | Effect::Refuse(..) => Some(Err(ErrorCode::CoordinatorNotAvailable)),
            };
            return Step {
                answers: decision.effects.iter().filter_map(refuse).collect(),
                failed: true,
                ..Step::default()
            };
        }
        let mut step = Step { records: decision.records, ..Step::default() };
        for record in &step.records {
            let stored = TransactionShard::encode(record);
            // The log holds all that a reload needs.
            let read = TransactionShard::decode(stored.clone()).unwrap().unwrap();
            let (kept, wrote) = (read.transaction.as_deref(), record.transaction.as_deref());
            assert_eq!(
                kept.map(|t| (t.state, t.producer, &t.partitions)),
                wrote.map(|t| (t.state, t.producer, &t.partitions))
            );
            self.log.push(stored);
            self.hard.replay(record);
        }
        for effect in decision.effects {
            match effect {
                Effect::Reply(_, response) => step.answers.push(Ok(response)),
                Effect::Refuse(_, error) => step.answers.push(Err(error)),
                Effect::Act(action) => step.actions.push(action),
            }
        }
        step
    }

    pub(super) fn ask(&mut self, request: TransactionRequest) -> Step {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.decide(|soft, hard, cx| soft.handle(hard, token, request, cx))
    }

    /// Lets time come to `now`, waking the coordinator whenever it wants.
    pub(super) fn advance(&mut self, now: Timestamp) -> Step {
        let mut all = Step::default();
        for _ in 0..1000 {
            let Some(deadline) = self.soft.next_deadline(&self.hard).filter(|at| *at <= now) else { break };
            self.now = self.now.max(deadline);
            let step = self.decide(|soft, hard, cx| soft.on_deadline(hard, cx));
            all.records.extend(step.records);
            all.actions.extend(step.actions);
            if step.failed {
                all.failed = true;
                break;
            }
        }
        self.now = self.now.max(now);
        all
    }

    /// Another broker loads the log.
    pub(super) fn reload(&mut self) -> Step {
        self.hard = Transactions::default();
        for stored in &self.log {
            let record = TransactionShard::decode(stored.clone()).unwrap().unwrap();
            self.hard.replay(&record);
        }
        let mut cx = Context { now: self.now, image: &self.image, config: &self.config, ids: &mut self.ids };
        let (soft, decision) = TransactionShard::loaded(&self.hard, &mut cx);
        self.soft = soft;
        let act = |effect| match effect {
            Effect::Act(action) => Some(action),
            Effect::Reply(..) | Effect::Refuse(..) => None,
        };
        Step { actions: decision.effects.into_iter().filter_map(act).collect(), ..Step::default() }
    }

    /// Leaves an idle id one epoch, as 32,000 transactions would.
    pub(super) fn use_up_epochs(&mut self, id: &Arc<str>) {
        let current = self.state(id).unwrap();
        let mut worn = super::Transaction::clone(&current);
        worn.producer.epoch = ProducerEpoch(i16::MAX - 1);
        let record =
            TransactionRecord { transactional_id: Arc::clone(id), transaction: Some(Arc::new(worn)), value_version: 1 };
        self.log.push(TransactionShard::encode(&record));
        self.hard.replay(&record);
    }

    pub(super) fn state(&self, id: &str) -> Option<Arc<super::Transaction>> {
        self.hard.get(id).cloned()
    }
}
