//! `kafka-transactions find-hanging`: open transactions that no coordinator will end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use ottla_protocol::ErrorCode;

use super::admin::{Partition, topics};
use super::client::Client;
use super::options::Options;
use super::transactions::{description, explained, listings, producer_states};
use super::{Failure, table, time};

const PARTITIONS_PER_REQUEST: usize = 500;
const MINUTE_MS: i64 = 60_000;

/// Looks through a topic, a partition, or the replicas of a broker.
pub fn run(
    connect: &dyn Fn() -> Result<Client, Failure>,
    options: &Options,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (topic, broker) = (options.text("topic"), options.number::<i32>("broker-id"));
    if topic.is_none() && broker.is_none() {
        return Err(Failure::failed(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search",
        ));
    }
    let partition = options.number::<i32>("partition");
    if partition.is_some() && topic.is_none() {
        return Err(Failure::failed("The --partition argument requires --topic to be provided"));
    }
    let client = &mut connect()?;
    let scope: Vec<Partition> = match (topic, partition) {
        (Some(topic), Some(partition)) => vec![(topic.to_owned(), partition)],
        _ => {
            let names = topic.map(|topic| BTreeSet::from([topic.to_owned()]));
            let known =
                topics(client, names.as_ref()).map_err(|failure| explained("Failed to describe 1 topics", &failure))?;
            let mut scope = Vec::new();
            for (name, topic) in known {
                let is_there = |replicas: &[kafka_protocol::messages::BrokerId]| {
                    broker.is_none_or(|broker| replicas.iter().any(|replica| replica.0 == broker))
                };
                let inside = topic.partitions.iter().filter(|partition| is_there(&partition.replica_nodes));
                scope.extend(inside.map(|partition| (name.clone(), partition.partition_index)));
            }
            scope
        }
    };
    let old_ms = i64::from(options.number::<i32>("max-transaction-timeout").unwrap_or(15)) * MINUTE_MS;
    let candidates = open_transactions(client, &scope, broker, old_ms)?;
    let hanging = without_coordinator(client, candidates)?;
    print(&hanging, out)
}

type Open = (Partition, ProducerState);

fn open_transactions(
    client: &mut Client,
    scope: &[Partition],
    broker: Option<i32>,
    old_ms: i64,
) -> Result<Vec<Open>, Failure> {
    let mut found = Vec::new();
    for partitions in scope.chunks(PARTITIONS_PER_REQUEST) {
        let states = producer_states(client, partitions, broker).map_err(|failure| {
            let on = broker.map_or_else(|| "Optional.empty".to_owned(), |id| format!("Optional[{id}]"));
            let count = partitions.len();
            explained(&format!("Failed to describe producers for {count} partitions on broker {on}"), &failure)
        })?;
        let now = time::now_ms();
        for (partition, producers) in states {
            let is_old =
                |state: &ProducerState| state.current_txn_start_offset >= 0 && now - state.last_timestamp > old_ms;
            found.extend(producers.into_iter().filter(is_old).map(|state| (partition.clone(), state)));
        }
    }
    Ok(found)
}

/// Those whose producer has no transactional id any longer, or whose coordinator does not wait for the partition.
fn without_coordinator(client: &mut Client, candidates: Vec<Open>) -> Result<Vec<Open>, Failure> {
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let producers: BTreeSet<i64> = candidates.iter().map(|(_, state)| state.producer_id.0).collect();
    let asked: Vec<i64> = producers.iter().copied().collect();
    let listed = listings(client, -1, None, &asked).map_err(|failure| {
        explained(&format!("Failed to list transactions for {} producers", asked.len()), &failure)
    })?;
    let mut states: BTreeMap<i64, TransactionState> = BTreeMap::new();
    for (_, listing) in listed.iter().filter(|(_, listing)| producers.contains(&listing.producer_id.0)) {
        match description(client, &listing.transactional_id) {
            Ok(state) => {
                states.insert(listing.producer_id.0, state);
            }
            Err(failure) if failure.code == Some(ErrorCode::TransactionalIdNotFound) => {}
            Err(failure) => {
                return Err(explained(&format!("Failed to describe {} transactions", listed.len()), &failure));
            }
        }
    }
    let is_expected = |(partition, open): &Open| {
        states.get(&open.producer_id.0).is_some_and(|state| {
            let of_topic = state.topics.iter().filter(|topic| topic.topic.as_str() == partition.0);
            of_topic.flat_map(|topic| &topic.partitions).any(|index| *index == partition.1)
        })
    };
    Ok(candidates.into_iter().filter(|open| !is_expected(open)).collect())
}

fn print(hanging: &[Open], out: &mut dyn Write) -> Result<(), Failure> {
    let now = time::now_ms();
    let row = |((topic, partition), state): &Open| {
        vec![
            topic.clone(),
            partition.to_string(),
            state.producer_id.0.to_string(),
            state.producer_epoch.to_string(),
            state.coordinator_epoch.to_string(),
            state.current_txn_start_offset.to_string(),
            state.last_timestamp.to_string(),
            ((now - state.last_timestamp) / MINUTE_MS).to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = hanging.iter().map(row).collect();
    let titles = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    table::print(&titles, &rows, out)?;
    Ok(())
}
