//! `ottla rebalance`: gives every broker its share of replicas, bytes and leaderships, or takes everything off brokers that are to
//! go. Kafka has no such tool (Cruise Control is one beside it); this one speaks Kafka's plain APIs to any Kafka cluster.
//!
//! Nothing is kept on disk: the cluster itself knows what is under way. So a run that was interrupted is finished by the next
//! one: it waits for the reassignments it finds, and plans the rest from what is then there.

mod cluster;
mod cordon;
mod execution;
mod plan;
mod progress;
mod report;
mod throttles;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use ottla_protocol::ErrorCode;

use crate::admin::{Partition, by_topic, message, millis, shown, topic_name};
use crate::client::{Client, Target};
use crate::options::{Kind, Options, Spec, flag, value};
use crate::reassignment_plan as file;
use crate::reassignment_replicas::{Moving, moving, try_reassign};
use crate::{Failure, Tool, properties};

use cluster::{Cluster, persistently};
use execution::Execution;
use plan::{Impossible, Move};
use progress::Progress;

pub const TOOL: Tool = Tool {
    name: "rebalance",
    about: "Gives every broker its share of replicas, bytes and leaders (after brokers have joined), or empties brokers that are \
            to leave (--drain). Interrupted, it goes on where it was when it is run again.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server to connect to",
        "REQUIRED: The server(s) to connect to, of any Kafka cluster.",
    ),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    value(
        &["concurrent"],
        Kind::Int,
        "partitions",
        "How many partitions at once a broker may give or take. (default: 5)",
    ),
    value(&["drain"], Kind::Text, "broker ids", "Move everything off these brokers, as 4,5; nothing new is put there."),
    flag(&["dry-run"], "Show what would be moved, and move nothing."),
    flag(&["help"], "Print usage information."),
    flag(
        &["json"],
        "With --dry-run: print a file for kafka-reassign-partitions --reassignment-json-file, and nothing else.",
    ),
    value(
        &["throttle"],
        Kind::Long,
        "bytes/sec",
        "Bound of what each broker gives and takes for the moves. (default: none)",
    ),
];

const TIMEOUT: Duration = Duration::from_secs(30);
const CONCURRENT: i32 = 5;
/// How long a partition may be without a leader before it is said to be offline.
const ELECTION: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
const PREFERRED: i8 = 0;

