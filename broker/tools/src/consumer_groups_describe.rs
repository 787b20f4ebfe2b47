//! The three views of `kafka-consumer-groups --describe`: offsets, members, state.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::Failure;
use super::admin::{LATEST, Partition, leaders, list_offsets, topics};
use super::client::Client;
use super::group_admin::{Committed, Group, Member, committed, describe};
use super::options::Options;

const MISSING: &str = "-";

/// Describes groups in the view that the options choose.
pub fn run(client: &mut Client, options: &Options, groups: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let groups: BTreeSet<&String> = groups.iter().collect();
    let described: Vec<Group> = groups.into_iter().map(|id| describe(client, id)).collect::<Result<_, _>>()?;
    let is_verbose = options.has("verbose");
    if options.has("members") {
        described.iter().try_for_each(|group| print_members(group, is_verbose, out))
    } else if options.has("state") {
        described.iter().try_for_each(|group| print_state(group, is_verbose, out))
    } else {
        let mut tables = Vec::new();
        for group in &described {
            tables.push(offset_rows(client, group)?);
        }
        described.iter().zip(tables).try_for_each(|(group, rows)| print_offsets(group, &rows, is_verbose, out))
    }
}

/// Says what is special about the group's state; false where there is nothing to print.
fn has_rows(group: &Group, rows: usize, out: &mut dyn Write) -> Result<bool, Failure> {
    match group.state.as_str() {
        "Dead" => writeln!(out, "\nError: Consumer group '{}' does not exist.", group.id)?,
        "Empty" => {
            out.flush()?;
            eprintln!("\nConsumer group '{}' has no active members.", group.id);
        }
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            out.flush()?;
            eprintln!("\nWarning: Consumer group '{}' is rebalancing.", group.id);
        }
        "Stable" => {}
        other => {
            return Err(Failure::failed(format!("Expected a valid consumer group state, but found '{other}'.")));
        }
    }
    Ok(group.state != "Dead" && rows > 0)
}

/// One line of the offsets view; absent values are printed as a dash.
#[derive(Default)]
struct OffsetRow {
    topic: Option<String>,
    partition: Option<i32>,
    leader_epoch: Option<i32>,
    offset: Option<i64>,
    log_end: Option<i64>,
    consumer: Option<String>,
    host: Option<String>,
    client: Option<String>,
}

fn offset_rows(client: &mut Client, group: &Group) -> Result<Vec<OffsetRow>, Failure> {
    let committed = committed(client, &group.id)?;
    let mut members: Vec<&Member> = group.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let mut assigned = BTreeSet::new();
    let mut rows = Vec::new();
    for member in members {
        assigned.extend(member.assignment.iter().cloned());
        for row in partition_rows(client, &member.assignment, &committed)? {
            rows.push(OffsetRow {
                consumer: Some(member.id.clone()),
                host: Some(member.host.clone()),
                client: Some(member.client_id.clone()),
                ..row
            });
        }
    }
    let rest: BTreeSet<Partition> = committed.keys().filter(|key| !assigned.contains(*key)).cloned().collect();
    rows.extend(partition_rows(client, &rest, &committed)?);
    Ok(rows)
}

fn partition_rows(
    client: &mut Client,
    partitions: &BTreeSet<Partition>,
    committed: &BTreeMap<Partition, Committed>,
) -> Result<Vec<OffsetRow>, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let names: BTreeSet<String> = partitions.iter().map(|(topic, _)| topic.clone()).collect();
    let leaders = leaders(&topics(client, Some(&names))?);
    let led: Vec<&Partition> =
        partitions.iter().filter(|key| leaders.get(*key).is_some_and(|leader| *leader >= 0)).collect();
    let ends = list_offsets(client, led, LATEST)?;
    let mut rows = Vec::new();
    for key in partitions {
        let log_end = match ends.get(key) {
            Some(Ok(end)) => Some(*end),
            Some(Err(failure)) => return Err(Failure::failed(failure.as_java())),
            None => None,
        };
        let known = committed.get(key);
        rows.push(OffsetRow {
            topic: Some(key.0.clone()),
            partition: Some(key.1),
            leader_epoch: known.and_then(|known| known.leader_epoch),
            offset: known.map(|known| known.offset),
            log_end,
            ..OffsetRow::default()
        });
    }
    Ok(rows)
}

fn print_offsets(group: &Group, rows: &[OffsetRow], is_verbose: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if !has_rows(group, rows.len(), out)? {
        return Ok(());
    }
    let mut table: Vec<Vec<String>> = vec![
        ["GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"]
            .into_iter()
            .chain(["CONSUMER-ID", "HOST", "CLIENT-ID"])
            .map(str::to_owned)
            .collect(),
    ];
    for row in rows {
        let lag = row.offset.zip(row.log_end).map(|(offset, end)| end - offset);
        table.push(vec![
            group.id.clone(),
            or_dash(row.topic.as_ref()),
            or_dash(row.partition),
            or_dash(row.leader_epoch),
            or_dash(row.offset),
            or_dash(row.log_end),
            or_dash(lag),
            or_dash(row.consumer.as_ref()),
            or_dash(row.host.as_ref()),
            or_dash(row.client.as_ref()),
        ]);
    }
    // Columns are at least so wide; those of 0 are not padded. The names among them grow with their values.
    let mut widths = [15, 15, 10, 15, 15, 15, 15, 15, 15, 0];
    for column in [0, 1, 7, 8] {
        let longest = table.iter().skip(1).map(|line| line[column].len()).max().unwrap_or(0);
        widths[column] = widths[column].max(longest);
    }
    for line in table {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .enumerate()
            .filter(|(column, _)| is_verbose || *column != 3)
            .map(|(_, (cell, width))| format!("{cell:<width$}"))
            .collect();
        write!(out, "\n{}", cells.join(" "))?;
    }
    writeln!(out)?;
    Ok(())
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |value| value.to_string())
}

