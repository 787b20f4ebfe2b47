//! `kafka-consumer-groups --reset-offsets`: plans new offsets for inactive groups, and commits them with `--execute`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest};
use kafka_protocol::protocol::StrBytes;
use ottla_protocol::ErrorCode;

use super::Failure;
use super::admin::{EARLIEST, LATEST, Partition, leaders, list_offsets, shown, text, topic_name, topics};
use super::client::{Client, Target};
use super::consumer_groups::parse_partitions;
use super::group_admin::{committed, describe};
use super::options::Options;
use super::time::{now_ms, parse_datetime, parse_duration};

/// The offset of each partition.
pub type Offsets = BTreeMap<Partition, i64>;

/// Resets the offsets of the groups that the options choose, and prints the plan.
pub fn run(client: &mut Client, options: &Options, groups: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let mut plans: BTreeMap<String, Offsets> = BTreeMap::new();
    for group in groups {
        let plan = match describe(client, group) {
            Ok(described) if !matches!(described.state.as_str(), "Empty" | "Dead") => {
                writeln!(
                    out,
                    "\nError: Assignments can only be reset if the group '{group}' is inactive, but the current state is {}.",
                    described.state
                )?;
                Offsets::new()
            }
            Err(failure) if failure.code != Some(ErrorCode::GroupIdNotFound) => return Err(failure),
            _ => reset(client, options, group, out)?,
        };
        plans.insert(group.clone(), plan);
    }
    if options.has("export") { export(options, &plans, out) } else { print(&plans, out) }
}

fn reset(client: &mut Client, options: &Options, group: &str, out: &mut dyn Write) -> Result<Offsets, Failure> {
    let scope: BTreeSet<Partition> = if options.has("all-topics") {
        committed(client, group)?.into_keys().collect()
    } else if options.has("topic") {
        topic_scope(client, options)?
    } else if options.has("from-file") {
        BTreeSet::new()
    } else {
        return Err(Failure::usage("One of the reset scopes should be defined: --all-topics, --topic."));
    };
    refuse_unknown(client, &scope)?;
    let plan = plan(client, options, group, &scope, out)?;
    if options.has("execute") {
        commit(client, group, &plan)?;
    }
    Ok(plan)
}

fn topic_scope(client: &mut Client, options: &Options) -> Result<BTreeSet<Partition>, Failure> {
    let mut scope = BTreeSet::new();
    let mut whole = BTreeSet::new();
    for topic in options.all("topic") {
        if topic.contains(':') {
            scope.extend(parse_partitions(topic)?);
        } else {
            whole.insert(topic.clone());
        }
    }
    if !whole.is_empty() {
        scope.extend(leaders(&topics(client, Some(&whole))?).into_keys());
    }
    Ok(scope)
}

fn refuse_unknown(client: &mut Client, scope: &BTreeSet<Partition>) -> Result<(), Failure> {
    if scope.is_empty() {
        return Ok(());
    }
    let names = scope.iter().map(|(topic, _)| topic.clone()).collect();
    let known = topics(client, Some(&names)).map_err(|failure| {
        Failure::failed(format!("java.util.concurrent.ExecutionException: {}", failure.as_java()))
    })?;
    let leaders = leaders(&known);
    let listed = |partitions: Vec<&Partition>| partitions.into_iter().map(shown).collect::<Vec<_>>().join(",");
    let missing: Vec<&Partition> = scope.iter().filter(|key| !leaders.contains_key(*key)).collect();
    if !missing.is_empty() {
        return Err(Failure::failed(format!("The partitions \"{}\" do not exist", listed(missing))));
    }
    let leaderless: Vec<&Partition> = scope.iter().filter(|key| leaders.get(*key) == Some(&-1)).collect();
    if !leaderless.is_empty() {
        return Err(Failure::failed(format!("The partitions \"{}\" have no leader", listed(leaderless))));
    }
    Ok(())
}

