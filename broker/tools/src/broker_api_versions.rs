//! kafka-broker-api-versions: what each broker of the cluster can be asked, and in which versions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(5);

pub const TOOL: Tool = Tool {
    name: "broker-api-versions",
    about: "This tool helps to retrieve broker version information.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server(s) to use for bootstrapping",
        "REQUIRED: The server to connect to.",
    ),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    flag(&["help"], "Print usage information."),
    flag(&["version"], "Display the version."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let config = properties::of_connection(options.text("command-config"))?;
    let mut client = Client::connect(
        options.required("bootstrap-server")?,
        TIMEOUT,
        properties::client_id(&config, properties::ADMIN),
    )?;
    let brokers = client.brokers().clone();
    let racks = client.racks().clone();
    for (id, (host, port)) in brokers {
        let rack = racks.get(&id).cloned().unwrap_or_else(|| "null".into());
        write!(out, "{host}:{port} (id: {id} rack: {rack} isFenced: false) -> ")?;
        match client.api_versions(&Target::Node(id)) {
            Ok(versions) => {
                let answered =
                    versions.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
                writeln!(out, "(\n\t{}\n)", lines(&answered).join(",\n\t"))?;
            }
            Err(failure) => writeln!(out, "ERROR: {}", failure.message)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the client of this release can ask of a broker: key, name and newest version. Not what this program asks itself: the
/// tool tells which client would work with a broker.
#[rustfmt::skip]
const CLIENT_APIS: &[(i16, &str, i16)] = &[
    (0, "Produce", 13),
    (1, "Fetch", 18),
    (2, "ListOffsets", 11),
    (3, "Metadata", 13),
    (8, "OffsetCommit", 10),
    (9, "OffsetFetch", 10),
    (10, "FindCoordinator", 6),
    (11, "JoinGroup", 9),
    (12, "Heartbeat", 4),
    (13, "LeaveGroup", 5),
    (14, "SyncGroup", 5),
    (15, "DescribeGroups", 6),
    (16, "ListGroups", 5),
    (17, "SaslHandshake", 1),
    (18, "ApiVersions", 4),
    (19, "CreateTopics", 7),
    (20, "DeleteTopics", 6),
    (21, "DeleteRecords", 2),
    (22, "InitProducerId", 5),
    (23, "OffsetForLeaderEpoch", 4),
    (24, "AddPartitionsToTxn", 5),
    (25, "AddOffsetsToTxn", 4),
    (26, "EndTxn", 5),
    (27, "WriteTxnMarkers", 2),
    (28, "TxnOffsetCommit", 5),
    (29, "DescribeAcls", 3),
    (30, "CreateAcls", 3),
    (31, "DeleteAcls", 3),
    (32, "DescribeConfigs", 4),
    (33, "AlterConfigs", 2),
    (34, "AlterReplicaLogDirs", 2),
    (35, "DescribeLogDirs", 5),
    (36, "SaslAuthenticate", 2),
    (37, "CreatePartitions", 3),
    (38, "CreateDelegationToken", 3),
    (39, "RenewDelegationToken", 2),
    (40, "ExpireDelegationToken", 2),
    (41, "DescribeDelegationToken", 3),
    (42, "DeleteGroups", 2),
    (43, "ElectLeaders", 2),
    (44, "IncrementalAlterConfigs", 1),
    (45, "AlterPartitionReassignments", 1),
    (46, "ListPartitionReassignments", 0),
    (47, "OffsetDelete", 0),
    (48, "DescribeClientQuotas", 1),
    (49, "AlterClientQuotas", 1),
    (50, "DescribeUserScramCredentials", 0),
    (51, "AlterUserScramCredentials", 0),
    (55, "DescribeQuorum", 2),
    (57, "UpdateFeatures", 2),
    (60, "DescribeCluster", 2),
    (61, "DescribeProducers", 0),
    (64, "UnregisterBroker", 0),
    (65, "DescribeTransactions", 0),
    (66, "ListTransactions", 2),
    (68, "ConsumerGroupHeartbeat", 1),
    (69, "ConsumerGroupDescribe", 1),
    (71, "GetTelemetrySubscriptions", 0),
    (72, "PushTelemetry", 0),
    (74, "ListConfigResources", 1),
    (75, "DescribeTopicPartitions", 0),
    (76, "ShareGroupHeartbeat", 1),
    (77, "ShareGroupDescribe", 1),
    (78, "ShareFetch", 2),
    (79, "ShareAcknowledge", 2),
    (80, "AddRaftVoter", 1),
    (81, "RemoveRaftVoter", 0),
    (83, "InitializeShareGroupState", 0),
    (84, "ReadShareGroupState", 0),
    (85, "WriteShareGroupState", 1),
    (86, "DeleteShareGroupState", 0),
    (87, "ReadShareGroupStateSummary", 1),
    (88, "StreamsGroupHeartbeat", 0),
    (89, "StreamsGroupDescribe", 0),
    (90, "DescribeShareGroupOffsets", 1),
    (91, "AlterShareGroupOffsets", 0),
    (92, "DeleteShareGroupOffsets", 0),
];

fn lines(answered: &BTreeMap<i16, (i16, i16)>) -> Vec<String> {
    let known = CLIENT_APIS.iter().map(|(key, ..)| *key);
    let keys: BTreeSet<i16> = known.chain(answered.keys().copied()).collect();
    keys.into_iter().map(|key| line(key, answered.get(&key).copied())).collect()
}

fn line(key: i16, answered: Option<(i16, i16)>) -> String {
    let known = CLIENT_APIS.iter().find(|(known, ..)| *known == key);
    let name = known.map_or("UNKNOWN", |(_, name, _)| *name);
    let Some((min, max)) = answered else { return format!("{name}({key}): UNSUPPORTED") };
    let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
    let usable = match known {
        None => return format!("{name}({key}): {range}"),
        Some((_, _, newest)) if *newest < min => "[unusable: node too new]".into(),
        Some((_, _, newest)) => format!("[usable: {}]", max.min(*newest)),
    };
    format!("{name}({key}): {range} {usable}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_is_one_line_in_kafkas_form() {
        assert_eq!(line(3, Some((0, 13))), "Metadata(3): 0 to 13 [usable: 13]");
        assert_eq!(line(3, Some((0, 99))), "Metadata(3): 0 to 99 [usable: 13]");
        assert_eq!(line(3, Some((50, 99))), "Metadata(3): 50 to 99 [unusable: node too new]");
        assert_eq!(line(3, None), "Metadata(3): UNSUPPORTED");
        assert_eq!(line(999, Some((0, 0))), "UNKNOWN(999): 0");
        assert_eq!(lines(&BTreeMap::new()).len(), CLIENT_APIS.len());
    }
}
