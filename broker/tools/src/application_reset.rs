//! kafka-streams-application-reset: sets the offsets of a Streams application's input topics and deletes the topics that it
//! made for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{DeleteTopicsRequest, GroupId, LeaveGroupRequest};
use ottla_protocol::ErrorCode;

use super::admin::{EARLIEST, LATEST, Partition, leaders, message, millis, text, topic_name, topics};
use super::client::{Client, Target};
use super::consumer_groups_reset::{Offsets, at_time, commit, ends};
use super::group_admin::{committed, describe};
use super::options::{Kind, Options, Spec, flag, value};
use super::reassignment_plan::bracketed;
use super::time::{now_ms, parse_datetime, parse_duration};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(60);

pub const TOOL: Tool = Tool {
    name: "streams-application-reset",
    about: "This tool helps to quickly reset an application in order to reprocess its data from scratch: offsets of input \
            topics are set, and the topics that Kafka Streams made (<application.id>-...) are deleted. Local state stores are \
            not cleaned up.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["application-id"], Kind::Text, "id", "REQUIRED: The Kafka Streams application ID (application.id)."),
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "The server(s). (default: localhost:9092)"),
    value(&["by-duration"], Kind::Text, "", "Reset to so long ago: PnDTnHnMnS."),
    value(&["command-config"], Kind::Text, "file name", "A file with properties for the connection."),
    value(&["config-file"], Kind::Text, "file name", "(DEPRECATED) See --command-config."),
    flag(&["dry-run"], "Tell what would be done, and do nothing."),
    flag(&["force"], "Remove the members that the group still has."),
    value(&["from-file"], Kind::Text, "", "Reset to the offsets of a file with lines TOPIC,PARTITION,OFFSET."),
    flag(&["help"], "Print usage information."),
    value(&["input-topics"], Kind::Text, "list", "The application's input topics, separated by commas."),
    value(&["intermediate-topics"], Kind::Text, "list", "[deprecated] Topics to skip to the end of."),
    value(&["internal-topics"], Kind::Text, "list", "Which of the internal topics to delete."),
    value(&["shift-by"], Kind::Long, "number-of-offsets", "Reset to so many offsets from the current ones."),
    value(&["to-datetime"], Kind::Text, "", "Reset to a time: YYYY-MM-DDThh:mm:ss.sss."),
    flag(&["to-earliest"], "Reset to the earliest offsets."),
    flag(&["to-latest"], "Reset to the latest offsets."),
    value(&["to-offset"], Kind::Long, "", "Reset to one offset."),
    flag(&["version"], "Display the version."),
];

