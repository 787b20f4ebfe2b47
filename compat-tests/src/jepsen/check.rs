//! Which promises a history breaks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::cycles;
use super::history::{Entry, History, Outcome, Poll, Source, ValueId};

/// Broken promises, by the names that Jepsen's Kafka tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One offset held two values.
    InconsistentOffset,
    /// One value lies at two offsets.
    Duplicate,
    /// G1a: a committed reader saw a record of a transaction that was aborted.
    AbortedRead,
    /// A committed reader saw a record before its commit was asked for.
    PrecommittedRead,
    /// G1c: transactions that have seen each other's records in a ring.
    CircularInformation,
    /// Committed at an offset that readers have passed without seeing it.
    LostWrite,
    /// Committed, and not there when everything was read at last.
    Unseen,
    /// Some records of a transaction were seen, others were not there at last.
    TornTransaction,
    /// Within one session a consumer went backwards.
    NonmonotonicPoll,
    /// Within one session a consumer passed over a record that others saw.
    PollSkip,
    /// A producer's later record of a key lies before an earlier one.
    NonmonotonicSend,
    /// A value that nobody wrote, or that was written to another key.
    Phantom,
    /// A group's offset is of a transaction that was aborted, or older than one that was committed.
    WrongGroupOffset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    pub kind: Kind,
    pub detail: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

/// Anomalies and how much was looked at, so that an empty history does not pass for a good one.
#[derive(Debug, Default)]
pub struct Report {
    pub anomalies: Vec<Anomaly>,
    pub committed: usize,
    pub aborted: usize,
    pub unknown: usize,
    /// Records that committed readers saw, each time counted.
    pub observed: usize,
    /// Different values seen.
    pub seen: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { anomalies, committed, aborted, unknown, observed, seen } = self;
        write!(
            f,
            "{committed} transactions committed, {aborted} aborted, {unknown} unknown; {seen} values seen, {observed} records read; {} anomalies",
            anomalies.len()
        )?;
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        anomalies.iter().for_each(|anomaly| *counts.entry(anomaly.kind).or_default() += 1);
        counts.iter().try_for_each(|(kind, count)| write!(f, "\n{kind:?}: {count}"))?;
        anomalies.iter().take(20).try_for_each(|anomaly| write!(f, "\n  {anomaly}"))
    }
}

/// Where a value was written.
struct Written<'a> {
    entry: usize,
    by: &'a Entry,
    key: u32,
}

struct Checker<'a> {
    history: &'a History,
    written: HashMap<ValueId, Written<'a>>,
    /// By key: what committed readers saw.
    visible: HashMap<u32, BTreeMap<i64, ValueId>>,
    seen: HashSet<ValueId>,
    anomalies: Vec<Anomaly>,
}

/// Checks a whole history.
pub fn check(history: &History) -> Report {
    let mut checker = Checker {
        history,
        written: HashMap::new(),
        visible: HashMap::new(),
        seen: HashSet::new(),
        anomalies: Vec::new(),
    };
    let mut report = Report::default();
    for (index, entry) in history.entries.iter().enumerate() {
        if entry.source == Source::Transaction {
            match entry.outcome {
                Outcome::Committed => report.committed += 1,
                Outcome::Aborted => report.aborted += 1,
                Outcome::Unknown => report.unknown += 1,
            }
        }
        for send in &entry.sends {
            checker.written.insert(send.value, Written { entry: index, by: entry, key: send.key });
        }
        if entry.source != Source::Raw {
            for poll in &entry.polls {
                report.observed += poll.records.len();
                let visible = checker.visible.entry(poll.key).or_default();
                for &(offset, value) in &poll.records {
                    visible.entry(offset).or_insert(value);
                    checker.seen.insert(value);
                }
            }
        }
    }
    report.seen = checker.seen.len();
    checker.offsets();
    checker.reads();
    checker.writes();
    checker.sessions();
    checker.sends();
    checker.circles();
    checker.groups();
    report.anomalies = checker.anomalies;
    report
}

