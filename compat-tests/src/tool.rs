//! Kafka's own command-line tools by the names of its `bin` folder.

use std::time::Duration;

use crate::process::{self, Output};
use crate::{jvm, kafka};

/// Tool and main class; where the class moved between releases, the first one found is used.
const MAINS: &[(&str, &str)] = &[
    ("kafka-acls", "org.apache.kafka.tools.AclCommand|kafka.admin.AclCommand"),
    ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-client-metrics", "org.apache.kafka.tools.ClientMetricsCommand"),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "org.apache.kafka.tools.ConfigCommand|kafka.admin.ConfigCommand"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-dump-log", "org.apache.kafka.tools.DumpLogSegments|kafka.tools.DumpLogSegments"),
    ("kafka-e2e-latency", "org.apache.kafka.tools.EndToEndLatency"),
    ("kafka-features", "org.apache.kafka.tools.FeatureCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
    ("kafka-leader-election", "org.apache.kafka.tools.LeaderElectionCommand"),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("kafka-metadata-quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
    ("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
    ("kafka-reassign-partitions", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"),
    ("kafka-replica-verification", "org.apache.kafka.tools.ReplicaVerificationTool"),
    ("kafka-streams-application-reset", "org.apache.kafka.tools.StreamsResetter"),
    ("kafka-storage", "org.apache.kafka.tools.StorageTool|kafka.tools.StorageTool"),
    ("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer"),
    ("kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer"),
];

/// No tool run in these stories takes longer than a few seconds; a hang shall not eat the whole run.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a tool to its end.
pub fn run(tool: &str, arguments: &[String], stdin: &[u8]) -> Output {
    match start(tool, arguments, stdin) {
        Ok(running) => running.wait(LIMIT),
        Err(error) => panic!("{tool}: {error}"),
    }
}

/// Starts a tool that runs until it is stopped.
pub fn start(tool: &str, arguments: &[String], stdin: &[u8]) -> Result<jvm::Running, String> {
    jvm::start(main_class(tool), arguments, stdin)
}

/// Runs a tool in a JVM of its own: argparse4j leaves by `System.exit`, which would end all the others.
pub fn run_alone(tool: &str, arguments: &[String]) -> Output {
    let main = main_class(tool).split('|').next().unwrap_or_default();
    match kafka::java("128m") {
        Ok(mut command) => process::run(command.arg(main).args(arguments), b"", LIMIT),
        Err(error) => panic!("{tool}: {error}"),
    }
}

fn main_class(tool: &str) -> &str {
    let row = MAINS.iter().find(|(name, _)| *name == tool);
    row.map_or(tool, |(_, main)| main)
}
