//! `ottla explain`: why a group rebalanced or lost its offsets, why a producer was fenced. Kafka has no such tool; the broker
//! keeps the last reasons in memory.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use serde_json::Value;

use super::admin::{message, text};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties, time};

pub const TOOL: Tool = Tool {
    name: "explain",
    about: "Tells why a group rebalanced or lost offsets (explain group NAME), or why the producers of a transactional id \
            were fenced (explain transaction ID).",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server to connect to",
        "The server to connect to (default: localhost:9092).",
    ),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    flag(&["help"], "Print usage information."),
    flag(&["json"], "One JSON object a line instead of sentences."),
];

const TIMEOUT: Duration = Duration::from_secs(30);
const GROUP_RESOURCE: i8 = 32;

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let [what, name] = options.positional.as_slice() else {
        return Err(Failure::usage("Say what to explain: group NAME, or transaction ID."));
    };
    let config = properties::of_connection(options.text("command-config"))?;
    let bootstrap = options.text("bootstrap-server").unwrap_or("localhost:9092");
    let mut client = Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, properties::ADMIN))?;
    let (coordinator, key) = match what.as_str() {
        "group" => (client.group_coordinator(name)?.0, "ottla.explain.group"),
        "transaction" => (client.transaction_coordinator(name)?, "ottla.explain.transaction"),
        other => {
            return Err(Failure::usage(format!("{other} cannot be explained: say group NAME, or transaction ID.")));
        }
    };
    let reasons = ask(&mut client, coordinator, name, key)?;
    if reasons.is_empty() {
        writeln!(out, "Nothing has happened to {what} {name} since its coordinator started.")?;
    }
    for reason in &reasons {
        if options.has("json") {
            writeln!(out, "{reason}")?;
        } else if what == "group" {
            writeln!(out, "{}", of_group(reason))?;
        } else {
            writeln!(out, "{}", of_transaction(reason))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(client: &mut Client, coordinator: i32, name: &str, key: &str) -> Result<Vec<Value>, Failure> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(GROUP_RESOURCE)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response = client.send(&Target::Node(coordinator), &request)?;
    let Some(result) = response.results.into_iter().next() else {
        return Err(Failure::failed("The broker did not answer what it was asked."));
    };
    Failure::check(result.error_code, message(result.error_message.as_ref()))?;
    let entry = result.configs.into_iter().find(|entry| entry.name.as_str() == key);
    let Some(value) = entry.and_then(|entry| entry.value) else {
        // Only Ottla knows the key; another broker answers with nothing.
        let reason = "The broker does not explain: it is not Ottla, or it has just ceased to be the coordinator.";
        return Err(Failure::failed(reason));
    };
    serde_json::from_str(&value).map_err(|error| Failure::failed(error.to_string()))
}

fn of_group(reason: &Value) -> String {
    let text = |key: &str| reason[key].as_str().unwrap_or_default();
    let what = match reason["epoch"].as_i64() {
        Some(epoch) if epoch >= 0 => format!("rebalance after epoch {epoch}"),
        _ => "offsets".to_owned(),
    };
    let who = match (text("client"), text("host"), text("member")) {
        ("", "", "") => String::new(),
        (client, host, member) => format!(" [client {client} at {host}, member {member}]"),
    };
    format!("{} {what}: {}{who}", at(reason), text("reason"))
}

fn of_transaction(reason: &Value) -> String {
    let number = |key: &str| reason[key].as_i64().unwrap_or(-1);
    let text = reason["reason"].as_str().unwrap_or_default();
    format!("{} producer {} epoch {}: {text}", at(reason), number("producer"), number("epoch"))
}

fn at(reason: &Value) -> String {
    time::show_datetime(reason["at"].as_i64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_are_sentences() {
        let reason =
            json!({"at": 0, "epoch": 4, "member": "m-1", "client": "c", "host": "/10.0.0.1", "reason": "m-1 left"});
        let told = of_group(&reason);
        assert!(told.ends_with("rebalance after epoch 4: m-1 left [client c at /10.0.0.1, member m-1]"), "{told}");
        let nobody =
            json!({"at": 0, "epoch": -1, "member": "", "client": "", "host": "", "reason": "offsets of a-0 are gone"});
        assert!(of_group(&nobody).ends_with("offsets: offsets of a-0 are gone"));
        let fence = json!({"at": 0, "producer": 7, "epoch": 3, "reason": "a commit was refused"});
        assert!(of_transaction(&fence).ends_with("producer 7 epoch 3: a commit was refused"));
    }
}
