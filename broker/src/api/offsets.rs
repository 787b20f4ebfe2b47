//! OffsetCommit v2-10, OffsetFetch v1-10, TxnOffsetCommit v0-5, OffsetDelete v0.
//!
//! OffsetCommit and OffsetFetch v9 carry the member epoch of KIP-848, v10 topic ids instead of names; OffsetFetch v8
//! asks for many groups. TxnOffsetCommit v5 adds the group's partition to the transaction by itself (KIP-890).

use std::collections::BTreeMap;

use ottla_coordinator::group::{GroupRequest, GroupResponse};
use ottla_metadata::MetadataImage;
use ottla_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use ottla_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use ottla_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use ottla_protocol::{ErrorCode, StrBytes, TopicId};

use super::coordinated::{answer_later, ask_group, client, expect_answer, fenced_for_old, producer};
use super::offset_fetch;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::{Coordinators, Kind};
use crate::metadata_cache::MetadataCache;

/// Handler of OffsetCommit, OffsetFetch, TxnOffsetCommit, OffsetDelete.
#[derive(Clone)]
pub struct Offsets {
    pub(super) coordinators: Coordinators,
    pub(super) metadata: MetadataCache,
}

impl Offsets {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(8), ApiSpec::of(9), ApiSpec::of(28), ApiSpec::of(47)];

    pub fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone(), metadata: house.metadata.clone() }
    }

    pub async fn offset_commit(&self, cx: &RequestContext, mut request: OffsetCommitRequest) -> Reply {
        let image = self.metadata.load();
        let by_id = cx.version >= 10;
        // What is wrong with a partition is found here; the coordinator is asked for the rest.
        let mut refused: Vec<OffsetCommitResponseTopic> = Vec::new();
        let mut sound = Vec::new();
        for mut topic in std::mem::take(&mut request.topics) {
            let known = if by_id {
                image.topics.by_id(TopicId(topic.topic_id))
            } else {
                image.topics.by_name(topic.name.as_str())
            };
            let missing = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            let mut bad = Vec::new();
            match known {
                None => bad.extend(topic.partitions.drain(..).map(|partition| (partition.partition_index, missing))),
                Some(known) => {
                    topic.name = TopicName(StrBytes::from_string(known.name.to_string()));
                    topic.topic_id = known.id.0;
                    topic.partitions.retain(|partition| {
                        let exists = known.partition(partition.partition_index).is_some();
                        if !exists {
                            bad.push((partition.partition_index, ErrorCode::UnknownTopicOrPartition));
                        }
                        exists
                    });
                }
            }
            if !bad.is_empty() {
                let partition = |(index, error): (i32, ErrorCode)| {
                    OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error.code())
                };
                let answer = OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(bad.into_iter().map(partition).collect());
                refused.push(answer);
            }
            if !topic.partitions.is_empty() {
                sound.push(topic);
            }
        }
        let version = cx.version;
        if sound.is_empty() {
            let response = OffsetCommitResponse::default().with_topics(refused);
            return cx.reply(&for_version(response, version));
        }
        request.topics = sound;
        let (group, asked_for) = (request.group_id.0.clone(), request.topics.clone());
        let asked = ask_group(&self.coordinators, &group, GroupRequest::OffsetCommit(client(cx), request)).await;
        answer_later(cx, asked, move |answer| {
            let mut response = expect_answer!(answer, GroupResponse::OffsetCommit).unwrap_or_else(|error| {
                let topic = |topic: ottla_protocol::messages::offset_commit_request::OffsetCommitRequestTopic| {
                    let partition = |index| {
                        OffsetCommitResponsePartition::default()
                            .with_partition_index(index)
                            .with_error_code(error.code())
                    };
                    OffsetCommitResponseTopic::default()
                        .with_name(topic.name)
                        .with_topic_id(topic.topic_id)
                        .with_partitions(topic.partitions.iter().map(|p| partition(p.partition_index)).collect())
                };
                OffsetCommitResponse::default().with_topics(asked_for.into_iter().map(topic).collect())
            });
            merge(&mut response.topics, refused);
            for_version(response, version)
        })
    }

    pub async fn offset_fetch(&self, cx: &RequestContext, request: OffsetFetchRequest) -> Reply {
        offset_fetch::handle(self, cx, request).await
    }

    pub async fn txn_offset_commit(&self, cx: &RequestContext, mut request: TxnOffsetCommitRequest) -> Reply {
        let image = self.metadata.load();
        let mut refused: Vec<TxnOffsetCommitResponseTopic> = Vec::new();
        let mut sound = Vec::new();
        for mut topic in std::mem::take(&mut request.topics) {
            let bad = split_unknown(&image, topic.name.as_str(), &mut topic.partitions, |p| p.partition_index);
            if !bad.is_empty() {
                refused.push(refused_txn_topic(topic.name.clone(), bad, ErrorCode::UnknownTopicOrPartition));
            }
            if !topic.partitions.is_empty() {
                sound.push(topic);
            }
        }
        if sound.is_empty() {
            return cx.reply(&TxnOffsetCommitResponse::default().with_topics(refused));
        }
        request.topics = sound;
        let (handler, cx) = (self.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let asked_for: Vec<(TopicName, Vec<i32>)> = request
                .topics
                .iter()
                .map(|topic| (topic.name.clone(), topic.partitions.iter().map(|p| p.partition_index).collect()))
                .collect();
            let mut response = handler.commit_in_transaction(&cx, request).await.unwrap_or_else(|error| {
                // Clients before 2.0 would stop at the newer error.
                let error = match error {
                    ErrorCode::CoordinatorLoadInProgress if cx.version < 2 => ErrorCode::CoordinatorNotAvailable,
                    other => other,
                };
                let topic = |(name, indexes)| refused_txn_topic(name, indexes, error);
                TxnOffsetCommitResponse::default().with_topics(asked_for.into_iter().map(topic).collect())
            });
            let places = places(&response.topics, |topic| &topic.name);
            for topic in refused {
                match places.get(&topic.name) {
                    Some(place) => response.topics[*place].partitions.extend(topic.partitions),
                    None => response.topics.push(topic),
                }
            }
            cx.respond(&response)
        }))
    }

    /// First the transaction coordinator: the group's partition must belong to the transaction, or its marker would
    /// never come. Then the group coordinator.
    async fn commit_in_transaction(
        &self,
        cx: &RequestContext,
        request: TxnOffsetCommitRequest,
    ) -> Result<TxnOffsetCommitResponse, ErrorCode> {
        let group = request.group_id.0.clone();
        if group.is_empty() {
            // Unlike in OffsetCommit, where very old clients name none.
            return Err(ErrorCode::InvalidGroupId);
        }
        let partition = self.coordinators.group_partition(&group);
        let who = producer(request.producer_id, request.producer_epoch);
        let add = cx.version >= 5;
        let guard = self.coordinators.start_verification(&partition, who, add)?;
        let verified = self.coordinators.verify_or_add(&request.transactional_id, who, vec![partition], add).await;
        let error = match verified {
            Ok(partitions) => partitions.first().map_or(ErrorCode::None, |(_, error)| *error),
            Err(error) => error,
        };
        match error {
            ErrorCode::None => {}
            // Clients retry these only in the words of a group coordinator, and need not look for another one.
            ErrorCode::NetworkException | ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                return Err(ErrorCode::CoordinatorLoadInProgress);
            }
            ErrorCode::ConcurrentTransactions if !add => return Err(ErrorCode::CoordinatorLoadInProgress),
            ErrorCode::TransactionAbortable if cx.version < 4 => return Err(ErrorCode::InvalidTxnState),
            error => return Err(fenced_for_old(error, true)),
        }
        let index = self.coordinators.partition_for(Kind::Group, &group);
        let ask = GroupRequest::TxnOffsetCommit(client(cx), request);
        let answer = self.coordinators.groups().call_in_transaction(index, ask, who, guard).await;
        expect_answer!(answer, GroupResponse::TxnOffsetCommit)
    }

    pub async fn offset_delete(&self, cx: &RequestContext, mut request: OffsetDeleteRequest) -> Reply {
        let image = self.metadata.load();
        let mut refused: Vec<OffsetDeleteResponseTopic> = Vec::new();
        let mut sound = Vec::new();
        for mut topic in std::mem::take(&mut request.topics) {
            let bad = split_unknown(&image, topic.name.as_str(), &mut topic.partitions, |p| p.partition_index);
            if !bad.is_empty() {
                let partition = |index| {
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
                };
                refused.push(
                    OffsetDeleteResponseTopic::default()
                        .with_name(topic.name.clone())
                        .with_partitions(bad.into_iter().map(partition).collect()),
                );
            }
            if !topic.partitions.is_empty() {
                sound.push(topic);
            }
        }
        request.topics = sound;
        let group = request.group_id.0.clone();
        let asked = if group.is_empty() {
            Err(ErrorCode::InvalidGroupId)
        } else {
            ask_group(&self.coordinators, &group, GroupRequest::OffsetDelete(client(cx), request)).await
        };
        answer_later(cx, asked, move |answer| match expect_answer!(answer, GroupResponse::OffsetDelete) {
            Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
            Ok(response) if response.error_code != 0 => response,
            Ok(mut response) => {
                let places = places(&response.topics, |topic| &topic.name);
                for topic in refused {
                    match places.get(&topic.name) {
                        Some(place) => response.topics[*place].partitions.extend(topic.partitions),
                        None => response.topics.push(topic),
                    }
                }
                response
            }
        })
    }
}

