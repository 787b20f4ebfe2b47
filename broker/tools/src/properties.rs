//! Property files that tools are given with `--command-config` and its kin.

use std::collections::HashMap;

use super::Failure;

/// The properties of a file; none without a file.
pub fn load(path: Option<&str>) -> Result<HashMap<String, String>, Failure> {
    let Some(path) = path else { return Ok(HashMap::new()) };
    let file = std::fs::File::open(path).map_err(|error| Failure::failed(format!("{path}: {error}")))?;
    java_properties::read(std::io::BufReader::new(file)).map_err(|error| Failure::failed(format!("{path}: {error}")))
}

/// The properties of a connection in a file; see [`refuse_security`].
pub fn of_connection(path: Option<&str>) -> Result<HashMap<String, String>, Failure> {
    let properties = load(path)?;
    refuse_security(&properties)?;
    Ok(properties)
}

/// What Kafka's admin client calls itself.
pub const ADMIN: &str = "adminclient-1";

/// What a tool calls itself (`client.id`): quotas are set and kept by it.
pub fn client_id<'a>(properties: &'a HashMap<String, String>, default: &'a str) -> &'a str {
    properties.get("client.id").map(|id| id.trim()).filter(|id| !id.is_empty()).unwrap_or(default)
}

/// Groups that the tools join are classic ones. Where the next protocol (KIP-848) is asked for, a classic group instead would
/// be wrong.
pub fn refuse_group_protocol(properties: &HashMap<String, String>) -> Result<(), Failure> {
    match properties.get("group.protocol").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("classic") => Ok(()),
        Some("consumer") => {
            Err(Failure::failed("group.protocol=consumer is not built into this tool; group.protocol=classic is"))
        }
        Some(other) => Err(Failure::failed(format!(
            "org.apache.kafka.common.config.ConfigException: Invalid value {other} for configuration group.protocol: String must \
             be one of (case insensitive): CONSUMER, CLASSIC"
        ))),
    }
}

/// The tools speak plain text only. Where a file asks for more, running open instead would be wrong.
pub fn refuse_security(properties: &HashMap<String, String>) -> Result<(), Failure> {
    match properties.get("security.protocol").map(|text| text.trim().to_ascii_uppercase()) {
        Some(protocol) if protocol != "PLAINTEXT" => {
            Err(Failure::failed(format!("security.protocol={protocol} is not built into this tool; PLAINTEXT is")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_client_id_that_is_given_is_used() {
        assert_eq!(client_id(&properties(&[("client.id", "billing")]), ADMIN), "billing");
        assert_eq!(client_id(&properties(&[]), ADMIN), "adminclient-1");
        // Kafka's clients take an empty one for none.
        assert_eq!(client_id(&properties(&[("client.id", "")]), ADMIN), "adminclient-1");
    }

    #[test]
    fn the_next_group_protocol_is_refused_and_not_replaced() {
        refuse_group_protocol(&properties(&[])).unwrap();
        refuse_group_protocol(&properties(&[("group.protocol", "CLASSIC")])).unwrap();
        let told = |name: &str| refuse_group_protocol(&properties(&[("group.protocol", name)])).unwrap_err().message;
        assert!(told("Consumer").contains("not built into this tool"));
        assert!(told("other").contains("Invalid value other for configuration group.protocol"));
    }
}