/// What the command line asks for.
struct Wish {
    bootstrap: String,
    drained: BTreeSet<i32>,
    concurrent: usize,
    throttle: Option<i64>,
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let wish = read(options)?;
    let config = properties::of_connection(options.text("command-config"))?;
    let mut client = Client::connect(&wish.bootstrap, TIMEOUT, properties::client_id(&config, properties::ADMIN))?;
    if options.has("dry-run") {
        dry_run(&mut client, &wish, options.has("json"), out)?;
    } else {
        Run { client, wish, moved: BTreeSet::new(), cordoned: BTreeSet::new() }.run(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(options: &Options) -> Result<Wish, Failure> {
    if let Some(word) = options.positional.first() {
        return Err(Failure::usage(format!("{word} is not an option.")));
    }
    options.refuse_without("json", &["dry-run"])?;
    let ids = options.text("drain").unwrap_or_default().split(',').map(str::trim).filter(|id| !id.is_empty());
    let drained: BTreeSet<i32> = ids
        .map(|id| id.parse().map_err(|_| Failure::usage(format!("--drain takes broker ids, and {id} is none."))))
        .collect::<Result<_, _>>()?;
    if options.has("drain") && drained.is_empty() {
        return Err(Failure::usage("--drain takes broker ids."));
    }
    let concurrent: i32 = options.number("concurrent").unwrap_or(CONCURRENT);
    let throttle = options.number("throttle");
    if concurrent <= 0 || throttle.is_some_and(|rate: i64| rate <= 0) {
        return Err(Failure::usage("--concurrent and --throttle take numbers above 0."));
    }
    let concurrent = usize::try_from(concurrent).unwrap_or(usize::MAX);
    Ok(Wish { bootstrap: options.required("bootstrap-server")?.to_owned(), drained, concurrent, throttle })
}

fn dry_run(client: &mut Client, wish: &Wish, is_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let (cluster, moves) = planned(client, &wish.drained, false)?;
    if is_json {
        let partitions = moves.iter().map(|step| ((step.topic.clone(), step.partition), step.to.clone())).collect();
        writeln!(out, "{}", file::write(&partitions, &BTreeMap::new()))?;
        return Ok(());
    }
    let under_way = moving(client, None)?.len();
    if under_way > 0 {
        writeln!(out, "{under_way} reassignment(s) are under way; the plan takes them as done.")?;
    }
    report::closed(&cluster, &wish.drained, out)?;
    report::moves(&moves, out)?;
    report::shares(&cluster, &moves, out)?;
    report::summary(&moves, out)?;
    refuse_overfilled(&cluster, &moves)
}

fn refuse_overfilled(cluster: &Cluster, moves: &[Move]) -> Result<(), Failure> {
    let Some((id, more, room)) = cluster::overfilled(cluster, moves) else { return Ok(()) };
    let (more, room) = (progress::human(more), progress::human(room));
    Err(Failure::failed(format!("Broker {id} would get {more} more than it has, and {room} are free on its disks.")))
}

/// The cluster as it is, and the moves that are still to do.
fn planned(client: &mut Client, drained: &BTreeSet<i32>, is_begun: bool) -> Result<(Cluster, Vec<Move>), Failure> {
    let since = Instant::now();
    loop {
        let cluster = cluster::read(client)?;
        let drained = still_there(&cluster, drained, is_begun);
        match plan::plan(&cluster.brokers, &cluster.partitions, &drained) {
            Ok(moves) => return Ok((cluster, moves)),
            // It may only be between two leaders.
            Err(Impossible::Offline { .. }) if since.elapsed() < ELECTION => std::thread::sleep(PAUSE),
            Err(impossible) => return Err(Failure::failed(impossible.to_string())),
        }
    }
}

/// The drained brokers, without those that are empty and no brokers any more: one that was unregistered too early is known by its
/// replicas only, until the last of them has left. Who was never there is left in, to be refused.
fn still_there(cluster: &Cluster, drained: &BTreeSet<i32>, is_begun: bool) -> BTreeSet<i32> {
    let known = plan::known(&cluster.brokers, &cluster.partitions);
    let is_gone = |id: &i32| !known.contains(id) && (is_begun || cluster.left.contains(id));
    drained.iter().copied().filter(|id| !is_gone(id)).collect()
}

/// One run of the command.
struct Run {
    client: Client,
    wish: Wish,
    moved: BTreeSet<Partition>,
    cordoned: BTreeSet<i32>,
}

impl Run {
    fn run(mut self, out: &mut dyn Write) -> Result<(), Failure> {
        // What cannot be is refused before anything is changed.
        let (cluster, moves) = planned(&mut self.client, &self.wish.drained, false)?;
        refuse_overfilled(&cluster, &moves)?;
        if let Err(failure) = self.work(out) {
            out.flush()?;
            let left = moving(&mut self.client, None)?.len();
            if left == 0 {
                self.clear_throttles(out)?;
                return Err(failure);
            }
            let message = failure.message;
            return Err(Failure::failed(format!(
                "{message}\n{left} reassignment(s) go on. The same command waits for them, does the rest and removes throttles."
            )));
        }
        self.clear_throttles(out)?;
        let elected = self.elect()?;
        if elected > 0 {
            writeln!(out, "Leadership of {elected} partition(s) went to the preferred replica.")?;
        }
        self.check(out)
    }

    fn work(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        self.take_over_throttles(out)?;
        for broker in self.wish.drained.clone() {
            // One that is down gets nothing anyway.
            if !self.client.brokers().contains_key(&broker) {
                continue;
            }
            if cordon::cordon(&mut self.client, broker)? {
                self.cordoned.insert(broker);
            } else {
                writeln!(
                    out,
                    "Broker {broker} cannot be cordoned by this version of Kafka: what is created there meanwhile is moved away, too."
                )?;
            }
        }
        if !self.cordoned.is_empty() {
            let ids = report::ids(&self.cordoned);
            writeln!(out, "Broker {ids} is cordoned ({}=*): no new replicas are placed there.", cordon::KEY)?;
        }
        self.finish_what_was_begun(out)?;
        let mut round = 0;
        loop {
            let (cluster, moves) = planned(&mut self.client, &self.wish.drained, true)?;
            let is_drained =
                !cluster.partitions.iter().flat_map(|p| &p.replicas).any(|id| self.wish.drained.contains(id));
            if round == 0 {
                report::closed(&cluster, &self.wish.drained, out)?;
            }
            // A second round is only for what was placed on a drained broker meanwhile: sizes change under load, and who
            // follows each change never ends.
            if moves.is_empty() || (round > 0 && is_drained) {
                if round == 0 {
                    writeln!(out, "Every broker has its share: there is nothing to move.")?;
                }
                return Ok(());
            }
            report::shares(&cluster, &moves, out)?;
            report::summary(&moves, out)?;
            writeln!(
                out,
                "It may be interrupted: what is under way then goes on by itself, and the same command does the rest (throttles \
                 stay until then)."
            )?;
            out.flush()?;
            if let Some(rate) = self.wish.throttle {
                throttles::set(&mut self.client, &moves, rate)?;
            }
            self.moved.extend(moves.iter().map(|step| (step.topic.clone(), step.partition)));
            Execution::of(&moves, self.wish.concurrent).run(&mut self.client, &mut Progress::new(out))?;
            self.check_moves(&moves)?;
            round += 1;
        }
    }

    /// The throttles of an interrupted run go, or get the rate of this one.
    fn take_over_throttles(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.wish.throttle {
            None => self.clear_throttles(out),
            Some(rate) if !throttles::find(&mut self.client)?.is_empty() => {
                throttles::set_rates(&mut self.client, rate)
            }
            Some(_) => Ok(()),
        }
    }

    fn clear_throttles(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let found = throttles::find(&mut self.client)?;
        throttles::clear(&mut self.client, &found)?;
        if !found.is_empty() {
            let (topics, brokers) = (found.topics.len(), found.brokers.len());
            writeln!(out, "Throttles of {topics} topic(s) and {brokers} broker(s) were removed.")?;
        }
        Ok(())
    }

    /// Waits for reassignments that are under way, whoever began them. Those to a drained broker are taken back.
    fn finish_what_was_begun(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        let mut begun = persistently(&mut self.client, |client| moving(client, None))?;
        let is_vain = |moving: &Moving| moving.adding.iter().any(|id| self.wish.drained.contains(id));
        let vain: BTreeMap<Partition, Option<Vec<i32>>> =
            begun.iter().filter(|(_, moving)| is_vain(moving)).map(|(name, _)| (name.clone(), None)).collect();
        if !vain.is_empty() {
            // Refused are those that have just been completed.
            persistently(&mut self.client, |client| try_reassign(client, vain.clone(), false))?;
            writeln!(out, "{} reassignment(s) to brokers that are drained were taken back.", vain.len())?;
            begun.retain(|name, _| !vain.contains_key(name));
        }
        if begun.is_empty() {
            return Ok(());
        }
        writeln!(out, "{} reassignment(s) are under way and waited for.", begun.len())?;
        out.flush()?;
        let cluster = cluster::read(&mut self.client)?;
        let sizes: BTreeMap<(&str, i32), u64> =
            cluster.partitions.iter().map(|p| ((p.topic.as_str(), p.index), p.bytes)).collect();
        let moves = begun.into_iter().map(|((topic, partition), moving)| Move {
            from: moving.replicas.iter().copied().filter(|id| !moving.adding.contains(id)).collect(),
            to: cluster::target(&moving),
            bytes: sizes.get(&(topic.as_str(), partition)).copied().unwrap_or(0),
            topic,
            partition,
        });
        let moves: Vec<Move> = moves.collect();
        self.moved.extend(moves.iter().map(|step| (step.topic.clone(), step.partition)));
        Execution::begun(moves).run(&mut self.client, &mut Progress::new(out))
    }

    /// Somebody may have cancelled or changed what was under way.
    fn check_moves(&mut self, moves: &[Move]) -> Result<(), Failure> {
        let cluster = cluster::read(&mut self.client)?;
        let are: BTreeMap<(&str, i32), &Vec<i32>> =
            cluster.partitions.iter().map(|p| ((p.topic.as_str(), p.index), &p.replicas)).collect();
        let is_other = |step: &&Move| are.get(&(step.topic.as_str(), step.partition)).is_some_and(|is| **is != step.to);
        let other: Vec<String> =
            moves.iter().filter(is_other).map(|step| shown(&(step.topic.clone(), step.partition))).collect();
        if other.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "{} partition(s) have other replicas than was asked for, so somebody else has cancelled or changed their \
             reassignment: {}. Run the command again to plan anew.",
            other.len(),
            other.join(", ")
        )))
    }

