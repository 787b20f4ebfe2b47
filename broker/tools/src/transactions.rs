//! kafka-transactions: list and describe transactions and the producers of a partition, abort what hangs.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::list_transactions_response as listed;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest, ProducerId,
    TransactionalId, WriteTxnMarkersRequest,
};
use ottla_protocol::ErrorCode;

use super::admin::{Partition, by_topic, leaders, message, shown, text, topic_name, topic_outcomes};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties, table, time, transactions_hanging};

pub const TOOL: Tool = Tool {
    name: "transactions",
    about: "This tool is used to analyze the transactional state of producers in the cluster. It can be used to detect \
            and recover from hanging transactions.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "host:port", "REQUIRED: the brokers to connect to."),
    value(&["broker-id"], Kind::Int, "id", "With describe-producers, find-hanging: the replica to ask."),
    value(&["command-config"], Kind::Text, "FILE", "A file with properties for the connection."),
    value(&["coordinator-epoch"], Kind::Int, "epoch", "With abort, for brokers before 3.0."),
    value(&["duration-filter"], Kind::Long, "ms", "With list: only transactions that run longer."),
    flag(&["help", "h"], "Print usage information."),
    value(
        &["max-transaction-timeout"],
        Kind::Int,
        "minutes",
        "With find-hanging: what is younger does not hang. (default: 15)",
    ),
    value(&["partition"], Kind::Int, "partition", "The partition."),
    value(&["producer-epoch"], Kind::Int, "epoch", "With abort, for brokers before 3.0."),
    value(&["producer-id"], Kind::Long, "id", "With abort, for brokers before 3.0."),
    value(&["start-offset"], Kind::Long, "offset", "With abort: where the transaction begins."),
    value(&["topic"], Kind::Text, "topic", "The topic."),
    value(&["transactional-id"], Kind::Text, "id", "With describe: the transactional id."),
    value(&["transactional-id-pattern"], Kind::Text, "pattern", "With list: only ids that match."),
    value(&["transactionalId"], Kind::Text, "id", "With forceTerminateTransaction: the transactional id."),
    flag(&["version", "v"], "Display the version."),
];

