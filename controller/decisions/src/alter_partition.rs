//! AlterPartition: a leader says who is in sync; AssignReplicasToDirs: a broker says where its replicas are.

use std::collections::BTreeSet;

use ottla_metadata::{MetadataRecord, PartitionChange, PartitionImage, TopicImage};
use ottla_protocol::messages::alter_partition_request::PartitionData as Asked;
use ottla_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use ottla_protocol::messages::{
    AlterPartitionRequest, AlterPartitionResponse, AssignReplicasToDirsRequest, AssignReplicasToDirsResponse,
    assign_replicas_to_dirs_response as dirs_response,
};
use ottla_protocol::{BrokerId, ErrorCode, TopicId};
use uuid::Uuid;

use crate::elections::{BrokerMove, TopicRules};
use crate::partition_change::PartitionChangeBuilder;
use crate::request::Decision;
use crate::state::{Context, ControllerState};

impl ControllerState {
    /// AlterPartition, v2-3. v3 names the broker epochs of the new ISR.
    pub(crate) fn alter_partition(
        &self,
        request: &AlterPartitionRequest,
        cx: &Context<'_>,
    ) -> Decision<AlterPartitionResponse> {
        let leader = BrokerId(request.broker_id.0);
        if let Err(error) = self.check_broker_epoch(leader, request.broker_epoch) {
            return Decision::answer(AlterPartitionResponse::default().with_error_code(error.code.code()));
        }
        let mut records = Vec::new();
        let mut topics = Vec::new();
        for asked in &request.topics {
            let topic = self.image.topics.by_id(TopicId(asked.topic_id));
            let mut answer = TopicData::default().with_topic_id(asked.topic_id);
            // Looked up once for all partitions of the topic.
            let topic = topic.map(|topic| (topic.as_ref(), self.rules_of(&topic.name)));
            for partition in &asked.partitions {
                let altered = match topic {
                    None => Err(ErrorCode::UnknownTopicId),
                    Some(topic) => self.alter_one(leader, topic, partition, cx.origin.api_version, &mut records),
                };
                if altered == Err(ErrorCode::IneligibleReplica)
                    && let Some((topic, _)) = topic
                {
                    records.extend(self.refuse_for_good(topic, partition));
                }
                let base = PartitionData::default().with_partition_index(partition.partition_index);
                answer.partitions.push(match altered {
                    Err(code) => base.with_error_code(code.code()),
                    Ok(now) => base
                        .with_leader_id(now.leader.map_or(-1, |leader| leader.0).into())
                        .with_leader_epoch(now.leader_epoch.0)
                        .with_isr(now.isr.iter().map(|id| id.0.into()).collect())
                        .with_leader_recovery_state(i8::from(now.recovering))
                        .with_partition_epoch(now.partition_epoch),
                });
            }
            topics.push(answer);
        }
        Decision { records, response: AlterPartitionResponse::default().with_topics(topics) }
    }

