//! Topics: created, given more partitions, deleted.

use std::collections::{BTreeMap, BTreeSet};

use ottla_metadata::{ConfigResource, MetadataRecord, PartitionImage};
use ottla_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use ottla_protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, StrBytes, TopicId};

use crate::configs::Change;
use crate::error::{ApiError, wire};
use crate::mutations::MutationQuota;
use crate::placement;
use crate::request::Decision;
use crate::state::{Context, ControllerState};
use ottla_protocol::topic_names::{CLUSTER_METADATA_TOPIC, collide, validate_topic_name};

/// More in one request would build records without bound.
const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;

fn too_many_partitions() -> ApiError {
    ApiError::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")
}

impl ControllerState {
    /// CreateTopics, all versions. v4 lets -1 stand for the defaults, v5 answers with configs, v7 with topic ids.
    pub(crate) fn create_topics(
        &self,
        request: &CreateTopicsRequest,
        cx: &mut Context<'_>,
        quota: &mut MutationQuota<'_>,
    ) -> Decision<CreateTopicsResponse> {
        let mut seen = BTreeMap::new();
        for topic in &request.topics {
            *seen.entry(topic.name.as_str()).or_insert(0) += 1;
        }
        let too_many = self.count_new_partitions(request) > PARTITIONS_PER_REQUEST_MAX;
        let mut records = Vec::new();
        let mut results = Vec::new();
        for topic in request.topics.iter().filter(|topic| seen.get(topic.name.as_str()) == Some(&1)) {
            let created = if &**topic.name == CLUSTER_METADATA_TOPIC {
                let message = format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.");
                Err(ApiError::new(ErrorCode::InvalidRequest, message))
            } else if too_many {
                Err(too_many_partitions())
            } else {
                self.create_topic(topic, cx, quota)
            };
            results.push(match created {
                Ok((new, result)) => {
                    records.extend(new);
                    result
                }
                Err(error) => failed_creation(topic.name.as_str(), &error),
            });
        }
        for (name, _) in seen.iter().filter(|(_, count)| **count > 1) {
            results.push(failed_creation(name, &ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
        }
        if request.validate_only {
            records.clear();
        }
        Decision { records, response: CreateTopicsResponse::default().with_topics(results) }
    }

    fn count_new_partitions(&self, request: &CreateTopicsRequest) -> i64 {
        let count = |topic: &CreatableTopic| match topic.num_partitions {
            _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
            -1 => i64::from(self.defaults.num_partitions),
            count => i64::from(count.max(0)),
        };
        request.topics.iter().map(count).sum()
    }

    fn create_topic(
        &self,
        topic: &CreatableTopic,
        cx: &mut Context<'_>,
        quota: &mut MutationQuota<'_>,
    ) -> Result<(Vec<MetadataRecord>, CreatableTopicResult), ApiError> {
        let name = topic.name.as_str();
        validate_topic_name(name).map_err(|message| ApiError::new(ErrorCode::InvalidTopicException, message))?;
        if self.image.topics.by_name(name).is_some() {
            return Err(ApiError::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
        }
        if let Some(other) = self.colliding_topic(name) {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err(ApiError::new(ErrorCode::InvalidTopicException, message));
        }
        let configs = self.creation_configs(topic)?;
        let partitions = self.new_partitions(topic, cx)?;
        quota.take(partitions.len())?;
        let id = TopicId(cx.ids.uuid());
        let mut result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_topic_id(id.0)
            .with_error_message(None)
            .with_num_partitions(partitions.len() as i32)
            .with_replication_factor(partitions.first().map_or(-1, |p| p.replicas.len() as i16));
        result.configs = Some(self.effective_configs(&configs));
        let mut records = vec![MetadataRecord::Topic { name: name.into(), id }];
        for (key, value) in configs {
            let resource = ConfigResource::topic(name);
            records.push(MetadataRecord::Config { resource, key: key.into(), value: Some(value.into()) });
        }
        for (index, partition) in (0..).zip(partitions) {
            records.push(MetadataRecord::Partition { topic_id: id, index, partition });
        }
        Ok((records, result))
    }

    fn colliding_topic(&self, name: &str) -> Option<String> {
        // Only these two characters can collide, so a name without them is not compared with every topic.
        if !name.contains(['.', '_']) {
            return None;
        }
        // The first character that may differ bounds the search: everything before it is equal.
        let prefix = name.split(['.', '_']).next().unwrap_or(name);
        let mut alike = self.image.topics.iter_from(prefix).take_while(|other| other.name.starts_with(prefix));
        alike.find(|other| collide(&other.name, name)).map(|other| other.name.to_string())
    }

    fn creation_configs(&self, topic: &CreatableTopic) -> Result<BTreeMap<String, String>, ApiError> {
        let absent: Vec<&str> = topic.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
        if !absent.is_empty() {
            let message = format!("Null value not supported for topic configs: {}", absent.join(","));
            return Err(ApiError::new(ErrorCode::InvalidConfig, message));
        }
        let configs: BTreeMap<String, String> = topic
            .configs
            .iter()
            .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
            .collect();
        let changes: Vec<Change> = configs.iter().map(|(k, v)| (k.as_str().into(), Some(v.as_str().into()))).collect();
        if !changes.is_empty() {
            self.check_config_changes(&ConfigResource::topic(topic.name.as_str()), &changes, true)?;
        }
        Ok(configs)
    }

    fn effective_configs(&self, configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
        let entry = |config: crate::config_rules::Effective| {
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_string(config.name))
                .with_value((!config.sensitive).then_some(config.value).flatten().map(StrBytes::from_string))
                .with_read_only(false)
                .with_config_source(config.source)
                .with_is_sensitive(config.sensitive)
        };
        self.effective_topic_configs(configs).into_iter().map(entry).collect()
    }

    fn new_partitions(&self, topic: &CreatableTopic, cx: &mut Context<'_>) -> Result<Vec<PartitionImage>, ApiError> {
        if !topic.assignments.is_empty() {
            return self.assigned_partitions(topic);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            return Err(ApiError::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            return Err(ApiError::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        let or_default = |asked: i32, default: i32| if asked == -1 { default } else { asked };
        let count = or_default(topic.num_partitions, self.defaults.num_partitions);
        let default_factor = i32::from(self.defaults.default_replication_factor);
        let factor = or_default(i32::from(topic.replication_factor), default_factor) as i16;
        let unable = |why: &str| {
            let message = format!("Unable to replicate the partition {factor} time(s): {why}");
            ApiError::new(ErrorCode::InvalidReplicationFactor, message)
        };
        let placed = placement::place(&self.image, count.max(0) as usize, factor, cx.ids)
            .map_err(|error| unable(error.message.as_deref().unwrap_or_default()))?;
        placed
            .into_iter()
            .map(|replicas| {
                self.new_partition(replicas)
                    .ok_or_else(|| unable("All brokers are currently fenced or in controlled shutdown."))
            })
            .collect()
    }

    fn assigned_partitions(&self, topic: &CreatableTopic) -> Result<Vec<PartitionImage>, ApiError> {
        let invalid = |message: String| ApiError::new(ErrorCode::InvalidReplicaAssignment, message);
        if topic.replication_factor != -1 {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            ));
        }
        if topic.num_partitions != -1 {
            return Err(ApiError::new(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            ));
        }
        let mut partitions = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if partitions.contains_key(&index) {
                return Err(invalid(format!("Found multiple manual partition assignments for partition {index}")));
            }
            let replicas: Vec<BrokerId> = assignment.broker_ids.iter().map(|id| BrokerId(id.0)).collect();
            self.check_manual_assignment(&replicas, factor)?;
            factor = Some(replicas.len());
            partitions.insert(index, self.new_partition(replicas).ok_or_else(|| all_fenced(index))?);
        }
        if !partitions.keys().copied().eq(0..partitions.len() as i32) {
            return Err(invalid("partitions should be a consecutive 0-based integer sequence".to_owned()));
        }
        Ok(partitions.into_values().collect())
    }

    /// A partition born with its active replicas in sync; `None` when there are none.
    fn new_partition(&self, replicas: Vec<BrokerId>) -> Option<PartitionImage> {
        let isr: Vec<BrokerId> = replicas.iter().copied().filter(|id| self.image.is_active(*id)).collect();
        let leader = *isr.first()?;
        let directories = replicas.iter().map(|id| self.default_dir(*id)).collect();
        let leader_epoch = LeaderEpoch(0);
        Some(PartitionImage { replicas, isr, directories, leader: Some(leader), leader_epoch, ..Default::default() })
    }

    /// What a hand-made replica list must be like. It may name cordoned brokers (KIP-1066): who names them means them.
    pub(crate) fn check_manual_assignment(&self, replicas: &[BrokerId], factor: Option<usize>) -> Result<(), ApiError> {
        let invalid = |message: String| {
            Err(ApiError::new(
                ErrorCode::InvalidReplicaAssignment,
                format!("The manual partition assignment {message}"),
            ))
        };
        if replicas.is_empty() {
            return invalid("includes an empty replica list.".to_owned());
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        let mut previous = None;
        for id in sorted {
            match self.image.brokers.get(&id) {
                None => return invalid(format!("includes broker {id}, but no such broker is registered.")),
                Some(_) if previous == Some(id) => return invalid(format!("includes the broker {id} more than once.")),
                Some(_) => previous = Some(id),
            }
        }
        match factor {
            Some(factor) if factor != replicas.len() => invalid(format!(
                "includes a partition with {} replica(s), but this is not consistent with previous partitions, which \
                 have {factor} replica(s).",
                replicas.len()
            )),
            _ => Ok(()),
        }
    }

    /// CreatePartitions, all versions.
    pub(crate) fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
        cx: &mut Context<'_>,
        quota: &mut MutationQuota<'_>,
    ) -> Decision<CreatePartitionsResponse> {
        let mut records = Vec::new();
        let mut results = Vec::new();
        let mut seen = BTreeSet::new();
        let mut duplicates = BTreeSet::new();
        for topic in &request.topics {
            if !seen.insert(topic.name.as_str()) {
                duplicates.insert(topic.name.as_str());
            }
        }
        let mut answer = |name: &str, result: &Result<Vec<MetadataRecord>, ApiError>| {
            let (error_code, error_message) = wire(result);
            results.push(
                CreatePartitionsTopicResult::default()
                    .with_name(crate::topic_name(name))
                    .with_error_code(error_code)
                    .with_error_message(error_message),
            );
        };
        for name in &duplicates {
            answer(name, &Err(ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
        }
        for topic in request.topics.iter().filter(|topic| !duplicates.contains(topic.name.as_str())) {
            let mut added = self.add_partitions(topic, cx, quota);
            // All of the request is one entry of the metadata log.
            if added.as_ref().is_ok_and(|added| records.len() + added.len() > PARTITIONS_PER_REQUEST_MAX as usize) {
                added = Err(too_many_partitions());
            }
            answer(topic.name.as_str(), &added);
            records.extend(added.unwrap_or_default());
        }
        if request.validate_only {
            records.clear();
        }
        Decision { records, response: CreatePartitionsResponse::default().with_results(results) }
    }

    fn add_partitions(
        &self,
        request: &CreatePartitionsTopic,
        cx: &mut Context<'_>,
        quota: &mut MutationQuota<'_>,
    ) -> Result<Vec<MetadataRecord>, ApiError> {
        let name = request.name.as_str();
        let topic =
            self.image.topics.by_name(name).ok_or_else(|| ApiError::bare(ErrorCode::UnknownTopicOrPartition))?;
        let existing = topic.partitions.len();
        let invalid = |message: String| Err(ApiError::new(ErrorCode::InvalidPartitions, message));
        let wanted = usize::try_from(request.count).unwrap_or(0);
        if wanted == existing {
            return invalid(format!("Topic already has {existing} partition(s)."));
        }
        if wanted < existing {
            return invalid(format!(
                "The topic {name} currently has {existing} partition(s); {} would not be an increase.",
                request.count
            ));
        }
        let additional = wanted - existing;
        if let Some(assignments) = request.assignments.as_ref().filter(|given| given.len() != additional) {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        if additional as i64 > PARTITIONS_PER_REQUEST_MAX {
            return Err(too_many_partitions());
        }
        quota.take(additional)?;
        let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        let partitions: Vec<PartitionImage> = match &request.assignments {
            Some(assignments) => (existing as i32..)
                .zip(assignments)
                .map(|(index, assignment)| {
                    let replicas: Vec<BrokerId> = assignment.broker_ids.iter().map(|id| BrokerId(id.0)).collect();
                    self.check_manual_assignment(&replicas, Some(factor))?;
                    self.new_partition(replicas).ok_or_else(|| all_fenced(index))
                })
                .collect::<Result<_, _>>()?,
            None => placement::place(&self.image, additional, factor as i16, cx.ids)?
                .into_iter()
                .map(|replicas| {
                    self.new_partition(replicas).ok_or_else(|| {
                        let message = format!(
                            "Unable to replicate the partition {factor} time(s): All brokers are currently fenced or in \
                             controlled shutdown."
                        );
                        ApiError::new(ErrorCode::InvalidReplicationFactor, message)
                    })
                })
                .collect::<Result<_, _>>()?,
        };
        let record = |(index, partition)| MetadataRecord::Partition { topic_id: topic.id, index, partition };
        Ok((existing as i32..).zip(partitions).map(record).collect())
    }

    /// DeleteTopics, all versions. v6 names topics by id.
    pub(crate) fn delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        cx: &Context<'_>,
        quota: &mut MutationQuota<'_>,
    ) -> Decision<DeleteTopicsResponse> {
        let mut asked: Vec<(Option<&str>, TopicId)> =
            request.topic_names.iter().map(|name| (Some(name.as_str()), TopicId::ZERO)).collect();
        asked.extend(request.topics.iter().map(|t| (t.name.as_ref().map(|n| n.as_str()), TopicId(t.topic_id))));
        let mut times: BTreeMap<(Option<&str>, TopicId), usize> = BTreeMap::new();
        for one in &asked {
            *times.entry(*one).or_default() += 1;
        }
        let ids: BTreeSet<TopicId> = asked.iter().filter(|(name, _)| name.is_none()).map(|(_, id)| *id).collect();
        // Whoever names a topic both ways may have meant two topics: none is deleted.
        let named_both_ways: BTreeSet<TopicId> = times
            .iter()
            .filter(|((_, id), times)| id.is_zero() && **times == 1)
            .filter_map(|((name, _), _)| Some(self.image.topics.by_name((*name)?)?.id))
            .filter(|id| ids.contains(id))
            .collect();
        let mut results = Vec::new();
        let mut doomed: Vec<TopicId> = Vec::new();
        let mut answered = BTreeSet::new();
        for &(name, id) in &asked {
            let is_name_or_id = name.is_some() == id.is_zero();
            if is_name_or_id && !answered.insert((name, id)) {
                continue;
            }
            let found = if is_name_or_id && times.get(&(name, id)).is_some_and(|times| *times > 1) {
                let what = if name.is_some() { "name" } else { "id" };
                Err(ApiError::new(ErrorCode::InvalidRequest, format!("Duplicate topic {what}.")))
            } else {
                self.find_doomed(name, id, cx)
            };
            let (told_name, told_id, outcome) = match found {
                Err(error) => (name.map(str::to_owned), id, Err(error)),
                Ok((topic, id, _)) if named_both_ways.contains(&id) => {
                    // As in Kafka there is one answer for both, under the name.
                    if name.is_none() {
                        continue;
                    }
                    let message = "The provided topic name maps to an ID that was already supplied.";
                    (Some(topic), id, Err(ApiError::new(ErrorCode::InvalidRequest, message)))
                }
                Ok((topic, id, partitions)) => {
                    let taken = quota.take(partitions);
                    if taken.is_ok() {
                        doomed.push(id);
                    }
                    (Some(topic), id, taken)
                }
            };
            let (error_code, error_message) = wire(&outcome);
            results.push(
                DeletableTopicResult::default()
                    .with_name(told_name.as_deref().map(crate::topic_name))
                    .with_topic_id(told_id.0)
                    .with_error_code(error_code)
                    .with_error_message(error_message),
            );
        }
        let records = doomed.into_iter().map(|id| MetadataRecord::RemoveTopic { id }).collect();
        Decision { records, response: DeleteTopicsResponse::default().with_responses(results) }
    }

    /// Name, id and number of partitions of the topic that was named.
    fn find_doomed(
        &self,
        name: Option<&str>,
        id: TopicId,
        cx: &Context<'_>,
    ) -> Result<(String, TopicId, usize), ApiError> {
        let invalid = |message: &str| Err(ApiError::new(ErrorCode::InvalidRequest, message));
        if !self.defaults.delete_topic_enable {
            // Older clients do not know the code.
            return if cx.origin.api_version < 3 {
                invalid("This version does not support topic deletion.")
            } else {
                Err(ApiError::bare(ErrorCode::TopicDeletionDisabled))
            };
        }
        let topic = match name {
            Some(_) if !id.is_zero() => return invalid("You may not specify both topic name and topic id."),
            None if id.is_zero() => return invalid("Neither topic name nor id were specified."),
            Some(name) => self.image.topics.by_name(name).ok_or(ErrorCode::UnknownTopicOrPartition),
            None => self.image.topics.by_id(id).ok_or(ErrorCode::UnknownTopicId),
        };
        let topic = topic.map_err(ApiError::general)?;
        Ok((topic.name.to_string(), topic.id, topic.partitions.len()))
    }
}

fn all_fenced(index: i32) -> ApiError {
    let message = format!(
        "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled \
         shutdown."
    );
    ApiError::new(ErrorCode::InvalidReplicaAssignment, message)
}

fn failed_creation(name: &str, error: &ApiError) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(crate::topic_name(name))
        .with_error_code(error.code.code())
        .with_error_message(error.wire_message())
}
