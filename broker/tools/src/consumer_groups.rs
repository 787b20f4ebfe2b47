//! kafka-consumer-groups: list, describe and delete groups, reset and delete their offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{DeleteGroupsRequest, GroupId, OffsetDeleteRequest};
use ottla_protocol::ErrorCode;

use super::admin::{Partition, by_topic, leaders, text, topic_name, topic_outcomes};
use super::client::{Client, Target};
use super::group_admin::{Listing, list_consumer_groups};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, consumer_groups_describe, consumer_groups_reset, properties};

pub const TOOL: Tool = Tool {
    name: "consumer-groups",
    about: "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset \
            consumer group offsets.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    flag(&["all-groups"], "Apply to all consumer groups."),
    flag(&["all-topics"], "With --reset-offsets: every topic that the group has offsets for."),
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "REQUIRED, except with --validate-regex."),
    value(&["by-duration"], Kind::Text, "duration", "Reset to the offset so long ago, as 'PnDTnHnMnS'."),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    flag(&["delete"], "Delete groups with all their offsets."),
    flag(&["delete-offsets"], "Delete the offsets of one group for the given topics."),
    flag(&["describe"], "Show the offsets, the lag and the members of groups."),
    flag(&["dry-run"], "With --reset-offsets: only show what would be done."),
    flag(&["execute"], "With --reset-offsets: do it."),
    flag(&["export"], "With --reset-offsets: print the result as CSV."),
    value(&["from-file"], Kind::Text, "path to CSV file", "Reset to the offsets of a CSV file."),
    value(&["group"], Kind::Text, "consumer group", "The consumer group; repeatable."),
    flag(&["help"], "Print usage information."),
    flag(&["list"], "List all consumer groups."),
    flag(&["members"], "With --describe: the members of the group."),
    flag(&["offsets"], "With --describe: the offsets of the group; what is shown without a choice, too."),
    flag(&["reset-offsets"], "Move the offsets of inactive groups; needs a scope and one of the --to options."),
    value(&["shift-by"], Kind::Long, "number-of-offsets", "Reset by so many offsets, forward or backward."),
    value(
        &["state"],
        Kind::OptionalText,
        "",
        "With --describe: the state of the group. With --list: the states, or only groups in these states.",
    ),
    value(&["timeout"], Kind::Long, "timeout (ms)", "How long to wait for an answer. (default: 30000)"),
    flag(&["to-current"], "Reset to the offsets that are committed now."),
    value(&["to-datetime"], Kind::Text, "datetime", "Reset to the offset at 'YYYY-MM-DDThh:mm:ss.sss'."),
    flag(&["to-earliest"], "Reset to the earliest offset."),
    flag(&["to-latest"], "Reset to the latest offset."),
    value(&["to-offset"], Kind::Long, "offset", "Reset to this offset."),
    value(&["topic"], Kind::Text, "topic", "A topic, or some of its partitions as 'topic:0,1,2'; repeatable."),
    value(&["type"], Kind::OptionalText, "", "With --list: the types, or only groups of these types."),
    value(&["validate-regex"], Kind::Text, "regex", "Say whether this is a regular expression that brokers take."),
    flag(&["verbose"], "With --describe: more columns."),
    flag(&["version"], "Display the version."),
];

