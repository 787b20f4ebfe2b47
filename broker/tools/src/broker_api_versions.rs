//! kafka-broker-api-versions: what each broker of the cluster can be asked, and in which versions.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool};

const TIMEOUT: Duration = Duration::from_secs(5);

pub const TOOL: Tool = Tool {
    name: "broker-api-versions",
    about: "This tool helps to retrieve broker version information.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server(s) to use for bootstrapping",
        "REQUIRED: The server to connect to.",
    ),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    flag(&["help"], "Print usage information."),
    flag(&["version"], "Display the version."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(options.required("bootstrap-server")?, TIMEOUT)?;
    let brokers = client.brokers().clone();
    let racks = client.racks().clone();
    for (id, (host, port)) in brokers {
        let rack = racks.get(&id).cloned().unwrap_or_else(|| "null".into());
        write!(out, "{host}:{port} (id: {id} rack: {rack} isFenced: false) -> ")?;
        match client.api_versions(&Target::Node(id)) {
            Ok(versions) => {
                let mut keys = versions.api_keys;
                keys.sort_by_key(|api| api.api_key);
                let lines: Vec<String> =
                    keys.iter().map(|api| line(api.api_key, api.min_version, api.max_version)).collect();
                writeln!(out, "(\n\t{}\n)", lines.join(",\n\t"))?;
            }
            Err(failure) => writeln!(out, "ERROR: {}", failure.message)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(key: i16, min: i16, max: i16) -> String {
    let range = if min == max { min.to_string() } else { format!("{min} to {max}") };
    let Ok(api) = ApiKey::try_from(key) else {
        return format!("UNKNOWN({key}): {range}");
    };
    let ours = api.valid_versions();
    let usable = if ours.max < min {
        "[unusable: node too new]".into()
    } else if max < ours.min {
        "[unusable: node too old]".into()
    } else {
        format!("[usable: {}]", ours.max.min(max))
    };
    format!("{}({key}): {range} {usable}", display_name(api))
}

/// Kafka's spelling: ApiKey names without the trailing "Key", as the protocol guide writes them.
fn display_name(api: ApiKey) -> String {
    let name = format!("{api:?}");
    name.strip_suffix("Key").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_is_one_line_in_kafkas_form() {
        assert_eq!(line(3, 0, 13), "Metadata(3): 0 to 13 [usable: 13]");
        assert_eq!(line(999, 0, 0), "UNKNOWN(999): 0");
    }
}
