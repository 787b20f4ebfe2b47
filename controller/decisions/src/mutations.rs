//! How many partitions a client may create and delete (KIP-599): counted where it is decided, once for the whole cluster, after
//! everything else was checked. Lost with the office of the controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::ClientQuotasImage;
use ottla_metadata::quotas::{Found, Sharers};
use ottla_protocol::{ErrorCode, Timestamp};

use crate::error::ApiError;
use crate::state::Context;

const KEY: &str = "controller_mutation_rate";
/// Clients whose use is remembered; beyond it new ones share one account.
const ACCOUNTS_MAX: usize = 10_000;
/// A day is as good as for ever, and the quota may be raised meanwhile.
const WAIT_MS_MAX: f64 = 86_400_000.0;

/// What clients with a quota have used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mutations {
    buckets: BTreeMap<Sharers, TokenBucket>,
}

/// Fills at the quota's rate and holds as much as all windows together would: bursts are free until it is empty.
#[derive(Debug, Clone)]
struct TokenBucket {
    tokens: f64,
    /// The quota: tokens per second.
    rate: f64,
    tokens_max: f64,
    at: Timestamp,
}

/// What one request may still change.
pub(crate) struct MutationQuota<'a> {
    /// `None` where no quota holds. Refilled up to the request.
    bucket: Option<&'a mut TokenBucket>,
    is_strict: bool,
    wait_ms: i32,
}

impl Mutations {
    /// The quota of whoever asks. From `strict_since` on clients understand that a change is refused; older ones are only slowed
    /// down.
    pub(crate) fn quota_of(
        &mut self,
        quotas: &ClientQuotasImage,
        burst_seconds: f64,
        cx: &Context<'_>,
        strict_since: i16,
    ) -> MutationQuota<'_> {
        let user = cx.origin.principal.split_once(':').map(|(_, name)| Arc::from(name));
        let found = user.and_then(|user| quotas.find(KEY, &user, &cx.origin.client_id));
        let bucket = found.map(|found| self.bucket(found, burst_seconds, cx.now));
        MutationQuota { bucket, is_strict: cx.origin.api_version >= strict_since, wait_ms: 0 }
    }

    fn bucket(&mut self, found: Found, burst_seconds: f64, now: Timestamp) -> &mut TokenBucket {
        let Found { bound: rate, shared_by: mut account } = found;
        if self.buckets.len() >= ACCOUNTS_MAX && !self.buckets.contains_key(&account) {
            // A full one is as good as none.
            self.buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < bucket.tokens_max
            });
            if self.buckets.len() >= ACCOUNTS_MAX {
                account = ("".into(), "".into());
            }
        }
        let tokens_max = rate * burst_seconds;
        let full = TokenBucket { tokens: tokens_max, rate, tokens_max, at: now };
        let bucket = self.buckets.entry(account).or_insert(full);
        bucket.refill(now);
        // The quota may have been changed.
        (bucket.rate, bucket.tokens_max) = (rate, tokens_max);
        bucket
    }
}

impl TokenBucket {
    fn refill(&mut self, now: Timestamp) {
        let passed_ms = (now.0 - self.at.0).max(0) as f64;
        self.tokens = (self.tokens + self.rate * passed_ms / 1000.0).min(self.tokens_max);
        self.at = now;
    }

    /// Milliseconds until it is out of debt; 0 when it is not in debt.
    fn debt_ms(&self) -> i32 {
        if self.tokens >= 0.0 {
            return 0;
        }
        (-self.tokens / self.rate * 1000.0).min(WAIT_MS_MAX).round() as i32
    }
}

impl MutationQuota<'_> {
    /// Takes what the creation or deletion of so many partitions costs, also where that is more than is there.
    ///
    /// # Errors
    /// `ThrottlingQuotaExceeded` when the client is in debt already, and understands that.
    pub(crate) fn take(&mut self, partitions: usize) -> Result<(), ApiError> {
        let Some(bucket) = &mut self.bucket else { return Ok(()) };
        let debt_ms = bucket.debt_ms();
        if self.is_strict && debt_ms > 0 {
            self.wait_ms = debt_ms;
            return Err(ApiError::bare(ErrorCode::ThrottlingQuotaExceeded));
        }
        bucket.tokens -= partitions as f64;
        if !self.is_strict {
            self.wait_ms = bucket.debt_ms();
        }
        Ok(())
    }

    /// How long the client should wait.
    pub(crate) fn throttle_ms(&self) -> i32 {
        self.wait_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST_SECONDS: f64 = 11.0;

    fn found(bound: f64, client: usize) -> Found {
        Found { bound, shared_by: ("".into(), client.to_string().into()) }
    }

    #[test]
    fn a_burst_is_free_and_debt_is_paid_at_the_quotas_rate() {
        let mut mutations = Mutations::default();
        let mut debt = |used: f64, now: i64| {
            let bucket = mutations.bucket(found(2.0, 1), BURST_SECONDS, Timestamp(now));
            bucket.tokens -= used;
            bucket.debt_ms()
        };
        assert_eq!(debt(22.0, 0), 0, "a burst of all windows");
        assert_eq!(debt(10.0, 0), 5000);
        assert_eq!(debt(0.0, 4000), 1000);
        assert_eq!(debt(0.0, 5000), 0);
        assert_eq!(debt(22.0, 100_000), 0, "no more than that is saved up");
        assert_eq!(debt(1.0, 100_000), 500);
    }

    #[test]
    fn accounts_are_bounded_and_each_pays_at_its_own_rate() {
        let mut mutations = Mutations::default();
        for client in 0..ACCOUNTS_MAX {
            mutations.bucket(found(1.0, client), BURST_SECONDS, Timestamp(0)).tokens = -100.0;
        }
        let rich = mutations.bucket(found(1000.0, ACCOUNTS_MAX), BURST_SECONDS, Timestamp(1000));
        assert_eq!(rich.tokens, 11_000.0);
        rich.tokens = -1.0;
        assert_eq!(mutations.buckets.len(), ACCOUNTS_MAX + 1, "one for all that are too many");
        let poor = mutations.bucket(found(1.0, 7), BURST_SECONDS, Timestamp(1000));
        assert_eq!(poor.debt_ms(), 99_000);
        // In time all are out of debt, and forgotten.
        mutations.bucket(found(1.0, ACCOUNTS_MAX + 1), BURST_SECONDS, Timestamp(1_000_000));
        assert_eq!(mutations.buckets.len(), 1);
    }
}