/// Takes the partitions that do not exist out of `partitions`.
fn split_unknown<P>(
    image: &MetadataImage,
    topic: &str,
    partitions: &mut Vec<P>,
    index: impl Fn(&P) -> i32,
) -> Vec<i32> {
    let known = image.topics.by_name(topic);
    let mut bad = Vec::new();
    partitions.retain(|partition| {
        let exists = known.is_some_and(|topic| topic.partition(index(partition)).is_some());
        if !exists {
            bad.push(index(partition));
        }
        exists
    });
    bad
}

fn refused_txn_topic(name: TopicName, indexes: Vec<i32>, error: ErrorCode) -> TxnOffsetCommitResponseTopic {
    let partition =
        |index| TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(error.code());
    TxnOffsetCommitResponseTopic::default()
        .with_name(name)
        .with_partitions(indexes.into_iter().map(partition).collect())
}

/// Where each topic stands among the answered ones: a request may name more than can be compared each with each.
fn places<T>(topics: &[T], name: impl Fn(&T) -> &TopicName) -> BTreeMap<TopicName, usize> {
    topics.iter().enumerate().map(|(place, topic)| (name(topic).clone(), place)).collect()
}

/// Adds what was refused here to what the coordinator answered, topic by topic.
fn merge(topics: &mut Vec<OffsetCommitResponseTopic>, refused: Vec<OffsetCommitResponseTopic>) {
    let places = places(topics.as_slice(), |topic| &topic.name);
    for topic in refused {
        match places.get(&topic.name).filter(|_| !topic.name.is_empty()) {
            Some(place) => topics[*place].partitions.extend(topic.partitions),
            None => topics.push(topic),
        }
    }
}

/// Topics have either a name or an id.
fn for_version(mut response: OffsetCommitResponse, version: i16) -> OffsetCommitResponse {
    for topic in &mut response.topics {
        if version >= 10 {
            topic.name = TopicName::default();
        } else {
            topic.topic_id = uuid::Uuid::nil();
        }
    }
    response
}
