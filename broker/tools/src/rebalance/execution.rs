//! Moves at work: as many at once as brokers may bear, each next one as soon as one is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cluster::{Sizes, is_passing, persistently, sizes_on};
use super::plan::Move;
use super::progress::{Done, Progress};
use crate::Failure;
use crate::admin::{Partition, shown};
use crate::client::Client;
use crate::reassignment_replicas::{moving, try_reassign};

/// Between two questions whether something is done: short ones while much is, longer ones while little is.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(800);
/// New orders of replicas, which copy nothing, in one request.
const ORDERS_MAX: usize = 500;

/// What is under way and what is to come.
pub struct Execution {
    waiting: Vec<Move>,
    under_way: BTreeMap<Partition, Move>,
    /// Partitions in flight that a broker may give to or take from.
    concurrent: usize,
    done: Done,
}

impl Execution {
    /// Of a plan. Large ones go first, that the last ones are short.
    pub fn of(moves: &[Move], concurrent: usize) -> Self {
        let mut waiting = moves.to_vec();
        // Taken from the end.
        waiting.sort_by_key(Move::bytes_to_copy);
        let done = Done {
            bytes_total: moves.iter().map(Move::bytes_to_copy).sum(),
            partitions_total: moves.len(),
            ..Done::default()
        };
        Self { waiting, under_way: BTreeMap::new(), concurrent, done }
    }

    /// Of reassignments that somebody has begun.
    pub fn begun(moves: Vec<Move>) -> Self {
        let mut execution = Self::of(&moves, 0);
        execution.waiting.clear();
        execution.under_way = moves.into_iter().map(|step| (name(&step), step)).collect();
        execution
    }

    /// Until nothing is left to do.
    pub fn run(mut self, client: &mut Client, progress: &mut Progress) -> Result<(), Failure> {
        let mut gone = Vec::new();
        let mut pause = PAUSE_MIN;
        loop {
            gone.extend(self.start(client)?);
            let wanted: BTreeSet<Partition> = self.under_way.keys().cloned().collect();
            let left = match wanted.is_empty() {
                true => BTreeMap::new(),
                false => persistently(client, |client| moving(client, Some(&wanted)))?,
            };
            let ended: Vec<Partition> = wanted.into_iter().filter(|partition| !left.contains_key(partition)).collect();
            for step in ended.iter().filter_map(|partition| self.under_way.remove(partition)) {
                self.done.partitions += 1;
                self.done.bytes += step.bytes_to_copy();
            }
            if self.waiting.is_empty() && self.under_way.is_empty() {
                break;
            }
            if progress.is_due() {
                let done = self.looked_at(client);
                progress.tell(&done, false)?;
                if progress.is_stalled() {
                    progress.say(&self.why_stalled(client))?;
                }
            }
            pause = if ended.is_empty() { (2 * pause).min(PAUSE_MAX) } else { PAUSE_MIN };
            std::thread::sleep(pause);
        }
        progress.tell(&Done { under_way: 0, ..self.done }, true)?;
        if !gone.is_empty() {
            progress.say(&format!("Deleted meanwhile: {}", gone.iter().map(shown).collect::<Vec<_>>().join(", ")))?;
        }
        Ok(())
    }

    /// Starts what brokers may bear. Gives the partitions that are no more.
    fn start(&mut self, client: &mut Client) -> Result<Vec<Partition>, Failure> {
        let chosen = self.choose();
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: BTreeMap<Partition, Option<Vec<i32>>> =
            chosen.iter().map(|step| (name(step), Some(step.to.clone()))).collect();
        let refusals = persistently(client, |client| try_reassign(client, wanted.clone(), false))?;
        let mut gone = Vec::new();
        for step in chosen {
            match refusals.get(&name(&step)) {
                None => drop(self.under_way.insert(name(&step), step)),
                Some(failure) if failure.code == Some(ottla_protocol::ErrorCode::UnknownTopicOrPartition) => {
                    self.done.partitions_total -= 1;
                    self.done.bytes_total -= step.bytes_to_copy();
                    gone.push(name(&step));
                }
                Some(failure) if is_passing(failure) => self.waiting.push(step),
                Some(failure) => {
                    let (partition, why) = (shown(&name(&step)), &failure.message);
                    return Err(Failure::failed(format!("{partition} cannot be moved: {why}")));
                }
            }
        }
        Ok(gone)
    }

