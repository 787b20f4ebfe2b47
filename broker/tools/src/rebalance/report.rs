//! What is told of a plan, and what is left to do at the end.

use std::collections::BTreeSet;
use std::io::Write;

use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_request as request;

use super::cluster::Cluster;
use super::cordon;
use super::plan::{self, Move};
use super::progress::human;
use crate::admin::topic_name;
use crate::client::{Client, Target};
use crate::{Failure, table};

pub fn ids(ids: &BTreeSet<i32>) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

/// Brokers that are given nothing, and why.
pub fn closed(cluster: &Cluster, drained: &BTreeSet<i32>, out: &mut dyn Write) -> Result<(), Failure> {
    for id in cluster.fenced.difference(drained) {
        writeln!(out, "Broker {id} is down: it is given nothing, and what it has stays there.")?;
    }
    for id in cluster.cordoned.difference(drained) {
        writeln!(out, "Broker {id} is cordoned ({}): it is given nothing, and what it has stays there.", cordon::KEY)?;
    }
    Ok(())
}

/// One row for each partition.
pub fn moves(moves: &[Move], out: &mut dyn Write) -> Result<(), Failure> {
    if moves.is_empty() {
        return Ok(());
    }
    let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let row = |step: &Move| {
        let partition = step.partition.to_string();
        vec![step.topic.clone(), partition, list(&step.from), list(&step.to), human(step.bytes_to_copy())]
    };
    let rows: Vec<Vec<String>> = moves.iter().map(row).collect();
    table::print(&["TOPIC", "PARTITION", "REPLICAS", "NEW REPLICAS", "TO COPY"], &rows, out)?;
    writeln!(out)?;
    Ok(())
}

/// One row for each broker: before, and after.
pub fn shares(cluster: &Cluster, moves: &[Move], out: &mut dyn Write) -> Result<(), Failure> {
    let change = |before: String, after: String| if before == after { before } else { format!("{before} > {after}") };
    let shares = plan::shares(&cluster.brokers, &cluster.partitions, moves);
    let row = |(id, (before, after)): (&i32, &(plan::Share, plan::Share))| {
        let rack = cluster.brokers.iter().find(|broker| broker.id == *id).and_then(|broker| broker.rack.clone());
        vec![
            id.to_string(),
            rack.unwrap_or_else(|| "-".to_owned()),
            change(before.replicas.to_string(), after.replicas.to_string()),
            change(before.leaders.to_string(), after.leaders.to_string()),
            change(human(before.bytes), human(after.bytes)),
        ]
    };
    let rows: Vec<Vec<String>> = shares.iter().map(row).collect();
    table::print(&["BROKER", "RACK", "REPLICAS", "LEADERS", "BYTES"], &rows, out)?;
    Ok(())
}

/// How much it is.
pub fn summary(moves: &[Move], out: &mut dyn Write) -> Result<(), Failure> {
    let copied = moves.iter().filter(|step| step.adding().next().is_some());
    let bytes: u64 = moves.iter().map(Move::bytes_to_copy).sum();
    let count = copied.count();
    if moves.is_empty() {
        writeln!(out, "Every broker has its share: there is nothing to move.")?;
        return Ok(());
    }
    writeln!(
        out,
        "{count} partition(s) get replicas on other brokers, {} to copy; {} more get another preferred leader only.",
        human(bytes),
        moves.len() - count
    )?;
    Ok(())
}

/// Nodes that vote in the metadata quorum; none where nobody tells.
pub fn voters(client: &mut Client) -> BTreeSet<i32> {
    let partition = request::PartitionData::default().with_partition_index(0);
    let topic = request::TopicData::default()
        .with_topic_name(topic_name("__cluster_metadata"))
        .with_partitions(vec![partition]);
    let asked = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let Ok(response) = client.send(&Target::Any, &asked) else { return BTreeSet::new() };
    let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions.flat_map(|partition| partition.current_voters).map(|voter| voter.replica_id.0).collect()
}

/// Drained brokers that are no brokers any more.
pub fn unregistered(drained: &BTreeSet<i32>, out: &mut dyn Write) -> Result<(), Failure> {
    for id in drained {
        writeln!(out, "Broker {id} is empty, and it is not registered: nothing is left to do.")?;
    }
    Ok(())
}

/// A drained broker is empty; the rest is the operator's.
pub fn what_is_left(
    bootstrap: &str,
    drained: &BTreeSet<i32>,
    voters: &BTreeSet<i32>,
    cordoned: &BTreeSet<i32>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for id in drained {
        let vote = if voters.contains(id) {
            " (it votes in the metadata quorum: kafka-metadata-quorum remove-controller takes its vote first)"
        } else {
            ""
        };
        writeln!(
            out,
            "Broker {id} is empty. What is left to do: stop its node{vote}, then kafka-cluster unregister --bootstrap-server \
             {bootstrap} --id {id}"
        )?;
    }
    for id in drained.iter().filter(|id| cordoned.contains(id)) {
        writeln!(
            out,
            "Id {id} stays cordoned. If it is to hold replicas again: kafka-configs --bootstrap-server {bootstrap} --entity-type \
             brokers --entity-name {id} --alter --delete-config {}",
            cordon::KEY
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_left_names_the_commands() {
        let mut out = Vec::new();
        what_is_left("a:1", &BTreeSet::from([4]), &BTreeSet::new(), &BTreeSet::from([4]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("stop its node, then kafka-cluster unregister --bootstrap-server a:1 --id 4\n"),
            "{text}"
        );
    }

    #[test]
    fn moves_are_rows() {
        let step = Move { topic: "orders".into(), partition: 3, from: vec![1, 2], to: vec![4, 2], bytes: 2048 };
        let mut out = Vec::new();
        moves(&[step], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["orders", "3", "1,2", "4,2", "2.0", "KiB"]);
    }
}