const SCENARIOS: [&str; 7] =
    ["to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "from-file", "shift-by"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let id =
        options.text("application-id").ok_or_else(|| Failure::usage("Missing required option(s) [application-id]"))?;
    for scenario in SCENARIOS {
        let others: Vec<&str> = SCENARIOS.into_iter().filter(|other| *other != scenario).collect();
        options.refuse_with(scenario, &others)?;
    }
    options.refuse_with("config-file", &["command-config"])?;
    match reset(options, id, out) {
        Ok(is_complete) => Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(failure) => {
            out.flush()?;
            eprintln!("ERROR: {}", failure.as_java());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// False when some topics that were named do not exist.
fn reset(options: &Options, id: &str, out: &mut dyn Write) -> Result<bool, Failure> {
    if options.has("config-file") {
        writeln!(
            out,
            "Option --config-file has been deprecated and will be removed in a future version. Use --command-config instead."
        )?;
    }
    let config = properties::of_connection(options.text("config-file").or(options.text("command-config")))?;
    let bootstrap = options.text("bootstrap-server").unwrap_or("localhost:9092");
    let mut client = Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, properties::ADMIN))?;
    remove_members(&mut client, options, id, out)?;
    let all: BTreeSet<String> = topics(&mut client, None)?.into_keys().collect();
    if options.has("dry-run") {
        writeln!(out, "----Dry run displays the actions which will be performed when running Streams Reset Tool----")?;
    }
    let is_complete = reset_offsets(&mut client, options, id, &all, out)?;
    delete_internal_topics(&mut client, options, id, &all, out)?;
    Ok(is_complete)
}

/// The application has to be stopped; `--force` removes what a long session timeout still holds.
fn remove_members(client: &mut Client, options: &Options, id: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let members = match describe(client, id) {
        Ok(group) => group.members,
        Err(failure) if failure.code == Some(ErrorCode::GroupIdNotFound) => return Ok(()),
        Err(failure) => return Err(failure),
    };
    if members.is_empty() {
        return Ok(());
    }
    if !options.has("force") {
        let names: Vec<&String> = members.iter().map(|member| &member.id).collect();
        return Err(Failure::failed(format!(
            "java.lang.IllegalStateException: Consumer group '{id}' is still active and has following members: {}. Make sure \
             to stop all running application instances before running the reset tool. You can use option '--force' to remove \
             active members from the group.",
            bracketed(&names)
        )));
    }
    writeln!(out, "Force deleting all active members in the group: {id}")?;
    let leaving = members.iter().map(|member| {
        MemberIdentity::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
    });
    let request = LeaveGroupRequest::default().with_group_id(GroupId(text(id))).with_members(leaving.collect());
    let response = client.send(&Target::Group(id.to_owned()), &request)?;
    Failure::check(response.error_code, None)?;
    for member in response.members {
        // One that has left by itself meanwhile is what was asked for.
        if member.error_code != ErrorCode::UnknownMemberId.code() {
            Failure::check(member.error_code, None)?;
        }
    }
    Ok(())
}

fn listed(options: &Options, name: &str) -> Vec<String> {
    options.all(name).iter().flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

fn reset_offsets(
    client: &mut Client,
    options: &Options,
    id: &str,
    all: &BTreeSet<String>,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let input = listed(options, "input-topics");
    if options.has("intermediate-topics") {
        writeln!(out, "WARN: `--intermediate-topics` is deprecated and will be removed in a future release")?;
    }
    let intermediate = listed(options, "intermediate-topics");
    if input.is_empty() && intermediate.is_empty() {
        writeln!(out, "No input or intermediate topics specified. Skipping seek.")?;
        return Ok(true);
    }
    if !input.is_empty() {
        writeln!(out, "Reset-offsets for input topics {}", bracketed(&input))?;
    }
    if !intermediate.is_empty() {
        writeln!(out, "Seek-to-end for intermediate topics {}", bracketed(&intermediate))?;
    }
    let mut is_complete = true;
    for (kind, topics, word) in [("input", &input, "Topic: "), ("intermediate", &intermediate, "Topic:")] {
        let missing: Vec<&String> = topics.iter().filter(|topic| !all.contains(*topic)).collect();
        if !missing.is_empty() {
            writeln!(out, "Following {kind} topics are not found, skipping them")?;
            is_complete = false;
        }
        for topic in missing {
            writeln!(out, "{word}{topic}")?;
        }
    }
    let input = partitions_of(client, &input, all)?;
    let mut intermediate = partitions_of(client, &intermediate, all)?;
    intermediate.retain(|partition| !input.contains(partition));
    if input.is_empty() && intermediate.is_empty() {
        return Ok(is_complete);
    }
    let mut plan = Offsets::new();
    if !input.is_empty() {
        writeln!(out, "Following input topics offsets will be reset to (for consumer group {id})")?;
        plan = planned(client, options, id, &input, out)?;
        for ((topic, partition), offset) in &plan {
            writeln!(out, "Topic: {topic} Partition: {partition} Offset: {offset}")?;
        }
    }
    if !intermediate.is_empty() {
        writeln!(out, "Following intermediate topics offsets will be reset to end (for consumer group {id})")?;
        for (topic, _) in &intermediate {
            writeln!(out, "Topic: {topic}")?;
        }
        plan.extend(ends(client, &intermediate, LATEST, "ending")?);
    }
    if !options.has("dry-run") {
        commit(client, id, &plan)?;
    }
    writeln!(out, "Done.")?;
    Ok(is_complete)
}

fn partitions_of(
    client: &mut Client,
    names: &[String],
    all: &BTreeSet<String>,
) -> Result<BTreeSet<Partition>, Failure> {
    let names: BTreeSet<String> = names.iter().filter(|name| all.contains(*name)).cloned().collect();
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    Ok(leaders(&topics(client, Some(&names))?).into_keys().collect())
}

/// The offset that each partition is to have.
fn planned(
    client: &mut Client,
    options: &Options,
    id: &str,
    scope: &BTreeSet<Partition>,
    out: &mut dyn Write,
) -> Result<Offsets, Failure> {
    if let Some(offset) = options.number::<i64>("to-offset") {
        return within_log(client, scope.iter().map(|partition| (partition.clone(), offset)).collect(), out);
    }
    if options.has("to-latest") {
        return ends(client, scope, LATEST, "ending");
    }
    if let Some(shift) = options.number::<i64>("shift-by") {
        let current = committed(client, id)?;
        let newest = ends(client, scope, LATEST, "ending")?;
        let position = |partition: &Partition| current.get(partition).map_or(newest[partition], |known| known.offset);
        let wanted = scope.iter().map(|partition| (partition.clone(), position(partition).saturating_add(shift)));
        return within_log(client, wanted.collect(), out);
    }
    if let Some(datetime) = options.text("to-datetime") {
        return at_time(client, scope, parse_datetime(datetime)?, falls_back, out);
    }
    if let Some(duration) = options.text("by-duration") {
        return at_time(client, scope, now_ms() - parse_duration(duration)?, falls_back, out);
    }
    if let Some(path) = options.text("from-file") {
        let csv = std::fs::read_to_string(path)
            .map_err(|_| Failure::failed(format!("java.nio.file.NoSuchFileException: {path}")))?;
        let wanted = parse_plan(&csv)?;
        if let Some((topic, partition)) = scope.iter().find(|partition| !wanted.contains_key(*partition)) {
            return Err(Failure::failed(format!("The reset plan says nothing of {topic}-{partition}")));
        }
        return within_log(client, wanted.into_iter().filter(|(key, _)| scope.contains(key)).collect(), out);
    }
    ends(client, scope, EARLIEST, "starting")
}

/// Offsets outside the log become its nearest end. Kafka's tool says so of the very ends, too.
fn within_log(client: &mut Client, wanted: Offsets, out: &mut dyn Write) -> Result<Offsets, Failure> {
    let scope: BTreeSet<Partition> = wanted.keys().cloned().collect();
    let first = ends(client, &scope, EARLIEST, "starting")?;
    let last = ends(client, &scope, LATEST, "ending")?;
    let mut plan = Offsets::new();
    for (key, offset) in wanted {
        let (first, last) = (first[&key], last[&key]);
        let offset = if offset >= last {
            writeln!(out, "New offset ({offset}) is higher than latest offset. Value will be set to {last}")?;
            last
        } else if offset <= first {
            writeln!(out, "New offset ({offset}) is lower than earliest offset. Value will be set to {first}")?;
            first
        } else {
            offset
        };
        plan.insert(key, offset);
    }
    Ok(plan)
}

/// What is said of a partition that has nothing from the wanted time on.
fn falls_back((topic, partition): &Partition) -> String {
    format!(
        "Partition {partition} from topic {topic} is empty, without a committed record. Falling back to latest known offset."
    )
}

fn parse_plan(csv: &str) -> Result<Offsets, Failure> {
    let wrong = |text: &str| Failure::failed(format!("java.text.ParseException: {text}"));
    if csv.is_empty() {
        return Err(wrong("Error parsing reset plan CSV file. It is empty,"));
    }
    let mut plan = BTreeMap::new();
    for line in csv.lines() {
        let parts: Vec<&str> = line.split(',').collect();
        let [topic, partition, offset] = parts[..] else {
            return Err(wrong("Reset plan CSV file is not following the format `TOPIC,PARTITION,OFFSET`."));
        };
        let number = |text: &str| {
            let wrong = || Failure::failed(format!("java.lang.NumberFormatException: For input string: \"{text}\""));
            text.parse::<i64>().map_err(|_| wrong())
        };
        let partition = i32::try_from(number(partition)?).map_err(|error| Failure::failed(error.to_string()))?;
        plan.insert((topic.to_owned(), partition), number(offset)?);
    }
    Ok(plan)
}

fn delete_internal_topics(
    client: &mut Client,
    options: &Options,
    id: &str,
    all: &BTreeSet<String>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let of_users = [listed(options, "input-topics"), listed(options, "intermediate-topics")].concat();
    let prefix = format!("{id}-");
    let inferred: Vec<String> = all
        .iter()
        .filter(|topic| topic.starts_with(&prefix) && is_internal(topic) && !of_users.contains(topic))
        .cloned()
        .collect();
    let named = listed(options, "internal-topics");
    let doomed = if named.is_empty() {
        writeln!(out, "Deleting inferred internal topics {}", bracketed(&inferred))?;
        inferred
    } else {
        if named.iter().any(|topic| !inferred.contains(topic)) {
            return Err(Failure::failed(
                "java.lang.IllegalArgumentException: Invalid topic specified in the --internal-topics option. Ensure that the \
                 topics specified are all internal topics. Do a dry run without the --internal-topics option to see the list of \
                 all internal topics that can be deleted.",
            ));
        }
        writeln!(out, "Deleting specified internal topics {}", bracketed(&named))?;
        named
    };
    if !options.has("dry-run") && !doomed.is_empty() {
        delete(client, &doomed)?;
    }
    writeln!(out, "Done.")?;
    Ok(())
}

fn delete(client: &mut Client, names: &[String]) -> Result<(), Failure> {
    let response = client.send_with(&Target::Controller, |version| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(millis(TIMEOUT));
        if version >= 6 {
            let topic = |name: &String| DeleteTopicState::default().with_name(Some(topic_name(name)));
            request.with_topics(names.iter().map(topic).collect())
        } else {
            request.with_topic_names(names.iter().map(|name| topic_name(name)).collect())
        }
    })?;
    let mut is_refused = false;
    for topic in response.responses {
        if let Err(failure) = Failure::check(topic.error_code, message(topic.error_message.as_ref())) {
            let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
            eprintln!("ERROR: deleting topic {name}\n{}", failure.as_java());
            is_refused = true;
        }
    }
    match is_refused {
        true => Err(Failure::failed("java.lang.RuntimeException: Encountered an error deleting one or more topics")),
        false => Ok(()),
    }
}

/// Names that Kafka Streams gives to the topics behind its stores, repartitions and foreign-key joins.
fn is_internal(topic: &str) -> bool {
    const ENDS: [&str; 4] =
        ["-changelog", "-repartition", "-subscription-registration-topic", "-subscription-response-topic"];
    let is_join = |kind: &str| {
        let marker = format!("-KTABLE-FK-JOIN-SUBSCRIPTION-{kind}-");
        let number = topic.strip_suffix("-topic").and_then(|rest| rest.rsplit_once(marker.as_str()));
        number.is_some_and(|(before, number)| {
            !before.is_empty() && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
        })
    };
    ENDS.iter().any(|end| topic.ends_with(end)) || is_join("REGISTRATION") || is_join("RESPONSE")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_topics_that_streams_made_are_internal() {
        for name in [
            "app-store-changelog",
            "app-KSTREAM-AGGREGATE-0001-repartition",
            "app-x-subscription-response-topic",
            "app-KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-0000000006-topic",
        ] {
            assert!(is_internal(name), "{name}");
        }
        for name in ["app-orders", "app-KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-x-topic", "-topic"] {
            assert!(!is_internal(name), "{name}");
        }
    }

    #[test]
    fn a_plan_has_three_columns() {
        assert_eq!(parse_plan("t,0,5\nt,1,6\n").unwrap()[&("t".to_owned(), 1)], 6);
        assert!(parse_plan("").unwrap_err().message.contains("It is empty"));
        assert!(parse_plan("t,0\n").unwrap_err().message.contains("TOPIC,PARTITION,OFFSET"));
        assert!(parse_plan("t,x,1\n").unwrap_err().message.contains("\"x\""));
    }
}
