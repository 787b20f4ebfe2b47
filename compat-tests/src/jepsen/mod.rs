//! A checker of transactional logs in the manner of Jepsen's: what clients did and saw, held against what Kafka promises.
//!
//! Clients write down every transaction as one line of JSON ([`history`]); values are unique, keys are partitions. The
//! checker ([`check()`]) knows nothing of brokers: it says which promise was broken, and by which records.
//!
//! An unknown outcome (a commit that was never answered) is never held against anybody: such a transaction may have
//! happened or not, but not by half.

pub mod check;
mod cycles;
pub mod history;
pub mod run;

pub use check::{Anomaly, Kind, Report, check};
pub use history::{History, Outcome};
