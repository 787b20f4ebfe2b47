//! kafka-cluster: the cluster's id, its endpoints, and taking a broker off the list.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, UnregisterBrokerRequest};
use ottla_protocol::ErrorCode;

use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(60);
const CONTROLLERS: i8 = 2;
const BROKERS: i8 = 1;

pub const TOOL: Tool = Tool { name: "cluster", about: "The Kafka cluster tool.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    value(&["bootstrap-server", "b"], Kind::Text, "host:port,...", "The brokers to connect to."),
    value(&["bootstrap-controller", "C"], Kind::Text, "host:port,...", "The controllers to connect to."),
    value(&["command-config", "c", "config"], Kind::Text, "file", "A file with properties for the connection."),
    value(&["id", "i"], Kind::Int, "id", "With unregister: the broker's id."),
    flag(&["include-fenced-brokers"], "With list-endpoints: fenced brokers too."),
    flag(&["help", "h"], "Print usage information."),
];

const COMMANDS: [&str; 3] = ["cluster-id", "unregister", "list-endpoints"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let command = options.positional.first().map(String::as_str).unwrap_or_default();
    if !COMMANDS.contains(&command) {
        return Err(Failure::usage(match command {
            "" => "too few arguments".to_owned(),
            other => format!("invalid choice: '{other}' (choose from 'cluster-id', 'unregister', 'list-endpoints')"),
        }));
    }
    let (bootstrap, endpoint_type) = match (options.text("bootstrap-server"), options.text("bootstrap-controller")) {
        (Some(server), None) => (server, BROKERS),
        (None, Some(controller)) => (controller, CONTROLLERS),
        _ => {
            return Err(Failure::usage(
                "one of the arguments --bootstrap-server/-b --bootstrap-controller/-C is required",
            ));
        }
    };
    options.tell_deprecated(
        &[("config", "command-config")],
        |old, new| format!("--{old} and --{new} cannot be specified together."),
        |old, new| {
            format!("Option --{old} has been deprecated and will be removed in a future version. Use --{new} instead.")
        },
        out,
    )?;
    let config = properties::of_connection(options.text("command-config"))?;
    let connect = || {
        Client::connect_to(
            bootstrap,
            TIMEOUT,
            endpoint_type == CONTROLLERS,
            properties::client_id(&config, properties::ADMIN),
        )
    };
    match command {
        "cluster-id" => {
            let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
            let response = connect()?.send(&Target::Any, &request)?;
            Failure::check(response.error_code, response.error_message.map(|message| message.to_string()))?;
            writeln!(out, "Cluster ID: {}", response.cluster_id)?;
        }
        "unregister" => {
            let id = options.number::<i32>("id").ok_or_else(|| Failure::usage("argument --id/-i is required"))?;
            let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(id));
            match connect()?.send(&Target::Controller, &request) {
                Err(failure) if failure.code == Some(ErrorCode::UnsupportedVersion) => {
                    writeln!(out, "The target cluster does not support the broker unregistration API.")?;
                }
                Err(failure) => return Err(failure),
                Ok(response) => {
                    let message = response.error_message.map(|message| message.to_string());
                    Failure::check(response.error_code, message)
                        .map_err(|failure| Failure::failed(failure.as_java()))?;
                    writeln!(out, "Broker {id} is no longer registered.")?;
                }
            }
        }
        _ => list_endpoints(&mut connect()?, options, endpoint_type, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list_endpoints(
    client: &mut Client,
    options: &Options,
    endpoint_type: i8,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let fenced_too = options.has("include-fenced-brokers");
    if fenced_too && endpoint_type == CONTROLLERS {
        return Err(Failure::failed(
            "The option --include-fenced-brokers is only supported with --bootstrap-server option",
        ));
    }
    let request =
        DescribeClusterRequest::default().with_endpoint_type(endpoint_type).with_include_fenced_brokers(fenced_too);
    let response = client.send(&Target::Any, &request)?;
    Failure::check(response.error_code, response.error_message.map(|message| message.to_string()))?;
    let rack_of = |rack: &Option<kafka_protocol::protocol::StrBytes>| {
        rack.as_ref().map_or_else(|| "null".to_owned(), |rack| rack.to_string())
    };
    let host = response.brokers.iter().map(|node| node.host.len()).max().unwrap_or(100);
    let rack = response.brokers.iter().filter_map(|node| node.rack.as_ref()).map(|rack| rack.len()).max().unwrap_or(10);
    if endpoint_type == CONTROLLERS {
        writeln!(out, "{:<10} {:<host$} {:<10} {:<rack$} {:<15}", "ID", "HOST", "PORT", "RACK", "ENDPOINT_TYPE")?;
    } else {
        writeln!(
            out,
            "{:<10} {:<host$} {:<10} {:<rack$} {:<10} {:<15}",
            "ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"
        )?;
    }
    for node in &response.brokers {
        let (id, name, port) = (node.broker_id.0, node.host.as_str(), node.port);
        let shown_rack = rack_of(&node.rack);
        if endpoint_type == CONTROLLERS {
            writeln!(out, "{id:<10} {name:<host$} {port:<10} {shown_rack:<rack$} {:<15}", "controller")?;
        } else {
            let state = if node.is_fenced { "fenced" } else { "unfenced" };
            writeln!(out, "{id:<10} {name:<host$} {port:<10} {shown_rack:<rack$} {state:<10} {:<15}", "broker")?;
        }
    }
    Ok(())
}
