//! DescribeTransactions and ListTransactions.

use std::sync::Arc;

use ottla_protocol::{ErrorCode, Timestamp};
use ottla_state_machine::Outcome;

use super::message::{Listing, TransactionFilter, TransactionResponse};
use super::shard::{Decided, Ruling, reply};
use super::state::{Transaction, Transactions};
use crate::shard::Token;

impl Transactions {
    pub(super) fn describe(&self, token: Token, id: &str) -> Ruling {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let transaction = self.get(id).ok_or(ErrorCode::TransactionalIdNotFound)?;
        Ok(Outcome::effect(reply(token, TransactionResponse::Described(Arc::clone(transaction)))))
    }

    pub(super) fn list(&self, token: Token, filter: &TransactionFilter, now: Timestamp) -> Decided {
        let wanted = |id: &str, transaction: &Transaction| {
            (filter.producer_ids.is_empty() || filter.producer_ids.contains(&transaction.producer.id.0))
                && (!filter.by_state || filter.states.contains(&transaction.state))
                && filter.duration_ms.is_none_or(|duration_ms| now.0 - transaction.start.0 > duration_ms)
                && filter.pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
        };
        let listing = |(id, transaction): (&Arc<str>, &Arc<Transaction>)| Listing {
            transactional_id: Arc::clone(id),
            producer_id: transaction.producer.id,
            state: transaction.state,
        };
        let listed = self.iter().filter(|(id, transaction)| wanted(id, transaction)).map(listing).collect();
        Outcome::effect(reply(token, TransactionResponse::Listed(listed)))
    }
}