    fn choose(&mut self) -> Vec<Move> {
        let mut busy: BTreeMap<i32, usize> = BTreeMap::new();
        for id in self.under_way.values().flat_map(involved) {
            *busy.entry(id).or_default() += 1;
        }
        let mut orders = 0;
        let mut chosen = Vec::new();
        for at in (0..self.waiting.len()).rev() {
            let step = &self.waiting[at];
            let brokers = involved(step);
            if brokers.is_empty() {
                orders += 1;
                if orders > ORDERS_MAX {
                    continue;
                }
            } else if brokers.iter().any(|id| busy.get(id).copied().unwrap_or(0) >= self.concurrent) {
                continue;
            }
            for id in brokers {
                *busy.entry(id).or_default() += 1;
            }
            chosen.push(self.waiting.remove(at));
        }
        chosen
    }

    /// With what has come of the partitions under way.
    fn looked_at(&self, client: &mut Client) -> Done {
        let mut takers: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
        for step in self.under_way.values() {
            step.adding().for_each(|broker| takers.entry(broker).or_default().push(name(step)));
        }
        let look = |(broker, partitions): (i32, Vec<Partition>)| (broker, sizes_on(client, broker, &partitions));
        let sizes: BTreeMap<i32, Sizes> = takers.into_iter().map(look).collect();
        let size = |step: &Move, broker: i32| {
            let found = sizes.get(&broker).and_then(|sizes| sizes.get(&name(step)));
            found.copied().unwrap_or(0).min(step.bytes)
        };
        let partly: u64 =
            self.under_way.values().map(|step| step.adding().map(|broker| size(step, broker)).sum::<u64>()).sum();
        Done { bytes: self.done.bytes + partly, under_way: self.under_way.len(), ..self.done }
    }

    fn why_stalled(&self, client: &mut Client) -> String {
        client.refresh().ok();
        let takers: BTreeSet<i32> = self.under_way.values().flat_map(Move::adding).collect();
        let down: Vec<String> =
            takers.iter().filter(|id| !client.brokers().contains_key(id)).map(i32::to_string).collect();
        if down.is_empty() {
            "Nothing was completed or copied for a minute. If there is a throttle, it may be below what is produced: run this \
             command again with a larger one."
                .to_owned()
        } else {
            format!(
                "Nothing moves for a minute: broker {} is down, and what it is to get waits for it.",
                down.join(", ")
            )
        }
    }
}

fn name(step: &Move) -> Partition {
    (step.topic.clone(), step.partition)
}

/// Brokers that a move keeps busy: those who take, and the first that has it, who most likely leads.
fn involved(step: &Move) -> Vec<i32> {
    let takers: Vec<i32> = step.adding().collect();
    if takers.is_empty() { takers } else { step.from.first().copied().into_iter().chain(takers).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(partition: i32, from: &[i32], to: &[i32], bytes: u64) -> Move {
        Move { topic: "a".into(), partition, from: from.to_vec(), to: to.to_vec(), bytes }
    }

    #[test]
    fn a_broker_bears_so_many_at_once_the_large_ones_first() {
        let moves = [
            step(0, &[1, 2], &[4, 2], 10),
            step(1, &[2, 3], &[2, 4], 30),
            step(2, &[3, 1], &[3, 4], 20),
            step(3, &[1, 3], &[3, 1], 900),
            step(4, &[1, 3], &[5, 3], 5),
        ];
        let mut execution = Execution::of(&moves, 2);
        let chosen: Vec<i32> = execution.choose().iter().map(|step| step.partition).collect();
        // Broker 4 takes two; what copies nothing and what goes elsewhere is not held up.
        assert_eq!(chosen, [1, 2, 4, 3]);
        assert_eq!(execution.waiting.len(), 1);
        assert_eq!(execution.done.bytes_total, 65);
    }
}
