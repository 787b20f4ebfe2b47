//! What clients did and saw: one line of JSON per transaction.
//!
//! ```text
//! {"p":"java-0","f":"txn","type":"ok","commit":1700000000000000,"group":"g","n":7,
//!  "ops":[["s",2,"java-0-15",4711],["p",1,2,[[4700,"go-1-3"]],1699999999999000]]}
//! ```
//! `s`: key, value, offset (null when unknown). `p`: session of the consumer, key, records, and when it was done. `commit`:
//! when the commit was asked for (null: never). `type`: ok, fail (certainly not committed) or info (nobody knows). Times
//! are microseconds of one clock. `n` is the offset that the transaction commits for `group`. `f` is `txn`; `final` for the last reading
//! of everything; `raw` for a reading that also sees what was aborted; `offset` for what a group's offset is at last.

use std::collections::HashMap;

use serde_json::Value;

/// A value's place in [`History::values`].
pub type ValueId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Transaction,
    /// Reads all of a key, from the beginning to the end.
    Final,
    /// The same without regard to transactions.
    Raw,
}

#[derive(Debug, Clone)]
pub struct Send {
    pub key: u32,
    pub value: ValueId,
    pub offset: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Poll {
    pub session: u64,
    pub key: u32,
    pub records: Vec<(i64, ValueId)>,
    pub done: u64,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub process: String,
    pub source: Source,
    pub outcome: Outcome,
    pub commit_asked: Option<u64>,
    pub sends: Vec<Send>,
    pub polls: Vec<Poll>,
    /// The offset committed for a group.
    pub offset: Option<(String, i64)>,
}

#[derive(Debug, Default)]
pub struct History {
    pub entries: Vec<Entry>,
    /// Every value, by its id.
    pub values: Vec<String>,
    /// The offsets of groups at last.
    pub group_offsets: HashMap<String, i64>,
    ids: HashMap<String, ValueId>,
}

impl History {
    /// Adds the lines of one client, in the order in which it wrote them. A last line without an end is left out: its
    /// writer died over it.
    ///
    /// # Errors
    /// The line that cannot be read.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let value: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            self.add_entry(&value).ok_or_else(|| format!("not an entry: {line}"))?;
        }
        Ok(())
    }

    pub fn transactions(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.source == Source::Transaction)
    }

    fn add_entry(&mut self, line: &Value) -> Option<()> {
        let source = match line["f"].as_str()? {
            "txn" => Source::Transaction,
            "final" => Source::Final,
            "raw" => Source::Raw,
            "offset" => {
                self.group_offsets.insert(line["group"].as_str()?.to_owned(), line["n"].as_i64()?);
                return Some(());
            }
            _ => return None,
        };
        let outcome = match line["type"].as_str()? {
            "ok" => Outcome::Committed,
            "fail" => Outcome::Aborted,
            "info" => Outcome::Unknown,
            _ => return None,
        };
        let (mut sends, mut polls) = (Vec::new(), Vec::new());
        for op in line["ops"].as_array()? {
            match op[0].as_str()? {
                "s" => sends.push(Send {
                    key: u32::try_from(op[1].as_u64()?).ok()?,
                    value: self.id_of(op[2].as_str()?),
                    offset: op[3].as_i64(),
                }),
                "p" => {
                    let mut records = Vec::new();
                    for record in op[3].as_array()? {
                        records.push((record[0].as_i64()?, self.id_of(record[1].as_str()?)));
                    }
                    let key = u32::try_from(op[2].as_u64()?).ok()?;
                    polls.push(Poll { session: op[1].as_u64()?, key, records, done: op[4].as_u64()? });
                }
                _ => return None,
            }
        }
        let offset = line["group"].as_str().map(str::to_owned).zip(line["n"].as_i64());
        let process = line["p"].as_str()?.to_owned();
        let commit_asked = line["commit"].as_u64();
        self.entries.push(Entry { process, source, outcome, commit_asked, sends, polls, offset });
        Some(())
    }

    fn id_of(&mut self, value: &str) -> ValueId {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        let id = self.values.len();
        self.values.push(value.to_owned());
        self.ids.insert(value.to_owned(), id);
        id
    }
}
