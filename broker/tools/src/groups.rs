//! kafka-groups: groups of every type.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::client::Client;
use super::group_admin::{Listing, list};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

pub const TOOL: Tool =
    Tool { name: "groups", about: "This tool helps to list groups of all types.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "REQUIRED: The Kafka server to connect to."),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    flag(
        &["consumer"],
        "Only groups of consumers: of the new type, and classic ones that hold consumers or only offsets.",
    ),
    value(&["group-type"], Kind::Text, "type", "Only groups of this type: classic, consumer, share or streams."),
    flag(&["help"], "Print usage information."),
    flag(&["list"], "List the groups."),
    value(&["protocol"], Kind::Text, "protocol", "Only groups with this protocol type."),
    flag(&["share"], "Only share groups."),
    flag(&["streams"], "Only streams groups."),
    flag(&["version"], "Display the version."),
];

const TYPES: [&str; 4] = ["classic", "consumer", "share", "streams"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    if !options.has("bootstrap-server") {
        return Err(Failure::usage("Missing required option(s) [bootstrap-server]"));
    }
    if !options.has("list") {
        return Err(Failure::usage("Command must include exactly one action: --list."));
    }
    let kind = options.text("group-type").map(str::to_ascii_lowercase);
    if kind.as_ref().is_some_and(|kind| !TYPES.contains(&kind.as_str())) {
        return Err(Failure::failed("--group-type must be a valid group type."));
    }
    for (used, others) in [
        ("consumer", ["group-type", "protocol", "share", "streams"]),
        ("share", ["consumer", "group-type", "protocol", "streams"]),
        ("streams", ["consumer", "group-type", "protocol", "share"]),
    ] {
        options.refuse_with(used, &others)?;
    }
    let config = properties::of_connection(options.text("command-config"))?;
    let client_id = properties::client_id(&config, properties::ADMIN);
    let groups = Client::connect(options.required("bootstrap-server")?, Duration::from_secs(30), client_id)
        .and_then(|mut client| list(&mut client, &[], &[]));
    let mut groups = match groups {
        Ok(groups) => groups,
        Err(failure) => {
            writeln!(out, "Error while executing groups command : {}", failure.message)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    groups.retain(|group| passes(group, options, kind.as_deref()));
    let longest = groups.iter().map(|group| group.id.len().max(group.kind.len()).max(group.protocol.len())).max();
    let width = longest.unwrap_or(0).max(20);
    writeln!(out, "{:<width$} {:<width$} {:<width$}", "GROUP", "TYPE", "PROTOCOL")?;
    for Listing { id, kind, protocol, .. } in &groups {
        writeln!(out, "{id:<width$} {kind:<width$} {protocol:<width$} ")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn passes(group: &Listing, options: &Options, kind: Option<&str>) -> bool {
    let is = |kind: &str| group.kind.eq_ignore_ascii_case(kind);
    let has_protocol = options.text("protocol").is_none_or(|protocol| group.protocol == protocol);
    if let Some(kind) = kind {
        is(kind) && has_protocol
    } else if options.has("protocol") {
        has_protocol
    } else if options.has("consumer") {
        group.protocol.is_empty() || group.protocol == "consumer" || is("consumer")
    } else if options.has("share") {
        is("share")
    } else if options.has("streams") {
        is("streams")
    } else {
        true
    }
}
