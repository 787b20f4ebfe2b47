//! kafka-reassign-partitions: moves replicas between brokers and between the folders of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ottla_protocol::ErrorCode;

use super::admin::{Partition, shown, topic_outcomes};
use super::client::Client;
use super::options::{Kind, Options, Spec, flag, value};
use super::reassignment_plan::{self as plan, Plan, Replica, commas, repeated};
use super::reassignment_replicas::{
    Ended, Folders, Moving, folders, log_dirs, move_dirs, moving, reassign, replicas_of,
};
use super::reassignment_throttles::{clear_throttles, throttle};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(60);

pub const TOOL: Tool = Tool {
    name: "reassign-partitions",
    about: "This tool helps to move topic partitions between replicas.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    flag(&["additional"], "Execute in addition to what is moving already."),
    value(&["bootstrap-controller"], Kind::OptionalText, "controller", "The controller, for --cancel and --list."),
    value(
        &["bootstrap-server"],
        Kind::OptionalText,
        "server(s) to use for bootstrapping",
        "The brokers to connect to.",
    ),
    value(&["broker-list"], Kind::Text, "brokerlist", "With --generate: the brokers to move to, as 0,1,2."),
    flag(&["cancel"], "Cancel reassignments."),
    value(&["command-config"], Kind::Text, "Admin client property file", "A file with properties for the connection."),
    flag(&["disable-rack-aware"], "Do not look at racks."),
    flag(&["disallow-replication-factor-change"], "Refuse to change how many replicas a partition has."),
    flag(&["execute"], "Start what the file asks for."),
    flag(&["generate"], "Propose a reassignment; nothing is moved."),
    flag(&["help"], "Print usage information."),
    flag(&["list"], "List all active reassignments."),
    flag(&["preserve-throttles"], "Leave throttles as they are."),
    value(&["reassignment-json-file"], Kind::Text, "manual assignment json file path", "The reassignment."),
    value(&["replica-alter-log-dirs-throttle"], Kind::Long, "bytes/sec", "Bound of moves between folders."),
    value(&["throttle"], Kind::Long, "throttle", "Bound of moves between brokers, in bytes per second."),
    value(&["timeout"], Kind::Long, "timeout", "Milliseconds that a move between folders may take to begin."),
    value(
        &["topics-to-move-json-file"],
        Kind::Text,
        "topics to reassign json file path",
        "With --generate: the topics.",
    ),
    flag(&["verify"], "Tell whether the reassignment is complete; if it is, throttles are removed."),
    flag(&["version"], "Display the version."),
];

