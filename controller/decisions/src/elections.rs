//! Who leads: after a broker came, went or was fenced, by ElectLeaders, and by the balancing that runs now and then.

use ottla_metadata::{MetadataRecord, PartitionImage, TopicImage};
use ottla_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use ottla_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use ottla_protocol::{BrokerId, ErrorCode, TopicId};

use crate::error::{ApiError, wire};
use crate::partition_change::{Election, PartitionChangeBuilder};
use crate::request::Decision;
use crate::state::ControllerState;
use ottla_protocol::topic_names::shown;

/// What happened to a broker, as the partitions see it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BrokerMove {
    /// Leaves every ISR and leads nothing.
    pub gone: Option<BrokerId>,
    /// May lead from now on, though the image still shows it fenced.
    pub back: Option<BrokerId>,
    /// Came back after a crash: neither in sync nor eligible any more.
    pub crashed: Option<BrokerId>,
}

/// What the configuration says of the partitions of a topic. To look it up takes longer than to decide on one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopicRules {
    pub elr_enabled: bool,
    pub min_isr: usize,
    pub election: Election,
}

impl ControllerState {
    /// What the configuration says of a topic now.
    pub(crate) fn rules_of(&self, topic: &str) -> TopicRules {
        TopicRules {
            elr_enabled: self.elr_enabled(),
            min_isr: self.effective_min_isr(topic),
            election: self.usual_election(topic),
        }
    }

    /// Records for every partition that `concerned` picks, after a broker's move.
    pub(crate) fn after_broker_move(
        &self,
        moved: BrokerMove,
        concerned: impl Fn(&PartitionImage) -> bool,
    ) -> Vec<MetadataRecord> {
        self.after_broker_move_in(moved, |_, _, partition| concerned(partition))
    }