const TIMEOUT: Duration = Duration::from_secs(60);

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let command = options.positional.first().map(String::as_str).unwrap_or_default();
    let required =
        |name: &str| options.text(name).ok_or_else(|| Failure::usage(format!("argument --{name} is required")));
    let bootstrap = required("bootstrap-server")?;
    let partition = || -> Result<Partition, Failure> {
        let topic = required("topic")?.to_owned();
        required("partition")?;
        Ok((topic, options.number("partition").unwrap_or_default()))
    };
    let config = properties::of_connection(options.text("command-config"))?;
    let connect = || Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, properties::ADMIN));
    match command {
        "list" => list(&mut connect()?, options, out)?,
        "describe" => {
            let id = required("transactional-id")?;
            describe(&mut connect()?, id, out)?;
        }
        "describe-producers" => {
            let partition = partition()?;
            producers(&mut connect()?, &partition, options.number("broker-id"), out)?;
        }
        "abort" => abort(&connect, &partition()?, options)?,
        "find-hanging" => transactions_hanging::run(&connect, options, out)?,
        "forceTerminateTransaction" => {
            let id = required("transactionalId")?;
            terminate(&mut connect()?, id)
                .map_err(|failure| explained(&format!("Failed to force terminate transactionalId `{id}`"), &failure))?;
        }
        "" => return Err(Failure::usage("too few arguments")),
        other => {
            return Err(Failure::usage(format!(
                "invalid choice: '{other}' (choose from 'list', 'describe', 'describe-producers', \
                 'abort', 'find-hanging', 'forceTerminateTransaction')"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was tried and why it failed, in Kafka's one line.
pub fn explained(what: &str, failure: &Failure) -> Failure {
    Failure::failed(format!("{what}: {}. Enable debug logging for additional detail.", failure.message))
}

/// The transactions of all coordinators by the broker they live on.
pub fn listings(
    client: &mut Client,
    duration_ms: i64,
    pattern: Option<&str>,
    producer_ids: &[i64],
) -> Result<Vec<(i32, listed::TransactionState)>, Failure> {
    let mut found = Vec::new();
    let brokers: Vec<i32> = client.brokers().keys().copied().collect();
    for broker in brokers {
        let response = client.send_with(&Target::Node(broker), |version| {
            let mut request = ListTransactionsRequest::default()
                .with_producer_id_filters(producer_ids.iter().map(|id| ProducerId(*id)).collect());
            if version >= 1 {
                request = request.with_duration_filter(duration_ms);
            }
            if version >= 2 {
                request = request.with_transactional_id_pattern(pattern.map(text));
            }
            request
        })?;
        Failure::check(response.error_code, None)?;
        found.extend(response.transaction_states.into_iter().map(|state| (broker, state)));
    }
    Ok(found)
}

fn list(client: &mut Client, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let duration = options.number("duration-filter").unwrap_or(-1);
    let found = listings(client, duration, options.text("transactional-id-pattern"), &[])
        .map_err(|failure| explained("Failed to list transactions", &failure))?;
    let row = |(broker, state): &(i32, listed::TransactionState)| {
        vec![
            state.transactional_id.to_string(),
            broker.to_string(),
            state.producer_id.0.to_string(),
            state.transaction_state.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    table::print(&["TransactionalId", "Coordinator", "ProducerId", "TransactionState"], &rows, out)?;
    Ok(())
}

/// The state of one transactional id.
pub fn description(client: &mut Client, id: &str) -> Result<TransactionState, Failure> {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text(id))]);
    let response = client.send(&Target::Transaction(id.to_owned()), &request)?;
    let state = response.transaction_states.into_iter().next().unwrap_or_default();
    Failure::check(state.error_code, default_text(state.error_code, id)).map(|()| state)
}

/// Kafka's admin client has words of its own for an unknown id.
fn default_text(code: i16, id: &str) -> Option<String> {
    let is_unknown = code == ErrorCode::TransactionalIdNotFound.code();
    is_unknown.then(|| {
        format!("DescribeTransactions request for transactionalId `{id}` failed because the ID could not be found")
    })
}

fn describe(client: &mut Client, id: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let why = format!("Failed to describe transaction state of transactional-id `{id}`");
    let state = description(client, id).map_err(|failure| explained(&why, &failure))?;
    let coordinator = client.transaction_coordinator(id).map_err(|failure| explained(&why, &failure))?;
    let started = state.transaction_start_time_ms;
    let (start, duration) = if started >= 0 {
        (started.to_string(), (time::now_ms() - started).to_string())
    } else {
        ("None".to_owned(), "None".to_owned())
    };
    let mut partitions = Vec::new();
    for topic in &state.topics {
        partitions.extend(topic.partitions.iter().map(|index| shown(&(topic.topic.to_string(), *index))));
    }
    let row = vec![
        coordinator.to_string(),
        id.to_owned(),
        state.producer_id.0.to_string(),
        state.producer_epoch.to_string(),
        state.transaction_state.to_string(),
        state.transaction_timeout_ms.to_string(),
        start,
        duration,
        partitions.join(","),
    ];
    let titles = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    table::print(&titles, &[row], out)?;
    Ok(())
}

/// The active producers of partitions, asked of their leaders or of one broker.
pub fn producer_states(
    client: &mut Client,
    partitions: &[Partition],
    broker: Option<i32>,
) -> Result<BTreeMap<Partition, Vec<ProducerState>>, Failure> {
    let names = partitions.iter().map(|(topic, _)| topic.clone()).collect();
    let known = topic_outcomes(client, Some(&names))?;
    let mut topics = BTreeMap::new();
    for (name, outcome) in known {
        topics.insert(name, outcome?);
    }
    let leaders = leaders(&topics);
    let mut by_broker: BTreeMap<i32, Vec<&Partition>> = BTreeMap::new();
    for partition in partitions {
        let leader = leaders.get(partition).copied();
        let leader = leader.ok_or_else(|| Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), None))?;
        by_broker.entry(broker.unwrap_or(leader)).or_default().push(partition);
    }
    let mut found = BTreeMap::new();
    for (broker, partitions) in by_broker {
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| {
            TopicRequest::default().with_name(topic_name(&name)).with_partition_indexes(partitions)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        for topic in client.send(&Target::Node(broker), &request)?.topics {
            for partition in topic.partitions {
                Failure::check(partition.error_code, message(partition.error_message.as_ref()))?;
                found.insert((topic.name.to_string(), partition.partition_index), partition.active_producers);
            }
        }
    }
    Ok(found)
}

fn producers(
    client: &mut Client,
    partition: &Partition,
    broker: Option<i32>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let states = producer_states(client, std::slice::from_ref(partition), broker).map_err(|failure| {
        let on = broker.map_or_else(|| "leader".to_owned(), |id| format!("broker {id}"));
        explained(&format!("Failed to describe producers for partition {} on {on}", shown(partition)), &failure)
    })?;
    let row = |state: &ProducerState| {
        vec![
            state.producer_id.0.to_string(),
            state.producer_epoch.to_string(),
            state.coordinator_epoch.to_string(),
            state.last_sequence.to_string(),
            state.last_timestamp.to_string(),
            match state.current_txn_start_offset {
                offset if offset < 0 => "None".to_owned(),
                offset => offset.to_string(),
            },
        ]
    };
    let rows: Vec<Vec<String>> = states.values().flatten().map(row).collect();
    let titles = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    table::print(&titles, &rows, out)?;
    Ok(())
}

/// The producer whose open transaction is ended.
#[derive(Debug)]
struct Hanging {
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
}

fn abort(
    connect: &dyn Fn() -> Result<Client, Failure>,
    partition: &Partition,
    options: &Options,
) -> Result<(), Failure> {
    let missing = |name: &str| Failure::failed(format!("Missing required argument --{name}"));
    let (start, producer) = (options.number::<i64>("start-offset"), options.number::<i64>("producer-id"));
    let (client, hanging) = match (start, producer) {
        (Some(offset), _) => {
            let mut client = connect()?;
            let hanging = producer_at(&mut client, partition, offset)?;
            (client, hanging)
        }
        (None, Some(producer_id)) => {
            let epoch = options.number("producer-epoch").ok_or_else(|| missing("producer-epoch"))?;
            let coordinator = options.number::<i32>("coordinator-epoch").ok_or_else(|| missing("coordinator-epoch"))?;
            // Of a producer that never saw a marker the coordinator's epoch is unknown: 0 is never too new.
            let hanging = Hanging { producer_id, producer_epoch: epoch, coordinator_epoch: coordinator.max(0) };
            (connect()?, hanging)
        }
        (None, None) => {
            return Err(Failure::failed(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or \
                 with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)",
            ));
        }
    };
    let mut client = client;
    write_marker(&mut client, partition, &hanging).map_err(|failure| {
        let spec = format!(
            "AbortTransactionSpec(topicPartition={}, producerId={}, producerEpoch={}, coordinatorEpoch={})",
            shown(partition),
            hanging.producer_id,
            hanging.producer_epoch,
            hanging.coordinator_epoch
        );
        explained(&format!("Failed to abort transaction {spec}"), &failure)
    })
}

fn producer_at(client: &mut Client, partition: &Partition, offset: i64) -> Result<Hanging, Failure> {
    let name = shown(partition);
    let states = producer_states(client, std::slice::from_ref(partition), None)
        .map_err(|failure| explained(&format!("Failed to validate producer state for partition {name}"), &failure))?;
    let found = states.values().flatten().find(|state| state.current_txn_start_offset == offset);
    let state = found.ok_or_else(|| {
        Failure::failed(format!("Could not find any open transactions starting at offset {offset} on partition {name}"))
    })?;
    Ok(Hanging {
        producer_id: state.producer_id.0,
        producer_epoch: i16::try_from(state.producer_epoch).unwrap_or(i16::MAX),
        coordinator_epoch: state.coordinator_epoch.max(0),
    })
}

fn write_marker(client: &mut Client, partition: &Partition, hanging: &Hanging) -> Result<(), Failure> {
    let names = std::iter::once(partition.0.clone()).collect();
    let mut topics = BTreeMap::new();
    for (name, outcome) in topic_outcomes(client, Some(&names))? {
        topics.insert(name, outcome?);
    }
    let leader = leaders(&topics).get(partition).copied();
    let leader = leader.ok_or_else(|| Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), None))?;
    let topic =
        WritableTxnMarkerTopic::default().with_name(topic_name(&partition.0)).with_partition_indexes(vec![partition.1]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(hanging.producer_id))
        .with_producer_epoch(hanging.producer_epoch)
        .with_coordinator_epoch(hanging.coordinator_epoch)
        .with_transaction_result(false)
        .with_topics(vec![topic]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let response = client.send(&Target::Node(leader), &request)?;
    let topics = response.markers.iter().flat_map(|marker| &marker.topics);
    let mut partitions = topics.flat_map(|topic| &topic.partitions);
    partitions.try_for_each(|partition| Failure::check(partition.error_code, None))
}

/// Ends whatever a transactional id has open by taking its next epoch.
fn terminate(client: &mut Client, id: &str) -> Result<(), Failure> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(id))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let deadline = std::time::Instant::now() + TIMEOUT;
    loop {
        let code = client.send(&Target::Transaction(id.to_owned()), &request)?.error_code;
        let is_busy = ErrorCode::from_code(code)
            .is_some_and(|code| code == ErrorCode::ConcurrentTransactions || code.is_retriable());
        if !is_busy || std::time::Instant::now() >= deadline {
            return Failure::check(code, None);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
