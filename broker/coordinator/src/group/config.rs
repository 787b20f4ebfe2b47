//! Settings of the group coordinator, with Kafka's names and defaults.

use std::sync::Arc;

/// Which live migrations between the two group protocols are allowed (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MigrationPolicy {
    /// Both ways.
    #[default]
    Bidirectional,
    /// Classic to consumer only.
    Upgrade,
    /// Consumer to classic only.
    Downgrade,
    /// Neither.
    Disabled,
}

impl MigrationPolicy {
    /// From classic to consumer.
    pub const fn allows_upgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    /// From consumer to classic.
    pub const fn allows_downgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// Settings in force, as the broker's configuration gives them. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub classic_session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub classic_session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`
    pub classic_initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub classic_members_max: usize,
    /// How long a new member of a classic group may wait for its join to complete; Kafka has no setting for it.
    pub classic_new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms`
    pub consumer_session_timeout_ms_min: i32,
    /// `group.consumer.max.session.timeout.ms`
    pub consumer_session_timeout_ms_max: i32,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms_min: i32,
    /// `group.consumer.max.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms_max: i32,
    /// `group.consumer.max.size`
    pub consumer_members_max: usize,
    /// `group.consumer.assignors`: names of the built-in assignors, the first is the default.
    pub consumer_assignors: Vec<Arc<str>>,
    /// `group.consumer.migration.policy`
    pub consumer_migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`
    pub consumer_regex_refresh_interval_ms: i64,
    /// `group.consumer.assignment.interval.ms`: the least time between two target assignments of one group.
    pub consumer_assignment_interval_ms: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            classic_session_timeout_ms_min: 6_000,
            classic_session_timeout_ms_max: 1_800_000,
            classic_initial_rebalance_delay_ms: 3_000,
            classic_members_max: i32::MAX as usize,
            classic_new_member_join_timeout_ms: 300_000,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            consumer_session_timeout_ms: 45_000,
            consumer_session_timeout_ms_min: 45_000,
            consumer_session_timeout_ms_max: 60_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_heartbeat_interval_ms_min: 5_000,
            consumer_heartbeat_interval_ms_max: 15_000,
            consumer_members_max: i32::MAX as usize,
            consumer_assignors: vec![Arc::from("uniform"), Arc::from("range")],
            consumer_migration_policy: MigrationPolicy::Bidirectional,
            consumer_regex_refresh_interval_ms: 600_000,
            consumer_assignment_interval_ms: 1_000,
        }
    }
}
