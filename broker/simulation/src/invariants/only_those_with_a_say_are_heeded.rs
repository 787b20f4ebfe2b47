//! The controller heeds nobody whose time has passed: not a former life of a broker, not a former leader, not a second
//! process with the id of one that lives. And it takes nobody for in sync who has begun another life since (KIP-903).

use std::collections::BTreeMap;

use ottla_decisions::{ControllerRequest, ControllerResponse};
use ottla_metadata::TopicImage;
use ottla_protocol::messages::alter_partition_request::PartitionData;
use ottla_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use ottla_protocol::{BrokerId, ErrorCode, TopicId};

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::{Decided, Observation};
use crate::plan::SESSION_TIMEOUT_MS;

#[derive(Debug, Default)]
pub struct OnlyThoseWithASayAreHeeded {
    /// When a controller in an office last heard of a broker, and of which life of it.
    heard: BTreeMap<(Node, i32, i32), (i64, i64)>,
}

impl Invariant for OnlyThoseWithASayAreHeeded {
    fn name(&self) -> &'static str {
        "only those with a say are heeded"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Decided(decided) = seen else { return Ok(()) };
        let Decided { image, request, response, .. } = &**decided;
        let life = |id: i32| image.brokers.get(&BrokerId(id)).map(|registered| registered.epoch);
        match (&**request, &**response) {
            (ControllerRequest::BrokerHeartbeat(asked), ControllerResponse::BrokerHeartbeat(answer)) => {
                let (id, epoch) = (asked.broker_id.0, asked.broker_epoch);
                self.check_life(decided, id, epoch, answer.error_code)?;
                if life(id) == Some(epoch) {
                    self.heard.insert((decided.controller, decided.term, id), (epoch, decided.now));
                }
                Ok(())
            }
            (ControllerRequest::AssignReplicasToDirs(asked), ControllerResponse::AssignReplicasToDirs(answer)) => {
                self.check_life(decided, asked.broker_id.0, asked.broker_epoch, answer.error_code)
            }
            (ControllerRequest::AlterPartition(asked), ControllerResponse::AlterPartition(answer)) => {
                self.check_life(decided, asked.broker_id.0, asked.broker_epoch, answer.error_code)?;
                check_in_sync_sets(decided, asked, answer)
            }
            (ControllerRequest::RegisterBroker(asked), ControllerResponse::RegisterBroker(answer)) => {
                let id = asked.broker_id.0;
                let Some(first) = image.brokers.get(&BrokerId(id)).filter(|first| !first.fenced) else { return Ok(()) };
                let heard = self.heard.get(&(decided.controller, decided.term, id));
                let lives =
                    heard.is_some_and(|(epoch, at)| *epoch == first.epoch && decided.now - at < SESSION_TIMEOUT_MS);
                if lives && first.incarnation_id != asked.incarnation_id && answer.error_code == 0 {
                    return Err(format!("broker {id} lives, and another took its place: {decided:?}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl OnlyThoseWithASayAreHeeded {
    fn check_life(&self, decided: &Decided, id: i32, epoch: i64, code: i16) -> Result<(), String> {
        let registered = decided.image.brokers.get(&BrokerId(id)).map(|registered| registered.epoch);
        let refused = code == ErrorCode::StaleBrokerEpoch.code() && decided.records == 0;
        if registered == Some(epoch) || refused {
            return Ok(());
        }
        Err(format!("broker {id} asks as {epoch}, it is {registered:?}: {:?} {code}", decided.request))
    }
}

fn check_in_sync_sets(
    decided: &Decided,
    asked: &AlterPartitionRequest,
    answer: &AlterPartitionResponse,
) -> Result<(), String> {
    if answer.error_code != 0 {
        return Ok(());
    }
    // Of two partitions in one request the second is decided on as if the first had not been: both name the image.
    let asked_of = |topic: TopicId, index: i32| {
        let topic = asked.topics.iter().find(|asked| asked.topic_id == topic.0)?;
        topic.partitions.iter().find(|asked| asked.partition_index == index)
    };
    for topic in &answer.topics {
        let Some(image) = decided.image.topics.by_id(TopicId(topic.topic_id)) else { continue };
        for answer in &topic.partitions {
            let Some(asked_for) = asked_of(TopicId(topic.topic_id), answer.partition_index) else { continue };
            check_in_sync_set(decided, BrokerId(asked.broker_id.0), image, asked_for, answer.error_code)
                .map_err(|what| format!("{what}: {:?} of {:?}", asked_for, image.partition(answer.partition_index)))?;
        }
    }
    Ok(())
}

fn check_in_sync_set(
    decided: &Decided,
    asks: BrokerId,
    topic: &TopicImage,
    asked: &PartitionData,
    code: i16,
) -> Result<(), String> {
    let Some(partition) = topic.partition(asked.partition_index) else { return Ok(()) };
    if asked.leader_epoch < partition.leader_epoch.0 && code != ErrorCode::FencedLeaderEpoch.code() {
        return Err(format!("a leader of an epoch that has passed is told {code}"));
    }
    if code != 0 && code != ErrorCode::NewLeaderElected.code() {
        return Ok(());
    }
    if partition.leader != Some(asks) || asked.partition_epoch != partition.partition_epoch {
        return Err(format!("{asks} is heeded"));
    }
    for member in &asked.new_isr_with_epochs {
        let registered = decided.image.brokers.get(&BrokerId(member.broker_id.0));
        // A leader need not have heard of those who were in sync before it led.
        let unnamed = member.broker_epoch == -1 && partition.isr.contains(&BrokerId(member.broker_id.0));
        let same_life = |epoch: i64| unnamed || epoch == member.broker_epoch;
        if registered.is_none_or(|registered| !registered.is_active() || !same_life(registered.epoch)) {
            return Err(format!("{member:?} is taken for in sync, it is {registered:?}"));
        }
    }
    Ok(())
}
