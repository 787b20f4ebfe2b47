//! Classic groups: members join, one of them assigns, all of them sync.
//!
//! ```text
//!   Empty ──join──► PreparingRebalance ──all joined, or time is up──► CompletingRebalance ──leader syncs──► Stable
//!     ▲                    ▲   │ nobody left                                   │ a change                    │ a change
//!     └────────────────────┼───┘                                              │                             │
//!                          └──────────────────────────────────────────────────┴─────────────────────────────┘
//! ```
//!
//! The log gets one record per finished generation (and for a replaced static member), before its sync answers leave.

mod group;
mod heartbeat;
mod join;
mod leave;
mod rebalance;
mod subscription;
mod sync;

pub(crate) use group::{ClassicState, LiveGroup, Member as ClassicMember};
pub(crate) use join::Join;
pub(crate) use leave::member_response;
pub(crate) use rebalance::{Cause, after, join_error, reply_join};
pub(crate) use subscription::{Subscription, parse_assignment, parse_subscription, write_assignment};
pub(crate) use sync::{reply_sync, reply_sync_error};