fn plan(
    client: &mut Client,
    options: &Options,
    group: &str,
    scope: &BTreeSet<Partition>,
    out: &mut dyn Write,
) -> Result<Offsets, Failure> {
    if let Some(offset) = options.number::<i64>("to-offset") {
        return within_log(client, scope.iter().map(|key| (key.clone(), offset)).collect());
    }
    if options.has("to-earliest") {
        return ends(client, scope, EARLIEST, "starting");
    }
    if options.has("to-latest") {
        return ends(client, scope, LATEST, "ending");
    }
    if let Some(shift) = options.number::<i64>("shift-by") {
        let current = committed(client, group)?;
        let mut wanted = Offsets::new();
        for key in scope {
            let known = current.get(key).ok_or_else(|| {
                Failure::usage(format!(
                    "Cannot shift offset for partition {} since there is no current committed offset",
                    shown(key)
                ))
            })?;
            wanted.insert(key.clone(), known.offset.saturating_add(shift));
        }
        return within_log(client, wanted);
    }
    if let Some(datetime) = options.text("to-datetime") {
        let at = parse_datetime(datetime)?;
        return at_time(client, scope, at, falls_back, out);
    }
    if let Some(duration) = options.text("by-duration") {
        let at = now_ms() - parse_duration(duration)?;
        return at_time(client, scope, at, falls_back, out);
    }
    if let Some(path) = options.text("from-file") {
        return from_file(client, options, group, path, out);
    }
    if options.has("to-current") {
        let current = committed(client, group)?;
        let known = |key: &&Partition| current.contains_key(*key);
        let mut plan: Offsets = scope.iter().filter(known).map(|key| (key.clone(), current[key].offset)).collect();
        let rest = scope.iter().filter(|key| !known(key)).cloned().collect();
        plan.extend(ends(client, &rest, LATEST, "ending")?);
        return Ok(plan);
    }
    Err(Failure::usage(
        "Option '[reset-offsets]' requires one of the following scenarios: [[to-offset], [shift-by], [to-datetime], \
         [by-duration], [to-earliest], [to-latest], [to-current], [from-file]]",
    ))
}

/// The offset of every partition at one end of its log, or at a time.
pub fn ends(client: &mut Client, scope: &BTreeSet<Partition>, end: i64, which: &str) -> Result<Offsets, Failure> {
    let found = list_offsets(client, scope, end)?;
    let mut plan = Offsets::new();
    for key in scope {
        match found.get(key) {
            Some(Ok(offset)) => plan.insert(key.clone(), *offset),
            Some(Err(failure)) => return Err(Failure::failed(failure.as_java())),
            None => {
                let partition = shown(key);
                return Err(Failure::usage(format!("Error getting {which} offset of topic partition: {partition}")));
            }
        };
    }
    Ok(plan)
}

/// Offsets outside the log become its nearest end.
fn within_log(client: &mut Client, wanted: Offsets) -> Result<Offsets, Failure> {
    let scope: BTreeSet<Partition> = wanted.keys().cloned().collect();
    let first = ends(client, &scope, EARLIEST, "starting")?;
    let last = ends(client, &scope, LATEST, "ending")?;
    let fit = |(key, offset): (Partition, i64)| {
        let (first, last) = (first[&key], last[&key]);
        let partition = shown(&key);
        if offset > last {
            eprintln!(
                "WARN New offset ({offset}) is higher than latest offset for topic partition {partition}. Value will be set to {last}"
            );
        } else if offset < first {
            eprintln!(
                "WARN New offset ({offset}) is lower than earliest offset for topic partition {partition}. Value will be set to {first}"
            );
        }
        (key, offset.min(last).max(first))
    };
    Ok(wanted.into_iter().map(fit).collect())
}

/// The first offset from a time on; the log end where there is none, which `told` says of the partition.
pub fn at_time(
    client: &mut Client,
    scope: &BTreeSet<Partition>,
    timestamp: i64,
    told: impl Fn(&Partition) -> String,
    out: &mut dyn Write,
) -> Result<Offsets, Failure> {
    let mut plan = ends(client, scope, timestamp, "by timestamp")?;
    let later: BTreeSet<Partition> =
        plan.iter().filter(|(_, offset)| **offset < 0).map(|(key, _)| key.clone()).collect();
    for partition in &later {
        writeln!(out, "{}", told(partition))?;
    }
    plan.extend(ends(client, &later, LATEST, "ending")?);
    Ok(plan)
}