impl Checker<'_> {
    fn found(&mut self, kind: Kind, detail: String) {
        self.anomalies.push(Anomaly { kind, detail });
    }

    fn name(&self, value: ValueId) -> &str {
        &self.history.values[value]
    }

    /// Offset to value is a function, and value to offset, too: over all acknowledgements and all reads.
    fn offsets(&mut self) {
        let history = self.history;
        let mut at: HashMap<(u32, i64), ValueId> = HashMap::new();
        let mut of: HashMap<ValueId, i64> = HashMap::new();
        let mut told: HashSet<(Kind, u32, i64, ValueId)> = HashSet::new();
        for entry in &history.entries {
            let sends = entry.sends.iter().filter_map(|send| Some((send.key, send.offset?, send.value)));
            let polls = entry
                .polls
                .iter()
                .flat_map(|poll| poll.records.iter().map(|&(offset, value)| (poll.key, offset, value)));
            for (key, offset, value) in sends.chain(polls) {
                let there = *at.entry((key, offset)).or_insert(value);
                if there != value && told.insert((Kind::InconsistentOffset, key, offset, value)) {
                    let (one, other) = (self.name(there).to_owned(), self.name(value).to_owned());
                    self.found(Kind::InconsistentOffset, format!("key {key} offset {offset}: {one} and {other}"));
                }
                let first = *of.entry(value).or_insert(offset);
                if first != offset && told.insert((Kind::Duplicate, key, first.min(offset), value)) {
                    let name = self.name(value).to_owned();
                    self.found(Kind::Duplicate, format!("key {key}: {name} at {first} and {offset}"));
                }
            }
        }
    }

    /// What committed readers saw was committed, and not before it was.
    fn reads(&mut self) {
        let history = self.history;
        let mut told = HashSet::new();
        for entry in history.entries.iter().filter(|entry| entry.source != Source::Raw) {
            for poll in &entry.polls {
                for &(offset, value) in &poll.records {
                    let name = || format!("key {} offset {offset}: {}", poll.key, history.values[value]);
                    let Some(written) = self.written.get(&value).filter(|written| written.key == poll.key) else {
                        if told.insert((Kind::Phantom, value)) {
                            self.found(Kind::Phantom, name());
                        }
                        continue;
                    };
                    let kind = match (written.by.outcome, written.by.commit_asked) {
                        (Outcome::Aborted, _) => Kind::AbortedRead,
                        (_, Some(asked)) if poll.done < asked => Kind::PrecommittedRead,
                        _ => continue,
                    };
                    let writer = written.by.process.clone();
                    if told.insert((kind, value)) {
                        self.found(kind, format!("{} of {writer}, read by {}", name(), entry.process));
                    }
                }
            }
        }
    }

    /// What was committed is there, whole.
    fn writes(&mut self) {
        let history = self.history;
        let read_to_the_end: HashSet<u32> = history
            .entries
            .iter()
            .filter(|entry| entry.source == Source::Final)
            .flat_map(|entry| entry.polls.iter().map(|poll| poll.key))
            .collect();
        let last_read: HashMap<u32, i64> =
            self.visible.iter().filter_map(|(key, values)| Some((*key, *values.last_key_value()?.0))).collect();
        for entry in history.transactions().filter(|entry| entry.outcome != Outcome::Aborted) {
            // One record that was seen proves the commit of the others.
            let proof = entry.sends.iter().find(|send| self.seen.contains(&send.value));
            if entry.outcome == Outcome::Unknown && proof.is_none() {
                continue;
            }
            let unseen: Vec<_> = entry.sends.iter().filter(|send| !self.seen.contains(&send.value)).collect();
            for send in unseen {
                let place = format!("key {} offset {:?}: {}", send.key, send.offset, self.name(send.value));
                let passed =
                    send.offset.is_some_and(|offset| last_read.get(&send.key).is_some_and(|last| *last > offset));
                if passed {
                    self.found(Kind::LostWrite, format!("{place} of {}", entry.process));
                } else if read_to_the_end.contains(&send.key) {
                    match proof.filter(|_| entry.outcome == Outcome::Unknown) {
                        Some(proof) => {
                            let proof = self.name(proof.value).to_owned();
                            self.found(
                                Kind::TornTransaction,
                                format!("{place} of {}, but {proof} was seen", entry.process),
                            );
                        }
                        None => self.found(Kind::Unseen, format!("{place} of {}", entry.process)),
                    }
                }
            }
        }
    }

    /// Within a session a consumer sees every record once, in order.
    fn sessions(&mut self) {
        let history = self.history;
        let ranks: HashMap<u32, HashMap<i64, usize>> = self
            .visible
            .iter()
            .map(|(key, values)| (*key, values.keys().enumerate().map(|(rank, offset)| (*offset, rank)).collect()))
            .collect();
        let mut last: HashMap<(&str, u64, u32), i64> = HashMap::new();
        for entry in history.entries.iter().filter(|entry| entry.source != Source::Raw) {
            for poll in &entry.polls {
                let session = (entry.process.as_str(), poll.session, poll.key);
                if entry.source == Source::Final && !last.contains_key(&session) {
                    self.begins_at_the_beginning(entry, poll);
                }
                for &(offset, _) in &poll.records {
                    if let Some(before) = last.insert(session, offset) {
                        let place = format!(
                            "{} session {} key {}: {before}, then {offset}",
                            entry.process, poll.session, poll.key
                        );
                        if offset <= before {
                            self.found(Kind::NonmonotonicPoll, place);
                        } else if ranks[&poll.key][&offset] != ranks[&poll.key][&before] + 1 {
                            let skipped = self.visible[&poll.key].range(before + 1..offset).next();
                            let skipped = skipped.map(|(offset, value)| format!("{} at {offset}", self.name(*value)));
                            self.found(
                                Kind::PollSkip,
                                format!("{place}, passing over {}", skipped.unwrap_or_default()),
                            );
                        }
                    }
                }
            }
        }
    }

    fn begins_at_the_beginning(&mut self, entry: &Entry, poll: &Poll) {
        let first = self.visible.get(&poll.key).and_then(|values| values.first_key_value()).map(|(offset, _)| *offset);
        if let (Some(first), Some(&(found, _))) = (first, poll.records.first())
            && first < found
        {
            let place = format!("{} key {}: begins with {found}, there is {first}", entry.process, poll.key);
            self.found(Kind::PollSkip, place);
        }
    }

    /// A process's acknowledged records of a key lie in the order in which it sent them.
    fn sends(&mut self) {
        let history = self.history;
        let mut last: HashMap<(&str, u32), i64> = HashMap::new();
        for entry in history.transactions() {
            for send in &entry.sends {
                let Some(offset) = send.offset else { continue };
                if let Some(before) = last.insert((entry.process.as_str(), send.key), offset)
                    && offset <= before
                {
                    let detail = format!(
                        "{} key {}: {} at {offset} after {before}",
                        entry.process,
                        send.key,
                        self.name(send.value)
                    );
                    self.found(Kind::NonmonotonicSend, detail);
                }
            }
        }
    }

    /// Nobody has, by way of others, seen what depends on himself.
    fn circles(&mut self) {
        let entries = &self.history.entries;
        let counts = |entry: &Entry| entry.source == Source::Transaction && entry.outcome != Outcome::Aborted;
        let mut edges = vec![Vec::new(); entries.len()];
        for (reader, entry) in entries.iter().enumerate().filter(|(_, entry)| counts(entry)) {
            let mut writers: HashSet<usize> = HashSet::new();
            for (_, value) in entry.polls.iter().flat_map(|poll| &poll.records) {
                if let Some(written) = self.written.get(value).filter(|written| counts(written.by)) {
                    writers.insert(written.entry);
                }
            }
            writers.into_iter().for_each(|writer| edges[writer].push(reader));
        }
        if let Some(circle) = cycles::find(&edges) {
            let who: Vec<String> = circle
                .iter()
                .map(|&index| {
                    let sends = entries[index].sends.iter().map(|send| self.name(send.value)).collect::<Vec<_>>();
                    format!("{} {sends:?}", entries[index].process)
                })
                .collect();
            self.found(Kind::CircularInformation, who.join(" -> "));
        }
    }

    /// The offset of a group is that of its last committed transaction, or of a later one whose outcome is unknown.
    fn groups(&mut self) {
        let history = self.history;
        let mut offsets: BTreeMap<&str, Vec<(i64, Outcome)>> = BTreeMap::new();
        for entry in history.transactions() {
            if let Some((group, n)) = &entry.offset {
                offsets.entry(group).or_default().push((*n, entry.outcome));
            }
        }
        for (group, found) in &history.group_offsets {
            let all = offsets.get(group.as_str()).map(Vec::as_slice).unwrap_or_default();
            let committed = all.iter().filter(|(_, outcome)| *outcome == Outcome::Committed).map(|(n, _)| *n).max();
            let wrong = match all.iter().find(|(n, _)| n == found) {
                Some((_, Outcome::Aborted)) => true,
                Some(_) => committed.is_some_and(|committed| *found < committed),
                // -1: there is none.
                None => committed.is_some() || *found >= 0,
            };
            if wrong {
                self.found(Kind::WrongGroupOffset, format!("{group} is at {found}, committed was {committed:?}"));
            }
        }
        let expected = offsets.iter().filter(|(_, all)| all.iter().any(|(_, outcome)| *outcome == Outcome::Committed));
        let missing: Vec<&str> =
            expected.map(|(group, _)| *group).filter(|group| !history.group_offsets.contains_key(*group)).collect();
        if !missing.is_empty() && !history.group_offsets.is_empty() {
            self.found(Kind::WrongGroupOffset, format!("nobody asked for the offsets of {missing:?}"));
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