/// `orders:0,1;cars:2`.
fn shown_assignment(partitions: &BTreeSet<Partition>) -> String {
    if partitions.is_empty() {
        return MISSING.to_owned();
    }
    let topics = super::admin::by_topic(partitions);
    let topic = |(name, partitions): (String, Vec<i32>)| {
        let list: Vec<String> = partitions.iter().map(i32::to_string).collect();
        format!("{name}:{}", list.join(","))
    };
    topics.into_iter().map(topic).collect::<Vec<_>>().join(";")
}

fn print_members(group: &Group, is_verbose: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let members: &[Member] = if has_rows(group, group.members.len(), out)? { &group.members } else { &[] };
    let widest =
        |least: usize, field: &dyn Fn(&Member) -> usize| members.iter().map(field).max().unwrap_or(0).max(least);
    let group_width = if members.is_empty() { 15 } else { group.id.len().max(15) };
    let id_width = widest(15, &|member| member.id.len());
    let instance_width = widest(17, &|member| member.instance_id.as_ref().map_or(0, String::len));
    let host_width = widest(15, &|member| member.host.len());
    let client_width = widest(15, &|member| member.client_id.len());
    let current_width = widest(20, &|member| shown_assignment(&member.assignment).len());
    let target_width = widest(20, &|member| shown_assignment(&member.target).len());
    let has_instances = members.iter().any(|member| member.instance_id.as_ref().is_some_and(|id| !id.is_empty()));
    let is_migrating = members.iter().any(|member| member.is_upgraded == Some(true))
        && members.iter().any(|member| member.is_upgraded == Some(false));

    let line = |cells: [&str; 6], details: [&str; 5], out: &mut dyn Write| -> Result<(), Failure> {
        let [group, id, instance, host, client, count] = cells;
        write!(out, "{group:<group_width$} {id:<id_width$} ")?;
        if has_instances {
            write!(out, "{instance:<instance_width$} ")?;
        }
        write!(out, "{host:<host_width$} {client:<client_width$} {count:<15} ")?;
        if is_verbose {
            let [epoch, current, target_epoch, target, upgraded] = details;
            write!(out, "{epoch:<15} {current:<current_width$} {target_epoch:<15} {target:<target_width$}")?;
            if is_migrating {
                write!(out, " {upgraded}")?;
            }
        }
        writeln!(out)?;
        Ok(())
    };
    writeln!(out)?;
    line(
        ["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"],
        ["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT", "UPGRADED"],
        out,
    )?;
    for member in members {
        line(
            [
                &group.id,
                &member.id,
                member.instance_id.as_deref().unwrap_or_default(),
                &member.host,
                &member.client_id,
                &member.assignment.len().to_string(),
            ],
            [
                &or_dash(member.epoch),
                &shown_assignment(&member.assignment),
                &or_dash(group.assignment_epoch),
                &shown_assignment(&member.target),
                &or_dash(member.is_upgraded),
            ],
            out,
        )?;
    }
    Ok(())
}

fn print_state(group: &Group, is_verbose: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if !has_rows(group, 1, out)? {
        return Ok(());
    }
    let (id, host, port) = &group.coordinator;
    let coordinator = format!("{host}:{port}  ({id})");
    let assignor = if group.assignor.is_empty() { MISSING } else { &group.assignor };
    let (group_width, coordinator_width) = (group.id.len().max(15), coordinator.len().max(25));
    let members = group.members.len().to_string();
    let (epoch, assignment_epoch) = (or_dash(group.epoch), or_dash(group.assignment_epoch));
    let titles = [
        "GROUP",
        "COORDINATOR (ID)",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "GROUP-EPOCH",
        "TARGET-ASSIGNMENT-EPOCH",
        "#MEMBERS",
    ];
    let values = [&*group.id, &coordinator, assignor, &group.state, &epoch, &assignment_epoch, &members];
    for [group, coordinator, assignor, state, epoch, assignment_epoch, members] in [titles, values] {
        write!(out, "\n{group:<group_width$} {coordinator:<coordinator_width$} {assignor:<20} {state:<20} ")?;
        if is_verbose {
            write!(out, "{epoch:<15} {assignment_epoch:<25} ")?;
        }
        write!(out, "{members}")?;
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_offsets_view_pads_as_kafkas_does() {
        let group = Group { id: "g".into(), state: "Stable".into(), ..Group::default() };
        let row = OffsetRow {
            topic: Some("t".into()),
            partition: Some(0),
            offset: Some(3),
            log_end: Some(5),
            ..OffsetRow::default()
        };
        let mut out = Vec::new();
        print_offsets(&group, &[row], false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     \
             HOST            CLIENT-ID"
        );
        assert_eq!(
            lines[2],
            "g               t               0          3               5               2               -               \
             -               -"
        );
    }

    #[test]
    fn assignments_are_grouped_by_topic() {
        let partitions = BTreeSet::from([("b".to_owned(), 1), ("a".to_owned(), 2), ("a".to_owned(), 0)]);
        assert_eq!(shown_assignment(&partitions), "a:0,2;b:1");
        assert_eq!(shown_assignment(&BTreeSet::new()), "-");
    }
}