const UNREADABLE: &str = "Unable to read file";
const ACTIONS: [&str; 5] = ["generate", "execute", "verify", "cancel", "list"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let action = check(options)?;
    let outcome = act(action, options, out);
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ended::Told(text)) => {
            writeln!(out, "{text}")?;
            Ok(ExitCode::FAILURE)
        }
        Err(Ended::Failed(failure)) => {
            writeln!(out, "Error: {}\n{}\n", failure.as_java(), trace(&failure))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The first line of the stack trace that Kafka's tool prints behind an error.
fn trace(failure: &Failure) -> String {
    match failure.code {
        Some(_) => format!("java.util.concurrent.ExecutionException: {}", failure.as_java()),
        None if failure.message.starts_with(UNREADABLE) => format!("java.io.IOException: {}", failure.message),
        None => format!("org.apache.kafka.tools.AdminCommandFailedException: {}", failure.message),
    }
}

fn act(action: &str, options: &Options, out: &mut dyn Write) -> Result<(), Ended> {
    let config = properties::of_connection(options.text("command-config"))?;
    let client_id = properties::client_id(&config, "reassign-partitions-tool");
    let controller = options.text("bootstrap-controller");
    let bootstrap = controller.or(options.text("bootstrap-server")).unwrap_or_default();
    let mut client = Client::connect_to(bootstrap, TIMEOUT, controller.is_some(), client_id)?;
    let read = |option: &str| {
        let path = options.text(option).unwrap_or_default();
        std::fs::read_to_string(path).map_err(|_| Failure::failed(format!("{UNREADABLE} {path}")))
    };
    match action {
        "list" => list(&mut client, out),
        "generate" => generate(&mut client, options, &read("topics-to-move-json-file")?, out),
        "execute" => execute(&mut client, options, &plan::read(&read("reassignment-json-file")?)?, out),
        "verify" => verify(&mut client, options, &plan::read(&read("reassignment-json-file")?)?, out),
        _ => cancel(&mut client, options, &plan::read(&read("reassignment-json-file")?)?, out),
    }
}

/// How long a move between folders may take to begin.
fn patience(options: &Options) -> Duration {
    Duration::from_millis(options.number("timeout").unwrap_or(10_000))
}

fn list(client: &mut Client, out: &mut dyn Write) -> Result<(), Ended> {
    let moving = moving(client, None)?;
    if moving.is_empty() {
        writeln!(out, "No partition reassignments found.")?;
        return Ok(());
    }
    writeln!(out, "Current partition reassignments:")?;
    for (partition, Moving { replicas, adding, removing }) in &moving {
        let part = |word: &str, list: &[i32]| match list {
            [] => String::new(),
            list => format!(" {word}: {}.", commas(list)),
        };
        let (adding, removing) = (part("adding", adding), part("removing", removing));
        writeln!(out, "{}: replicas: {}.{adding}{removing}", shown(partition), commas(replicas))?;
    }
    Ok(())
}

fn generate(client: &mut Client, options: &Options, topics: &str, out: &mut dyn Write) -> Result<(), Ended> {
    let brokers = options.text("broker-list").unwrap_or_default();
    let brokers: Vec<i32> = brokers
        .split(',')
        .map(|id| id.parse().map_err(|_| Failure::failed(format!("For input string: \"{id}\""))))
        .collect::<Result<_, _>>()?;
    let twice = repeated(&brokers);
    if !twice.is_empty() {
        let list = plan::bracketed(&twice);
        return Err(Failure::failed(format!("Broker list contains duplicate entries: {list}")).into());
    }
    let topics: BTreeSet<String> = plan::read_topics(topics)?.into_iter().collect();
    let current = replicas_of(client, &topics)?;
    let usable: Vec<i32> = brokers.into_iter().filter(|id| client.brokers().contains_key(id)).collect();
    let racks = usable.iter().filter(|id| client.racks().contains_key(id)).count();
    if !options.has("disable-rack-aware") && racks != 0 && racks != usable.len() {
        return Err(Failure::failed(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment \
             without rack information.",
        )
        .into());
    }
    let mut proposed = BTreeMap::new();
    for topic in &topics {
        let of_topic: Vec<&Vec<i32>> =
            current.iter().filter(|((name, _), _)| name == topic).map(|(_, replicas)| replicas).collect();
        let wanted = of_topic.first().map_or(0, |replicas| replicas.len());
        if wanted > usable.len() {
            return Err(Failure::from_code(
                ErrorCode::InvalidReplicationFactor.code(),
                Some(format!(
                    "The target replication factor of {wanted} cannot be reached because only {} broker(s) are registered.",
                    usable.len()
                )),
            )
            .into());
        }
        let count = i32::try_from(of_topic.len()).unwrap_or(0);
        let start = usize::from(rand::random::<u16>());
        for (partition, replicas) in (0..).zip(plan::spread(count, wanted, &usable, start)) {
            proposed.insert((topic.clone(), partition), replicas);
        }
    }
    let dirs = log_dirs(client, &current)?;
    writeln!(out, "Current partition replica assignment\n{}\n", plan::write(&current, &dirs))?;
    writeln!(out, "Proposed partition reassignment configuration\n{}", plan::write(&proposed, &BTreeMap::new()))?;
    Ok(())
}

fn execute(client: &mut Client, options: &Options, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let proposed = plan.check()?;
    let under_way = moving(client, None)?;
    if !options.has("additional") && !under_way.is_empty() {
        return Err(Ended::Told(
            "Cannot execute because there is an existing partition assignment.  Use --additional to override this and \
             create a new partition assignment in addition to the existing one. The --additional flag can also be used to \
             change the throttle by resubmitting the current reassignment."
                .into(),
        ));
    }
    let unknown = proposed.values().flatten().find(|id| !client.brokers().contains_key(id));
    if let Some(id) = unknown {
        return Err(Failure::failed(format!("Unknown broker id {id}")).into());
    }
    let mut current = replicas_of(client, &proposed.keys().map(|(topic, _)| topic.clone()).collect())?;
    current.retain(|partition, _| proposed.contains_key(partition));
    let missing: Vec<String> =
        proposed.keys().filter(|partition| !current.contains_key(partition)).map(shown).collect();
    if !missing.is_empty() {
        let why = format!("Unable to find partition: {}", missing.join(", "));
        return Err(Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), Some(why)).into());
    }
    let dirs = log_dirs(client, &current)?;
    writeln!(
        out,
        "Current partition replica assignment\n\n{}\n\nSave this to use as the --reassignment-json-file option during rollback",
        plan::write(&current, &dirs)
    )?;
    throttle(client, options, plan, &under_way, &proposed, &current, out)?;
    let wanted = proposed.iter().map(|(partition, replicas)| (partition.clone(), Some(replicas.clone())));
    let failures = reassign(client, wanted.collect(), !options.has("disallow-replication-factor-change"))?;
    if !failures.is_empty() {
        return Err(Ended::Told(format!("Error reassigning partition(s):\n{}", failures.join("\n"))));
    }
    let plural = if proposed.len() == 1 { "" } else { "s" };
    let names: Vec<String> = proposed.keys().map(shown).collect();
    writeln!(out, "Successfully started partition reassignment{plural} for {}", names.join(","))?;
    if plan.log_dirs.is_empty() { Ok(()) } else { move_dirs(client, patience(options), &plan.log_dirs, out) }
}