    /// First replicas that are in sync and do not lead are elected: what was moved, and what else the plan counts upon.
    fn elect(&mut self) -> Result<usize, Failure> {
        let cluster = cluster::read(&mut self.client)?;
        let needs =
            |leads: &cluster::Leads| leads.leader != leads.preferred && leads.in_sync.contains(&leads.preferred);
        let needy: BTreeSet<Partition> =
            cluster.leads.iter().filter(|(_, leads)| needs(leads)).map(|(name, _)| name.clone()).collect();
        if needy.is_empty() {
            return Ok(0);
        }
        let topic = |(name, partitions): (String, Vec<i32>)| {
            TopicPartitions::default().with_topic(topic_name(&name)).with_partitions(partitions)
        };
        let asked: Vec<TopicPartitions> = by_topic(&needy).into_iter().map(topic).collect();
        let response = persistently(&mut self.client, |client| {
            let response = client.send_with(&Target::Controller, |version| {
                let request = ElectLeadersRequest::default()
                    .with_topic_partitions(Some(asked.clone()))
                    .with_timeout_ms(millis(TIMEOUT));
                if version >= 1 { request.with_election_type(PREFERRED) } else { request }
            })?;
            Failure::check(response.error_code, None)?;
            Ok(response)
        })?;
        let mut elected = 0;
        for topic in response.replica_election_results {
            for result in topic.partition_result {
                let partition = (topic.topic.to_string(), result.partition_id);
                match Failure::check(result.error_code, message(result.error_message.as_ref())) {
                    Ok(()) => elected += 1,
                    Err(failure) if failure.code == Some(ErrorCode::ElectionNotNeeded) => {}
                    // Somebody else leads what this run did not touch: not its business.
                    Err(_) if !self.moved.contains(&partition) => {}
                    Err(failure) => {
                        let name = shown(&partition);
                        return Err(Failure::failed(format!(
                            "{name} was moved, and its preferred replica could not be elected: {}",
                            failure.message
                        )));
                    }
                }
            }
        }
        Ok(elected)
    }