const ACTIONS: [&str; 6] = ["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
const RESETS: [&str; 8] =
    ["to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "shift-by", "from-file"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    check(options)?;
    if let Some(pattern) = options.text("validate-regex") {
        match regex::Regex::new(pattern) {
            Ok(_) => writeln!(out, "The regular expression `{pattern}` is valid.")?,
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
                writeln!(out, "The regular expression `{pattern}` is invalid: {reason}.")?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = act(options, out);
    match outcome {
        Err(failure) if !failure.is_usage => {
            // Kafka's tool ends with 0 after this, and scripts look for the text.
            let why = if options.has("reset-offsets") { failure.message } else { failure.as_java() };
            writeln!(out, "\nError: Executing consumer group command failed due to {why}")?;
            Ok(ExitCode::SUCCESS)
        }
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

fn act(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let config = properties::of_connection(options.text("command-config"))?;
    let timeout = Duration::from_millis(options.number::<u64>("timeout").unwrap_or(30_000));
    let client = &mut Client::connect(
        options.required("bootstrap-server")?,
        timeout,
        properties::client_id(&config, properties::ADMIN),
    )?;
    if options.has("list") {
        list(client, options, out)
    } else if options.has("describe") {
        let groups = chosen_groups(client, options)?;
        consumer_groups_describe::run(client, options, &groups, out)
    } else if options.has("delete") {
        delete(client, options, out)
    } else if options.has("reset-offsets") {
        let groups = chosen_groups(client, options)?;
        consumer_groups_reset::run(client, options, &groups, out)
    } else {
        delete_offsets(client, options, out)
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    for detail in ["members", "verbose", "offsets"] {
        options.refuse_without(detail, &["describe"])?;
    }
    options.refuse_without("state", &["describe", "list"])?;
    options.refuse_without("type", &["list"])?;
    if !options.has("validate-regex") {
        options.required("bootstrap-server")?;
    }
    let has_group = options.has("group") || options.has("all-groups");
    for action in ["describe", "delete", "reset-offsets"] {
        if options.has(action) && !has_group {
            return Err(Failure::usage(format!("Option [{action}] takes one of these options: [group], [all-groups]")));
        }
    }
    if options.has("describe") {
        if ["members", "offsets", "state"].iter().filter(|view| options.has(view)).count() > 1 {
            return Err(Failure::usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            ));
        }
        if options.text("state").is_some_and(|state| !state.is_empty()) {
            return Err(Failure::usage("Option [describe] does not take a value for [state]"));
        }
    }
    if options.has("delete") && options.has("topic") {
        return Err(Failure::usage(
            "The consumer does not support topic-specific offset deletion from a consumer group.",
        ));
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return Err(Failure::usage("Option [delete-offsets] takes the following options: [group], [topic]"));
    }
    if options.has("reset-offsets") {
        if options.has("dry-run") && options.has("execute") {
            return Err(Failure::usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]"));
        }
        if !options.has("dry-run") && !options.has("execute") {
            eprintln!(
                "WARN: No action will be performed as the --execute option is missing. Add --dry-run where that is what \
                 is meant: version 5.0 will ask for one of the two."
            );
        }
        for reset in RESETS {
            let others: Vec<&str> = RESETS.into_iter().filter(|other| *other != reset).collect();
            options.refuse_with(reset, &others)?;
        }
    }
    options.refuse_with("group", &["all-groups"])?;
    options.refuse_with("group", &["list"])?;
    options.refuse_with("topic", &["list", "describe"])?;
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        let all: Vec<String> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
        return Err(Failure::usage(format!("Command must include exactly one action: {}", all.join(", "))));
    }
    Ok(())
}

/// The groups of `--group` in their order, or all.
fn chosen_groups(client: &mut Client, options: &Options) -> Result<Vec<String>, Failure> {
    if options.has("all-groups") {
        return Ok(list_consumer_groups(client, &[], &[])?.into_iter().map(|group| group.id).collect());
    }
    let mut groups: Vec<String> = Vec::new();
    for group in options.all("group") {
        if !groups.contains(group) {
            groups.push(group.clone());
        }
    }
    Ok(groups)
}

/// A title and what stands under it.
type Column = (&'static str, fn(&Listing) -> &str);

fn list(client: &mut Client, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let states = words(options.text("state"), &STATES, "state")?;
    let types = words(options.text("type"), &["Classic", "Consumer"], "types")?;
    let groups = list_consumer_groups(client, &states, &types)?;
    if !options.has("state") && !options.has("type") {
        for group in groups {
            writeln!(out, "{}", group.id)?;
        }
        return Ok(());
    }
    let width = groups.iter().map(|group| group.id.len()).max().unwrap_or(0).max(15) + 10;
    let mut columns: Vec<Column> = Vec::new();
    if options.has("type") {
        columns.push(("TYPE", |group| or_unknown(&group.kind)));
    }
    if options.has("state") {
        columns.push(("STATE", |group| or_unknown(&group.state)));
    }
    write!(out, "{:<width$}", "GROUP")?;
    for (title, _) in &columns {
        write!(out, " {title:<20}")?;
    }
    writeln!(out)?;
    for group in &groups {
        write!(out, "{:<width$}", group.id)?;
        for (_, field) in &columns {
            write!(out, " {:<20}", field(group))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

const STATES: [&str; 7] =
    ["PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling"];

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "Unknown" } else { text }
}

/// A filter list in any case, in the broker's spelling.
fn words(list: Option<&str>, known: &[&str], what: &str) -> Result<Vec<String>, Failure> {
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(Vec::new()) };
    let parsed: Option<Vec<String>> = list
        .split(',')
        .map(|word| known.iter().find(|name| name.eq_ignore_ascii_case(word.trim())).map(|name| (*name).to_owned()))
        .collect();
    parsed.ok_or_else(|| {
        let is_type = what == "types";
        let subject = if is_type { "types" } else { "states" };
        Failure::usage(format!("Invalid {what} list '{list}'. Valid {subject} are: {}", known.join(", ")))
    })
}

fn delete(client: &mut Client, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let mut deleted = Vec::new();
    let mut failed = Vec::new();
    for group in chosen_groups(client, options)? {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(&group))]);
        let outcome = client.send(&Target::Group(group.clone()), &request).and_then(|response| {
            response.results.iter().try_for_each(|result| Failure::check(result.error_code, None))
        });
        match outcome {
            Ok(()) => deleted.push(format!("'{group}'")),
            Err(failure) => failed.push((group, failure)),
        }
    }
    let deleted_names = deleted.join(", ");
    if failed.is_empty() {
        writeln!(out, "Deletion of requested consumer groups ({deleted_names}) was successful.")?;
        return Ok(());
    }
    writeln!(out, "\nError: Deletion of some consumer groups failed:")?;
    for (group, failure) in failed {
        writeln!(out, "* Group '{group}' could not be deleted due to: {}", failure.as_java())?;
    }
    if !deleted.is_empty() {
        writeln!(out, "\nThese consumer groups were deleted successfully: {deleted_names}")?;
    }
    Ok(())
}

fn delete_offsets(client: &mut Client, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let group = options.required("group")?.to_owned();
    let mut partitions = BTreeSet::new();
    let mut whole = BTreeSet::new();
    for topic in options.all("topic") {
        if topic.contains(':') {
            partitions.extend(parse_partitions(topic)?);
        } else {
            whole.insert(topic.clone());
        }
    }
    let mut results: BTreeMap<Partition, Option<Failure>> = BTreeMap::new();
    if !whole.is_empty() {
        for (name, outcome) in topic_outcomes(client, Some(&whole))? {
            match outcome {
                Ok(topic) => partitions.extend(leaders(&BTreeMap::from([(name, topic)])).into_keys()),
                Err(failure) => {
                    results.insert((name, -1), Some(failure));
                }
            }
        }
    }
    let topics = by_topic(&partitions).into_iter().map(|(name, partitions)| {
        let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    let request = OffsetDeleteRequest::default().with_group_id(GroupId(text(&group))).with_topics(topics.collect());
    let response = client.send(&Target::Group(group.clone()), &request)?;
    let refused = Failure::check(response.error_code, None).err();
    let mut first = refused.clone();
    for partition in partitions {
        results.insert(partition, refused.clone());
    }
    for topic in response.topics {
        for partition in topic.partitions {
            let failure = Failure::check(partition.error_code, None).err().or_else(|| refused.clone());
            first = first.or_else(|| failure.clone());
            results.insert((topic.name.to_string(), partition.partition_index), failure);
        }
    }
    match first {
        None => writeln!(out, "Request succeeded for deleting offsets from group {group}.")?,
        Some(failure) => match failure.code {
            Some(
                ErrorCode::InvalidGroupId
                | ErrorCode::GroupIdNotFound
                | ErrorCode::GroupAuthorizationFailed
                | ErrorCode::NonEmptyGroup,
            ) => writeln!(out, "\nError: {}", failure.message)?,
            Some(
                ErrorCode::GroupSubscribedToTopic
                | ErrorCode::TopicAuthorizationFailed
                | ErrorCode::UnknownTopicOrPartition,
            ) => {
                writeln!(out, "\nError: Encountered some partition-level error, see the follow-up details.")?;
            }
            _ => writeln!(out, "\nError: Encountered some unknown error: {}", failure.message)?,
        },
    }
    let width = results.keys().map(|(topic, _)| topic.len()).max().unwrap_or(0).max(15);
    write!(out, "\n{:<width$} {:<10} {:<15}", "TOPIC", "PARTITION", "STATUS")?;
    for ((topic, partition), failure) in results {
        let partition = if partition < 0 { "-".to_owned() } else { partition.to_string() };
        let status = failure.map_or_else(|| "Successful".to_owned(), |failure| format!("Error: {}", failure.as_java()));
        write!(out, "\n{topic:<width$} {partition:<10} {status:<15}")?;
    }
    writeln!(out)?;
    Ok(())
}

/// `topic:0,1,2`.
pub fn parse_partitions(argument: &str) -> Result<Vec<Partition>, Failure> {
    let parts: Vec<&str> = argument.split(':').collect();
    let [topic, partitions] = parts[..] else {
        return Err(Failure::usage(format!("Invalid topic arg '{argument}', expected topic name and partitions")));
    };
    partitions
        .split(',')
        .map(|partition| match partition.parse() {
            Ok(index) => Ok((topic.to_owned(), index)),
            Err(_) => {
                Err(Failure::usage(format!("Invalid partition '{partition}' specified in topic arg '{argument}''")))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn topics_may_name_their_partitions() {
        assert_eq!(parse_partitions("t:0,2").unwrap(), [("t".to_owned(), 0), ("t".to_owned(), 2)]);
        assert!(parse_partitions("t:x").is_err() && parse_partitions("t:1:2").is_err());
    }

    #[test]
    fn filters_are_read_in_any_case() {
        assert_eq!(words(Some("stable, EMPTY"), &STATES, "state").unwrap(), ["Stable", "Empty"]);
        assert!(words(Some("nice"), &STATES, "state").is_err());
        assert!(words(Some(""), &STATES, "state").unwrap().is_empty());
    }
}