fn verify(client: &mut Client, options: &Options, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let under_way = moving(client, None)?;
    let topics: BTreeSet<String> = plan
        .partitions
        .iter()
        .filter(|(partition, _)| !under_way.contains_key(partition))
        .map(|((topic, _), _)| topic.clone())
        .collect();
    let mut current: BTreeMap<Partition, Vec<i32>> = BTreeMap::new();
    if !topics.is_empty() {
        // A topic that is gone has no replicas.
        for (topic, outcome) in topic_outcomes(client, Some(&topics))? {
            for partition in outcome.into_iter().flat_map(|topic| topic.partitions) {
                let replicas = partition.replica_nodes.iter().map(|id| id.0).collect();
                current.insert((topic.clone(), partition.partition_index), replicas);
            }
        }
    }
    writeln!(out, "Status of partition reassignment:")?;
    let targets: BTreeMap<&Partition, &Vec<i32>> = plan.partitions.iter().map(|(name, list)| (name, list)).collect();
    for (partition, target) in &targets {
        let name = shown(partition);
        let replicas = current.get(*partition).cloned().unwrap_or_default();
        if under_way.contains_key(*partition) {
            writeln!(out, "Reassignment of partition {name} is still in progress.")?;
        } else if replicas == **target {
            writeln!(out, "Reassignment of partition {name} is completed.")?;
        } else {
            let (is, wanted) = (commas(&replicas), commas(target));
            writeln!(
                out,
                "There is no active reassignment of partition {name}, but replica set is {is} rather than {wanted}."
            )?;
        }
    }
    let dirs_done = verify_dirs(client, &plan.log_dirs, out)?;
    if under_way.is_empty() && dirs_done && !options.has("preserve-throttles") {
        clear_throttles(client, plan, out)?;
    }
    Ok(())
}

fn verify_dirs(client: &mut Client, targets: &BTreeMap<Replica, String>, out: &mut dyn Write) -> Result<bool, Ended> {
    let found = folders(client, targets.keys())?;
    let mut lines = Vec::new();
    let mut is_done = true;
    for (replica, target) in targets {
        let (broker, topic, partition) = replica;
        let name = format!("{topic}-{partition}-{broker}");
        let Some(Folders { current, future }) = found.get(replica) else {
            is_done &= true;
            lines.push(format!(
                "Partition {topic}-{partition} cannot be found in any live log directory on broker {broker}."
            ));
            continue;
        };
        lines.push(match (current, future) {
            (None, _) => format!(
                "Partition {topic}-{partition} is not found in any live log dir on broker {broker}. There is likely an \
                 offline log directory on the broker."
            ),
            (Some(_), Some(future)) => {
                is_done = false;
                if future == target {
                    format!("Reassignment of replica {name} is still in progress.")
                } else {
                    format!(
                        "Partition {topic}-{partition} on broker {broker} is being moved to log dir {future} instead of {target}."
                    )
                }
            }
            (Some(current), None) if current == target => {
                format!("Reassignment of replica {name} completed successfully.")
            }
            (Some(current), None) => format!(
                "Partition {topic}-{partition} on broker {broker} is not being moved from log dir {current} to {target}."
            ),
        });
    }
    writeln!(out, "{}", lines.join("\n"))?;
    Ok(is_done)
}

