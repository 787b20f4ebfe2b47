//! Records of `__consumer_offsets`: offsets, classic groups, and the groups of KIP-848, KIP-932 and KIP-1071.

use bytes::Bytes;

use super::record_kinds;
use crate::wire::Versioned;

record_kinds! {
    /// The key of a record of `__consumer_offsets`, one variant per record type.
    GroupRecordKey,
    /// The value of a record of `__consumer_offsets`; a tombstone is no value.
    GroupRecordValue,
    0 legacy_offset_commit LegacyOffsetCommit LegacyOffsetCommitKey LegacyOffsetCommitValue |_| 0;
    1 offset_commit OffsetCommit OffsetCommitKey OffsetCommitValue OffsetCommitValue::version;
    2 group_metadata GroupMetadata GroupMetadataKey GroupMetadataValue |_| 3;
    3 consumer_group_metadata ConsumerGroupMetadata ConsumerGroupMetadataKey ConsumerGroupMetadataValue |_| 0;
    4 consumer_group_partition_metadata ConsumerGroupPartitionMetadata ConsumerGroupPartitionMetadataKey ConsumerGroupPartitionMetadataValue |_| 0;
    5 consumer_group_member_metadata ConsumerGroupMemberMetadata ConsumerGroupMemberMetadataKey ConsumerGroupMemberMetadataValue |_| 0;
    6 consumer_group_target_assignment_metadata ConsumerGroupTargetAssignmentMetadata ConsumerGroupTargetAssignmentMetadataKey ConsumerGroupTargetAssignmentMetadataValue |_| 0;
    7 consumer_group_target_assignment_member ConsumerGroupTargetAssignmentMember ConsumerGroupTargetAssignmentMemberKey ConsumerGroupTargetAssignmentMemberValue |_| 0;
    8 consumer_group_current_member_assignment ConsumerGroupCurrentMemberAssignment ConsumerGroupCurrentMemberAssignmentKey ConsumerGroupCurrentMemberAssignmentValue |_| 0;
    10 share_group_member_metadata ShareGroupMemberMetadata ShareGroupMemberMetadataKey ShareGroupMemberMetadataValue |_| 0;
    11 share_group_metadata ShareGroupMetadata ShareGroupMetadataKey ShareGroupMetadataValue |_| 0;
    12 share_group_target_assignment_metadata ShareGroupTargetAssignmentMetadata ShareGroupTargetAssignmentMetadataKey ShareGroupTargetAssignmentMetadataValue |_| 0;
    13 share_group_target_assignment_member ShareGroupTargetAssignmentMember ShareGroupTargetAssignmentMemberKey ShareGroupTargetAssignmentMemberValue |_| 0;
    14 share_group_current_member_assignment ShareGroupCurrentMemberAssignment ShareGroupCurrentMemberAssignmentKey ShareGroupCurrentMemberAssignmentValue |_| 0;
    15 share_group_state_partition_metadata ShareGroupStatePartitionMetadata ShareGroupStatePartitionMetadataKey ShareGroupStatePartitionMetadataValue |_| 0;
    16 consumer_group_regular_expression ConsumerGroupRegularExpression ConsumerGroupRegularExpressionKey ConsumerGroupRegularExpressionValue |_| 0;
    17 streams_group_metadata StreamsGroupMetadata StreamsGroupMetadataKey StreamsGroupMetadataValue |_| 0;
    19 streams_group_member_metadata StreamsGroupMemberMetadata StreamsGroupMemberMetadataKey StreamsGroupMemberMetadataValue |_| 0;
    20 streams_group_target_assignment_metadata StreamsGroupTargetAssignmentMetadata StreamsGroupTargetAssignmentMetadataKey StreamsGroupTargetAssignmentMetadataValue |_| 0;
    21 streams_group_target_assignment_member StreamsGroupTargetAssignmentMember StreamsGroupTargetAssignmentMemberKey StreamsGroupTargetAssignmentMemberValue |_| 0;
    22 streams_group_current_member_assignment StreamsGroupCurrentMemberAssignment StreamsGroupCurrentMemberAssignmentKey StreamsGroupCurrentMemberAssignmentValue |_| 0;
    23 streams_group_topology StreamsGroupTopology StreamsGroupTopologyKey StreamsGroupTopologyValue |_| 0;
}

impl OffsetCommitValue {
    /// The version to write: 1 is the only one with an expiry, which a request of v2 to v4 may ask for.
    const fn version(&self) -> i16 {
        if self.expire_timestamp == -1 { Self::VERSION_MAX } else { 1 }
    }
}