    /// The same where the place of the partition counts too.
    pub(crate) fn after_broker_move_in(
        &self,
        moved: BrokerMove,
        concerned: impl Fn(TopicId, i32, &PartitionImage) -> bool,
    ) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        let is_up = |broker: BrokerId| {
            Some(broker) != moved.gone
                && Some(broker) != moved.crashed
                && (Some(broker) == moved.back || self.image.is_active(broker))
        };
        for topic in self.image.topics.iter() {
            // Looked up once for all partitions of the topic, if it has one that is concerned.
            let mut rules = None;
            for (index, partition) in (0..).zip(&topic.partitions) {
                if !concerned(topic.id, index, partition) {
                    continue;
                }
                let rules = *rules.get_or_insert_with(|| self.rules_of(&topic.name));
                let isr: Vec<BrokerId> = partition
                    .isr
                    .iter()
                    .copied()
                    .filter(|r| Some(*r) != moved.gone && Some(*r) != moved.crashed)
                    .collect();
                let acceptable = |broker| is_up(broker) && self.replica_is_online(partition, broker);
                let default_dir = |broker| self.default_dir(broker);
                let change = PartitionChangeBuilder::new(partition, topic.id, index, &acceptable, &default_dir)
                    .elr(rules.elr_enabled, rules.min_isr)
                    .election(rules.election)
                    .unclean_shutdown(moved.crashed)
                    .isr(isr)
                    .build();
                records.extend(change.map(|change| MetadataRecord::PartitionChanged { change }));
            }
        }
        records
    }

    /// A registered, active broker whose directory for this partition is online.
    pub(crate) fn is_acceptable_leader(&self, partition: &PartitionImage, broker: BrokerId) -> bool {
        self.image.is_active(broker) && self.replica_is_online(partition, broker)
    }

    pub(crate) fn replica_is_online(&self, partition: &PartitionImage, broker: BrokerId) -> bool {
        let registration = self.image.brokers.get(&broker);
        registration.is_some_and(|registration| {
            partition.directory(broker).is_none_or(|directory| registration.has_online_dir(directory))
        })
    }

    /// `Unclean` where the topic allows it.
    pub(crate) fn usual_election(&self, topic: &str) -> Election {
        if self.unclean_election_enabled(topic) { Election::Unclean } else { Election::Online }
    }

    /// ElectLeaders, all versions.
    pub(crate) fn elect_leaders(&self, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            _ => {
                let response = ElectLeadersResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
                return Decision::answer(response);
            }
        };
        let mut records = Vec::new();
        let mut results = Vec::new();
        let mut answer = |topic: &str, partitions: Vec<i32>, all: bool| {
            let mut result = ReplicaElectionResult::default().with_topic(super::topic_name(topic));
            for index in partitions {
                let elected = self.elect_leader(topic, index, election);
                // Asked about everything, Kafka leaves out those that need nothing.
                if all && elected.as_ref().is_err_and(|error| error.code == ErrorCode::ElectionNotNeeded) {
                    continue;
                }
                let (error_code, error_message) = wire(&elected);
                records.extend(elected);
                result.partition_result.push(
                    PartitionResult::default()
                        .with_partition_id(index)
                        .with_error_code(error_code)
                        .with_error_message(error_message),
                );
            }
            results.push(result);
        };
        match &request.topic_partitions {
            None => {
                for topic in self.image.topics.iter() {
                    answer(&topic.name, (0..).take(topic.partitions.len()).collect(), true);
                }
            }
            Some(topics) => {
                for topic in topics {
                    answer(&topic.topic, topic.partitions.clone(), false);
                }
            }
        }
        Decision { records, response: ElectLeadersResponse::default().with_replica_election_results(results) }
    }

    fn elect_leader(&self, topic: &str, index: i32, election: Election) -> Result<MetadataRecord, ApiError> {
        let unknown = |what: String| ApiError::new(ErrorCode::UnknownTopicOrPartition, what);
        let found = self.image.topics.by_name(topic);
        let found = found.ok_or_else(|| unknown(format!("No such topic as {}", shown(topic))))?;
        let partition =
            found.partition(index).ok_or_else(|| unknown(format!("No such partition as {topic}-{index}")))?;
        let needless = match election {
            Election::Preferred => partition.leader.is_some() && partition.leader == partition.preferred_leader(),
            _ => partition.leader.is_some(),
        };
        if needless {
            return Err(ApiError::general(ErrorCode::ElectionNotNeeded));
        }
        let rules = TopicRules { election, ..self.rules_of(topic) };
        self.election_record(found, index, partition, rules).ok_or_else(|| {
            ApiError::general(match election {
                Election::Preferred => ErrorCode::PreferredLeaderNotAvailable,
                _ => ErrorCode::EligibleLeadersNotAvailable,
            })
        })
    }

    fn election_record(
        &self,
        topic: &TopicImage,
        index: i32,
        partition: &PartitionImage,
        rules: TopicRules,
    ) -> Option<MetadataRecord> {
        let acceptable = |broker| self.is_acceptable_leader(partition, broker);
        let default_dir = |broker| self.default_dir(broker);
        let change = PartitionChangeBuilder::new(partition, topic.id, index, &acceptable, &default_dir)
            .elr(rules.elr_enabled, rules.min_isr)
            .election(rules.election)
            .build()?;
        Some(MetadataRecord::PartitionChanged { change })
    }

    /// Moves leadership back to preferred leaders and finds leaders where unclean elections are allowed: at most
    /// `limit` partitions at a time, for the periodic run.
    pub fn balance_leaders(&self, limit: usize) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.image.topics.iter() {
            let mut rules = None;
            for (index, partition) in (0..).zip(&topic.partitions) {
                if records.len() >= limit {
                    return records;
                }
                if partition.leader.is_some() && partition.leader == partition.preferred_leader() {
                    continue;
                }
                let rules = *rules.get_or_insert_with(|| self.rules_of(&topic.name));
                let election = match partition.leader {
                    None if rules.election == Election::Unclean => Election::Unclean,
                    Some(_) => Election::Preferred,
                    None => continue,
                };
                records.extend(self.election_record(topic, index, partition, TopicRules { election, ..rules }));
            }
        }
        records
    }
}