    /// The last lines: what is done, and what is left to the operator.
    fn check(&mut self, out: &mut dyn Write) -> Result<(), Failure> {
        if self.wish.drained.is_empty() {
            writeln!(out, "Done.")?;
            return Ok(());
        }
        let voters = report::voters(&mut self.client);
        let unregistered = cluster::unregistered(&mut self.client, &self.wish.drained)?;
        report::unregistered(&unregistered, out)?;
        let registered = &self.wish.drained - &unregistered;
        report::what_is_left(&self.wish.bootstrap, &registered, &voters, &self.cordoned, out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wish(line: &str) -> Result<Wish, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let options = Options::parse(SPECS, &words, false).map_err(|failure| failure.message)?;
        read(&options).map_err(|failure| failure.message)
    }

    #[test]
    fn a_broker_without_registration_is_drained_until_its_last_replica_has_left() {
        let partition =
            plan::Partition { topic: "a".into(), index: 0, replicas: vec![1, 7], bytes: 0, is_online: true };
        let mut cluster = Cluster {
            brokers: vec![plan::Broker { id: 1, rack: None, is_open: true }],
            fenced: BTreeSet::new(),
            cordoned: BTreeSet::new(),
            partitions: vec![partition],
            left: BTreeSet::new(),
            leads: BTreeMap::new(),
            room: BTreeMap::new(),
        };
        let drained = BTreeSet::from([7]);
        assert_eq!(still_there(&cluster, &drained, false), drained);
        assert_eq!(still_there(&cluster, &drained, true), drained);
        cluster.partitions[0].replicas = vec![1, 2];
        assert_eq!(still_there(&cluster, &drained, true), BTreeSet::new(), "its last replica has left");
        assert_eq!(still_there(&cluster, &drained, false), drained, "nothing is known of it, which is refused");
        // An interrupted run left it to the reassignments that are under way.
        cluster.left.insert(7);
        assert_eq!(still_there(&cluster, &drained, false), BTreeSet::new());
    }

    #[test]
    fn the_line_is_read() {
        let given = wish("--bootstrap-server a:1 --drain 4,5 --concurrent 2 --throttle 1000").unwrap();
        assert_eq!((given.drained, given.concurrent, given.throttle), (BTreeSet::from([4, 5]), 2, Some(1000)));
        assert_eq!(wish("--bootstrap-server a:1").unwrap().concurrent, 5);
        let told = |line: &str| wish(line).err().unwrap();
        assert!(told("--drain 4").contains("bootstrap-server"));
        assert!(told("--bootstrap-server a:1 --drain x").contains("x is none"));
        assert!(told("--bootstrap-server a:1 --drain ,").contains("broker ids"));
        assert!(told("--bootstrap-server a:1 --concurrent 0").contains("above 0"));
        assert!(told("--bootstrap-server a:1 --concurrent -1").contains("above 0"));
        assert!(told("--bootstrap-server a:1 --json").contains("unavailable"));
        assert!(told("--bootstrap-server a:1 now").contains("not an option"));
    }
}
