//! kafka-client-metrics: what clients are asked to tell of themselves (KIP-714).

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::client::Client;
use super::configs::{Changes, alter, config_resources, entries};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties, storage};

const TIMEOUT: Duration = Duration::from_secs(30);
const KIND: &str = "client-metrics";

pub const TOOL: Tool = Tool {
    name: "client-metrics",
    about: "This tool helps to manipulate and describe client metrics configurations.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    flag(&["alter"], "Set configurations of a subscription."),
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "REQUIRED: The Kafka server to connect to."),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    flag(&["delete"], "Remove the configurations of a subscription."),
    flag(&["describe"], "Show the configurations of subscriptions."),
    flag(&["generate-name"], "Make up a name."),
    flag(&["help"], "Print usage information."),
    value(&["interval"], Kind::Text, "push interval", "Milliseconds between pushes; empty resets it."),
    flag(&["list"], "List the subscriptions."),
    value(&["match"], Kind::Text, "k1=v1,k2=v2", "Which clients are asked."),
    value(&["metrics"], Kind::Text, "m1,m2", "Beginnings of the names of metrics."),
    value(&["name"], Kind::Text, "name", "Name of the subscription."),
    flag(&["version"], "Display the version."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    check(options)?;
    let work = || -> Result<Client, Failure> {
        let config = properties::of_connection(options.text("command-config"))?;
        let bootstrap = options.text("bootstrap-server").unwrap_or_default();
        Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, properties::ADMIN))
    };
    match work().and_then(|mut client| act(&mut client, options, out)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            writeln!(out, "Error while executing client metrics command : {}", failure.message)?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn act(client: &mut Client, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    if options.has("alter") {
        let name = match options.text("name") {
            Some(name) => name.to_owned(),
            None => storage::random_id(),
        };
        let mut changes = Changes::default();
        for (option, key) in [("interval", "interval.ms"), ("metrics", "metrics"), ("match", "match")] {
            match options.text(option) {
                Some("") => changes.delete.push(key.to_owned()),
                Some(value) => {
                    changes.set.insert(key.to_owned(), value.to_owned());
                }
                None => {}
            }
        }
        alter(client, KIND, &name, &changes)?;
        writeln!(out, "Altered client metrics config for {name}.")?;
    } else if options.has("delete") {
        let name = options.text("name").unwrap_or_default();
        let delete = entries(client, KIND, name, false)?.into_iter().map(|entry| entry.name.to_string()).collect();
        alter(client, KIND, name, &Changes { delete, ..Changes::default() })?;
        writeln!(out, "Deleted client metrics config for {name}.")?;
    } else if options.has("describe") {
        let known = config_resources(client, KIND)?;
        let names = match options.text("name") {
            Some(name) if !known.iter().any(|known| known == name) => {
                writeln!(out, "The client metric resource {name} doesn't exist and doesn't have dynamic config.")?;
                return Ok(());
            }
            Some(name) => vec![name.to_owned()],
            None => known,
        };
        for name in names {
            writeln!(out, "Client metrics configs for {name} are:")?;
            for entry in entries(client, KIND, &name, false)? {
                writeln!(out, "  {}={}", &*entry.name, entry.value.as_deref().unwrap_or("null"))?;
            }
        }
    } else {
        writeln!(out, "{}", config_resources(client, KIND)?.join("\n"))?;
    }
    Ok(())
}

fn check(options: &Options) -> Result<(), Failure> {
    let actions = ["alter", "delete", "describe", "list"];
    if actions.iter().filter(|action| options.has(action)).count() != 1 {
        return Err(Failure::usage(
            "Command must include exactly one action: --alter, --delete, --describe or --list.",
        ));
    }
    if !options.has("bootstrap-server") {
        return Err(Failure::failed("--bootstrap-server must be specified."));
    }
    for action in ["delete", "describe"] {
        options.refuse_with(action, &["generate-name", "interval", "match", "metrics"])?;
    }
    options.refuse_with("list", &["name", "generate-name", "interval", "match", "metrics"])?;
    if options.has("alter") {
        if options.has("name") == options.has("generate-name") {
            return Err(Failure::failed("One of --name or --generate-name must be specified with --alter."));
        }
        if options.text("interval").is_some_and(|text| !text.is_empty() && text.parse::<i32>().is_err()) {
            return Err(Failure::failed("Invalid interval value. Enter an integer, or leave empty to reset."));
        }
    }
    if options.has("delete") && !options.has("name") {
        return Err(Failure::failed("A client metrics resource name must be specified with --delete."));
    }
    Ok(())
}