fn falls_back((topic, partition): &Partition) -> String {
    format!("\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset.")
}

fn from_file(
    client: &mut Client,
    options: &Options,
    group: &str,
    path: &str,
    out: &mut dyn Write,
) -> Result<Offsets, Failure> {
    let csv = std::fs::read_to_string(path)
        .map_err(|_| Failure::failed(format!("java.nio.file.NoSuchFileException: {path}")))?;
    let mut plans = parse_plan(&csv, options.all("group"))?;
    match plans.remove(group) {
        Some(wanted) => within_log(client, wanted),
        None => {
            writeln!(out, "\nError: No reset plan for group {group} found")?;
            Ok(Offsets::new())
        }
    }
}

/// `topic,partition,offset` where one group is meant, `group,topic,partition,offset` for several.
fn parse_plan(csv: &str, groups: &[String]) -> Result<BTreeMap<String, Offsets>, Failure> {
    let mut plans: BTreeMap<String, Offsets> = BTreeMap::new();
    for line in csv.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(',').map(|field| field.trim_matches('"')).collect();
        let (group, topic, partition, offset) = match (&fields[..], groups) {
            ([topic, partition, offset], [group]) => (group.as_str(), *topic, *partition, *offset),
            ([group, topic, partition, offset], _) => (*group, *topic, *partition, *offset),
            _ => return Err(Failure::failed(format!("The reset plan has a line that cannot be read: {line}"))),
        };
        let (Ok(partition), Ok(offset)) = (partition.trim().parse(), offset.trim().parse()) else {
            return Err(Failure::failed(format!("The reset plan has a line that cannot be read: {line}")));
        };
        plans.entry(group.to_owned()).or_default().insert((topic.to_owned(), partition), offset);
    }
    Ok(plans)
}

/// Commits offsets for a group that has no members.
pub fn commit(client: &mut Client, group: &str, plan: &Offsets) -> Result<(), Failure> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for ((topic, partition), offset) in plan {
        let commit = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(StrBytes::default()));
        topics.entry(topic).or_default().push(commit);
    }
    let response = client.send_up_to(&Target::Group(group.to_owned()), 9, |_| {
        let topics = topics.iter().map(|(topic, partitions)| {
            let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic));
            topic.with_partitions(partitions.clone())
        });
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect())
    })?;
    let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.try_for_each(|partition| Failure::check(partition.error_code, None))
}

fn print(plans: &BTreeMap<String, Offsets>, out: &mut dyn Write) -> Result<(), Failure> {
    let group_width = plans.keys().map(String::len).max().unwrap_or(0).max(15);
    let topics = plans.values().flat_map(|plan| plan.keys().map(|(topic, _)| topic.len()));
    let topic_width = topics.max().unwrap_or(0).max(15);
    if !plans.is_empty() {
        write!(out, "\n{:<group_width$} {:<topic_width$} {:<10} NEW-OFFSET", "GROUP", "TOPIC", "PARTITION")?;
    }
    for (group, plan) in plans {
        for ((topic, partition), offset) in plan {
            write!(out, "\n{group:<group_width$} {topic:<topic_width$} {partition:<10} {offset}")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn export(options: &Options, plans: &BTreeMap<String, Offsets>, out: &mut dyn Write) -> Result<(), Failure> {
    let is_single = options.all("group").len() == 1;
    for (group, plan) in plans {
        for ((topic, partition), offset) in plan {
            if !is_single {
                write!(out, "{group},")?;
            }
            writeln!(out, "{topic},{partition},{offset}")?;
        }
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn plans_name_the_group_where_there_are_several() {
        let one = parse_plan("t,0,5\nt,1,6\n\n", &["g".to_owned()]).unwrap();
        assert_eq!(one["g"], Offsets::from([(("t".to_owned(), 0), 5), (("t".to_owned(), 1), 6)]));
        let two = parse_plan("a,t,0,5\nb,t,0,7\n", &["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(two["b"][&("t".to_owned(), 0)], 7);
        assert!(parse_plan("t,0\n", &["g".to_owned()]).is_err());
    }
}
