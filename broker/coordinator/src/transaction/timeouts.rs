//! What time does: transactions that run too long are aborted, ids that nobody uses are forgotten.

use ottla_protocol::Timestamp;

use super::record::TransactionRecord;
use super::shard::{Cx, Decided, TransactionShard};
use super::state::Transactions;

/// Ids that one decision forgets; the rest follows in the next.
const EXPIRE_MAX: usize = 500;
/// Transactions that one decision aborts; a record may carry many partitions.
const ABORT_MAX: usize = 50;
/// Bytes of what one decision aborts: it is one batch. A single larger one goes by itself.
const ABORT_BYTES_MAX: usize = 256 * 1024;
/// The shortest wait for ids to expire; the setting itself is looked at when the moment has come.
const EXPIRY_LOOK_MS: i64 = 60_000;

impl TransactionShard {
    pub(super) fn next_abort(&self, hard: &Transactions) -> Option<Timestamp> {
        Some(Timestamp(hard.first_deadline()?.0 + 1).max(self.last_abort_sweep))
    }

    pub(super) fn next_expiry(&self, hard: &Transactions) -> Option<Timestamp> {
        hard.first_idle()?;
        Some(Timestamp(self.last_expiry_sweep.0.saturating_add(EXPIRY_LOOK_MS)))
    }

    pub(super) fn abort_timed_out(&mut self, hard: &Transactions, cx: &mut Cx<'_>) -> Decided {
        let mut decision = Decided::nothing();
        if self.next_abort(hard).is_none_or(|at| at > cx.now) {
            return decision;
        }
        let mut bytes = 0;
        let fits = |id: &&std::sync::Arc<str>| {
            let partitions =
                hard.get(id).map_or(0, |of| of.partitions.iter().map(|p| p.topic.len() + 8).sum::<usize>());
            let own = id.len() + 128 + partitions;
            let fits = bytes == 0 || bytes + own <= ABORT_BYTES_MAX;
            bytes += own;
            fits
        };
        let due: Vec<_> = hard.timed_out(cx.now).take(ABORT_MAX).take_while(fits).cloned().collect();
        let is_all = hard.timed_out(cx.now).nth(due.len()).is_none();
        // The next look: at once when there is more to do, else after the interval. A transaction that could not be
        // aborted for want of a producer id is tried again then.
        let wait_ms = if is_all { cx.config.abort_interval_ms.max(1) } else { 1 };
        self.last_abort_sweep = Timestamp(cx.now.0 + wait_ms);
        for id in due {
            if let Ok(aborted) = hard.fence(&id, "the transaction timed out", cx) {
                decision.extend(aborted);
            }
        }
        decision
    }

    pub(super) fn expire_ids(&mut self, hard: &Transactions, cx: &Cx<'_>) -> Decided {
        let mut decision = Decided::nothing();
        if self.next_expiry(hard).is_none_or(|at| at > cx.now) {
            return decision;
        }
        let unused_since = Timestamp(cx.now.0.saturating_sub(cx.config.id_expiration_ms));
        let forget = |id: &std::sync::Arc<str>| TransactionRecord {
            transactional_id: id.clone(),
            transaction: None,
            value_version: 0,
        };
        decision.records = hard.idle_since(unused_since).take(EXPIRE_MAX).map(forget).collect();
        if decision.records.len() < EXPIRE_MAX {
            let interval_ms = cx.config.expiry_interval_ms.max(1);
            self.last_expiry_sweep = Timestamp(cx.now.0 + (interval_ms - EXPIRY_LOOK_MS).max(0));
        } else {
            self.last_expiry_sweep = Timestamp(cx.now.0 + 1 - EXPIRY_LOOK_MS);
        }
        decision
    }
}