    fn alter_one(
        &self,
        leader: BrokerId,
        (topic, rules): (&TopicImage, TopicRules),
        asked: &Asked,
        version: i16,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<PartitionImage, ErrorCode> {
        let partition = topic.partition(asked.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let wanted: Vec<(BrokerId, i64)> = if version < 3 {
            asked.new_isr.iter().map(|id| (BrokerId(id.0), -1)).collect()
        } else {
            asked.new_isr_with_epochs.iter().map(|state| (BrokerId(state.broker_id.0), state.broker_epoch)).collect()
        };
        self.check_new_isr(leader, partition, asked, &wanted)?;
        let acceptable = |broker| self.is_acceptable_leader(partition, broker);
        let default_dir = |broker| self.default_dir(broker);
        let change = PartitionChangeBuilder::new(partition, topic.id, asked.partition_index, &acceptable, &default_dir)
            .elr(rules.elr_enabled, rules.min_isr)
            .election(rules.election)
            .isr(wanted.iter().map(|(id, _)| *id).collect())
            .recovering(asked.leader_recovery_state == 1)
            .build();
        let Some(change) = change else { return Ok(partition.as_ref().clone()) };
        let now = partition.merge(&change);
        let led_by_another = change.leader.is_some_and(|new| new != Some(leader));
        records.push(MetadataRecord::PartitionChanged { change });
        // The change completed a reassignment that took the leader's own replica away: it must look again.
        if led_by_another { Err(ErrorCode::NewLeaderElected) } else { Ok(now) }
    }

    fn check_new_isr(
        &self,
        leader: BrokerId,
        partition: &PartitionImage,
        asked: &Asked,
        wanted: &[(BrokerId, i64)],
    ) -> Result<(), ErrorCode> {
        // A leader that is ahead has heard from a newer controller than this one.
        if asked.leader_epoch > partition.leader_epoch.0 || asked.partition_epoch > partition.partition_epoch {
            return Err(ErrorCode::NotController);
        }
        if asked.leader_epoch < partition.leader_epoch.0 {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if partition.leader != Some(leader) {
            return Err(ErrorCode::InvalidRequest);
        }
        if asked.partition_epoch < partition.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let distinct: BTreeSet<BrokerId> = wanted.iter().map(|(id, _)| *id).collect();
        let are_replicas = distinct.iter().all(|id| partition.replicas.contains(id));
        if distinct.is_empty() || distinct.len() != wanted.len() || !are_replicas || !distinct.contains(&leader) {
            return Err(ErrorCode::InvalidRequest);
        }
        let recovering = asked.leader_recovery_state == 1;
        if recovering && (wanted.len() > 1 || !partition.recovering) {
            return Err(ErrorCode::InvalidRequest);
        }
        let eligible = |(id, epoch): &(BrokerId, i64)| {
            let broker = self.image.brokers.get(id);
            broker.is_some_and(|broker| broker.is_active() && (*epoch == -1 || *epoch == broker.epoch))
        };
        // What it fetched before its disk failed counts for nothing.
        let is_online = |(id, _): &(BrokerId, i64)| self.replica_is_online(partition, *id);
        if wanted.iter().all(|one| eligible(one) && is_online(one)) {
            Ok(())
        } else {
            Err(ErrorCode::IneligibleReplica)
        }
    }

    /// Raises the partition epoch and changes nothing else. The leader that is refused lets the high watermark pass who was not
    /// to join; a copy of its request that was sent before, to a controller that was frozen then, must not be granted once that
    /// broker is no longer fenced: it would be in sync without what was committed meanwhile. Whatever else it is refused for, a
    /// directory or another life of the broker, is mended by what outdates the request anyway.
    fn refuse_for_good(&self, topic: &TopicImage, asked: &Asked) -> Option<MetadataRecord> {
        let partition = topic.partition(asked.partition_index)?;
        let with_epochs = asked.new_isr_with_epochs.iter().map(|state| state.broker_id.0);
        let mut wanted = asked.new_isr.iter().map(|id| id.0).chain(with_epochs);
        let is_fenced = |id: i32| self.image.brokers.get(&BrokerId(id)).is_some_and(|broker| broker.fenced);
        if !wanted.any(is_fenced) {
            return None;
        }
        let index = asked.partition_index;
        let change = PartitionChange { isr: Some(partition.isr.clone()), ..PartitionChange::new(topic.id, index) };
        Some(MetadataRecord::PartitionChanged { change })
    }

    /// AssignReplicasToDirs, all versions (KIP-858).
    pub(crate) fn assign_replicas_to_dirs(
        &self,
        request: &AssignReplicasToDirsRequest,
    ) -> Decision<AssignReplicasToDirsResponse> {
        let id = BrokerId(request.broker_id.0);
        let broker = match self.check_broker_epoch(id, request.broker_epoch) {
            Ok(broker) => broker,
            Err(error) => {
                return Decision::answer(AssignReplicasToDirsResponse::default().with_error_code(error.code.code()));
            }
        };
        let mut records = Vec::new();
        let mut now_offline = BTreeSet::new();
        let mut directories = Vec::new();
        for asked in &request.directories {
            let mut directory = dirs_response::DirectoryData::default().with_id(asked.id);
            for topic in &asked.topics {
                let mut answer = dirs_response::TopicData::default().with_topic_id(topic.topic_id);
                let found = self.image.topics.by_id(TopicId(topic.topic_id));
                let found = found.map(|found| (found.as_ref(), self.rules_of(&found.name)));
                for partition in &topic.partitions {
                    let index = partition.partition_index;
                    let assigned = found.ok_or(ErrorCode::UnknownTopicId);
                    let assigned = assigned.and_then(|found| self.assign_to_dir(id, found, index, asked.id));
                    let code = match assigned {
                        Ok(record) => {
                            records.extend(record);
                            if !broker.has_online_dir(asked.id) {
                                now_offline.insert((TopicId(topic.topic_id), index));
                            }
                            ErrorCode::None
                        }
                        Err(code) => code,
                    };
                    let result = dirs_response::PartitionData::default().with_partition_index(index);
                    answer.partitions.push(result.with_error_code(code.code()));
                }
                directory.topics.push(answer);
            }
            directories.push(directory);
        }
        if !now_offline.is_empty() {
            let moved = BrokerMove { gone: Some(id), ..BrokerMove::default() };
            records.extend(self.after_broker_move_in(moved, |topic, index, _| now_offline.contains(&(topic, index))));
        }
        Decision { records, response: AssignReplicasToDirsResponse::default().with_directories(directories) }
    }

    fn assign_to_dir(
        &self,
        broker: BrokerId,
        (topic, rules): (&TopicImage, TopicRules),
        index: i32,
        dir: Uuid,
    ) -> Result<Option<MetadataRecord>, ErrorCode> {
        let partition = topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        // From a directory that is gone the replica could not lead; from where it is now it can.
        let is_online = self.image.brokers.get(&broker).is_some_and(|broker| broker.has_online_dir(dir));
        let acceptable = |candidate| match candidate == broker && is_online {
            true => self.image.is_active(candidate),
            false => self.is_acceptable_leader(partition, candidate),
        };
        let default_dir = |broker| self.default_dir(broker);
        let change = PartitionChangeBuilder::new(partition, topic.id, index, &acceptable, &default_dir)
            .elr(rules.elr_enabled, rules.min_isr)
            .directory(broker, dir)
            .build();
        Ok(change.map(|change| MetadataRecord::PartitionChanged { change }))
    }
}
