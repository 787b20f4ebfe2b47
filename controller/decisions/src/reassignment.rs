//! Moving replicas (KIP-455): begin, change, cancel, list.
//!
//! ```text
//!   replicas 1 2 3   wish 2 3 4
//!   during:  replicas 2 3 4 1   adding 4   removing 1        until 4 is in sync
//!   after:   replicas 2 3 4
//! ```

use ottla_metadata::{MetadataRecord, PartitionImage, TopicImage};
use ottla_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use ottla_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};
use ottla_protocol::{BrokerId, ErrorCode};

use crate::error::{ApiError, wire};
use crate::partition_change::PartitionChangeBuilder;
use crate::request::Decision;
use crate::state::ControllerState;
use ottla_protocol::topic_names::shown;

impl ControllerState {
    /// AlterPartitionReassignments, v0-1. v1 may forbid a change of the replication factor.
    pub(crate) fn alter_partition_reassignments(
        &self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Decision<AlterPartitionReassignmentsResponse> {
        let may_change_factor = request.allow_replication_factor_change;
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut answer = ReassignableTopicResponse::default().with_name(topic.name.clone());
            for asked in &topic.partitions {
                let changed = self.reassign(topic.name.as_str(), asked, may_change_factor);
                let (error_code, error_message) = wire(&changed);
                records.extend(changed.ok().flatten());
                answer.partitions.push(
                    ReassignablePartitionResponse::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(error_code)
                        .with_error_message(error_message),
                );
            }
            responses.push(answer);
        }
        let response = AlterPartitionReassignmentsResponse::default()
            .with_error_message(None)
            .with_allow_replication_factor_change(may_change_factor)
            .with_responses(responses);
        Decision { records, response }
    }

    fn reassign(
        &self,
        name: &str,
        asked: &ReassignablePartition,
        may_change_factor: bool,
    ) -> Result<Option<MetadataRecord>, ApiError> {
        let unknown = |message: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, message);
        let topic = self.image.topics.by_name(name);
        let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {}.", shown(name))))?;
        let index = asked.partition_index;
        let partition =
            topic.partition(index).ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
        match &asked.replicas {
            None => self.cancel_reassignment(topic, index, partition),
            Some(wanted) => {
                let wanted: Vec<BrokerId> = wanted.iter().map(|id| BrokerId(id.0)).collect();
                self.begin_reassignment(topic, index, partition, &wanted, may_change_factor)
            }
        }
    }

    pub(crate) fn begin_reassignment(
        &self,
        topic: &TopicImage,
        index: i32,
        partition: &PartitionImage,
        wanted: &[BrokerId],
        may_change_factor: bool,
    ) -> Result<Option<MetadataRecord>, ApiError> {
        self.check_manual_assignment(wanted, None)?;
        let current = &partition.replicas;
        if !may_change_factor {
            let staying = current.iter().filter(|replica| !partition.removing_replicas.contains(replica)).count();
            if staying != wanted.len() {
                let message = format!("The replication factor is changed from {staying} to {}", wanted.len());
                return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, message));
            }
        }
        let mut removing: Vec<BrokerId> = current.iter().copied().filter(|r| !wanted.contains(r)).collect();
        removing.sort_unstable();
        // What an earlier wish is still adding counts as added only once it is in sync. What this wish does not name is
        // removed, be it one that was being added: in both lists it could never be done with. (Kafka keeps the earlier
        // lists where the new ones are empty, and such a partition moves for ever.)
        let is_new = |r: &BrokerId| !current.contains(r) || partition.adding_replicas.contains(r);
        let mut adding: Vec<BrokerId> = wanted.iter().copied().filter(is_new).collect();
        adding.sort_unstable();
        let mut replicas = wanted.to_vec();
        replicas.extend(&removing);
        Ok(self.built(topic, index, partition, |builder| builder.replicas(replicas).adding(adding).removing(removing)))
    }

    fn cancel_reassignment(
        &self,
        topic: &TopicImage,
        index: i32,
        partition: &PartitionImage,
    ) -> Result<Option<MetadataRecord>, ApiError> {
        if !partition.is_reassigning() {
            return Err(ApiError::bare(ErrorCode::NoReassignmentInProgress));
        }
        let original = |replicas: &[BrokerId]| -> Vec<BrokerId> {
            replicas.iter().copied().filter(|replica| !partition.adding_replicas.contains(replica)).collect()
        };
        let (replicas, mut isr) = (original(&partition.replicas), original(&partition.isr));
        if isr.is_empty() {
            let name = &topic.name;
            let Some(first) = replicas.first() else {
                let message = "Invalid replica assignment: addingReplicas contains all replicas.";
                return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
            };
            if !self.unclean_election_enabled(name) {
                let message = format!(
                    "Unable to revert partition assignment for {name}:{index} because it would require an unclean \
                     leader election."
                );
                return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            isr.push(*first);
        }
        let election = self.usual_election(&topic.name);
        Ok(self.built(topic, index, partition, |builder| {
            builder.election(election).isr(isr).replicas(replicas).adding(Vec::new()).removing(Vec::new())
        }))
    }

    fn built(
        &self,
        topic: &TopicImage,
        index: i32,
        partition: &PartitionImage,
        wish: impl FnOnce(PartitionChangeBuilder<'_>) -> PartitionChangeBuilder<'_>,
    ) -> Option<MetadataRecord> {
        let acceptable = |broker| self.is_acceptable_leader(partition, broker);
        let default_dir = |broker| self.default_dir(broker);
        let builder = PartitionChangeBuilder::new(partition, topic.id, index, &acceptable, &default_dir)
            .elr(self.elr_enabled(), self.effective_min_isr(&topic.name));
        let change = wish(builder).build()?;
        Some(MetadataRecord::PartitionChanged { change })
    }

    /// ListPartitionReassignments, v0.
    pub(crate) fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let ids = |replicas: &[BrokerId]| replicas.iter().map(|id| id.0.into()).collect();
        let ongoing = |topic: &TopicImage, index: i32| {
            let partition = topic.partition(index).filter(|partition| partition.is_reassigning())?;
            Some(
                OngoingPartitionReassignment::default()
                    .with_partition_index(index)
                    .with_replicas(ids(&partition.replicas))
                    .with_adding_replicas(ids(&partition.adding_replicas))
                    .with_removing_replicas(ids(&partition.removing_replicas)),
            )
        };
        let mut topics = Vec::new();
        let mut list = |topic: &TopicImage, indexes: &[i32]| {
            let partitions: Vec<_> = indexes.iter().filter_map(|index| ongoing(topic, *index)).collect();
            if !partitions.is_empty() {
                let name = crate::topic_name(&topic.name);
                topics.push(OngoingTopicReassignment::default().with_name(name).with_partitions(partitions));
            }
        };
        match &request.topics {
            None => {
                for topic in self.image.topics.iter() {
                    list(topic, &(0..).take(topic.partitions.len()).collect::<Vec<_>>());
                }
            }
            Some(asked) => {
                for asked in asked {
                    if let Some(topic) = self.image.topics.by_name(asked.name.as_str()) {
                        list(topic, &asked.partition_indexes);
                    }
                }
            }
        }
        ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics)
    }
}