fn cancel(client: &mut Client, options: &Options, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let wanted: BTreeSet<Partition> = plan.partitions.iter().map(|(partition, _)| partition.clone()).collect();
    let mut under_way = moving(client, Some(&wanted))?;
    under_way.retain(|_, moving| !moving.adding.is_empty() || !moving.removing.is_empty());
    if under_way.is_empty() {
        writeln!(out, "None of the specified partition reassignments are active.")?;
    } else {
        let failures = reassign(client, under_way.keys().map(|partition| (partition.clone(), None)).collect(), true)?;
        if !failures.is_empty() {
            let plural = if failures.len() == 1 { "" } else { "s" };
            let list = failures.join("\n");
            return Err(Ended::Told(format!("Error cancelling partition reassignment{plural} for:\n{list}")));
        }
        let plural = if under_way.len() == 1 { "" } else { "s" };
        let names: Vec<String> = under_way.keys().map(shown).collect();
        writeln!(out, "Successfully cancelled partition reassignment{plural} for: {}", names.join(","))?;
    }
    let found = folders(client, plan.log_dirs.keys())?;
    let back: BTreeMap<Replica, String> = found
        .into_iter()
        .filter(|(_, folders)| folders.future.is_some())
        .filter_map(|(replica, folders)| Some((replica, folders.current?)))
        .collect();
    if back.is_empty() {
        write!(out, "None of the specified partition moves are active.")?;
    } else {
        move_dirs(client, patience(options), &back, out)?;
    }
    if options.has("preserve-throttles") { Ok(()) } else { clear_throttles(client, plan, out) }
}

fn check(options: &Options) -> Result<&'static str, Failure> {
    let given: Vec<&'static str> = ACTIONS.iter().copied().filter(|action| options.has(action)).collect();
    let [action] = given[..] else {
        let list: Vec<String> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
        return Err(Failure::usage(format!("Command must include exactly one action: {}", list.join(", "))));
    };
    match (options.has("bootstrap-server"), options.has("bootstrap-controller")) {
        (true, true) => {
            return Err(Failure::usage("Please don't specify both --bootstrap-server and --bootstrap-controller"));
        }
        (false, false) => {
            return Err(Failure::usage("Please specify either --bootstrap-server or --bootstrap-controller"));
        }
        _ => {}
    }
    let (required, permitted): (&[&str], &[&str]) = match action {
        "verify" => (&["reassignment-json-file"], &["bootstrap-server", "preserve-throttles"]),
        "generate" => {
            (&["topics-to-move-json-file", "broker-list"], &["bootstrap-server", "broker-list", "disable-rack-aware"])
        }
        "execute" => (
            &["reassignment-json-file"],
            &[
                "additional",
                "bootstrap-server",
                "throttle",
                "replica-alter-log-dirs-throttle",
                "timeout",
                "disallow-replication-factor-change",
            ],
        ),
        "cancel" => (
            &["reassignment-json-file"],
            &["bootstrap-server", "bootstrap-controller", "preserve-throttles", "timeout"],
        ),
        _ => (&[], &["bootstrap-server", "bootstrap-controller"]),
    };
    for name in required {
        options.required(name)?;
    }
    let may = |name: &&str| {
        *name == action || *name == "command-config" || required.contains(name) || permitted.contains(name)
    };
    if let Some(name) = options.order.iter().find(|name| !may(name)) {
        return Err(Failure::usage(format!("Option \"[{name}]\" can't be used with action \"[{action}]\"")));
    }
    Ok(action)
}
