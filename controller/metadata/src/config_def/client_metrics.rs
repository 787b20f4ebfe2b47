//! What a client metrics subscription may be configured with (KIP-714).

use std::collections::BTreeMap;

use super::{InvalidValue, client_metrics};

/// Why a subscription is refused: a request that makes no sense, or a value that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidSubscription {
    /// Answered with INVALID_REQUEST.
    Request(String),
    /// Answered with INVALID_CONFIG.
    Config(String),
}

const MATCH_KEYS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Judges everything that is set on the subscription `name`.
///
/// # Errors
/// The text for the client, in the kind of error that it is.
pub fn validate_client_metrics(name: &str, configs: &BTreeMap<&str, &str>) -> Result<(), InvalidSubscription> {
    let request = InvalidSubscription::Request;
    if name.is_empty() {
        return Err(request("Subscription name can't be empty".to_owned()));
    }
    if let Some(unknown) = configs.keys().find(|key| client_metrics(key).is_none()) {
        return Err(request(format!("Unknown client metrics configuration: {unknown}")));
    }
    for (key, value) in configs {
        if let Some(definition) = client_metrics(key) {
            definition.check(Some(value)).map_err(|InvalidValue(text)| InvalidSubscription::Config(text))?;
        }
    }
    if let Some(interval) = configs.get("interval.ms").and_then(|text| text.trim().parse::<i32>().ok())
        && !(100..=3_600_000).contains(&interval)
    {
        return Err(request(format!(
            "Invalid value {interval} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        )));
    }
    for pattern in configs.get("match").map(|text| super::split_list(text)).unwrap_or_default() {
        let known = pattern
            .split_once('=')
            .is_some_and(|(key, value)| MATCH_KEYS.contains(&key.trim()) && !value.trim().is_empty());
        if !known {
            return Err(InvalidSubscription::Config(format!("Illegal client matching pattern: {pattern}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_judged() {
        let judge =
            |configs: &[(&'static str, &'static str)]| validate_client_metrics("s", &configs.iter().copied().collect());
        assert_eq!(judge(&[("interval.ms", "1000"), ("match", "client_id=a.*")]), Ok(()));
        assert!(matches!(judge(&[("interval.ms", "1")]), Err(InvalidSubscription::Request(_))));
        assert!(matches!(judge(&[("interval.ms", "x")]), Err(InvalidSubscription::Config(_))));
        assert!(matches!(judge(&[("match", "shoe_size=44")]), Err(InvalidSubscription::Config(_))));
        assert!(matches!(judge(&[("colour", "red")]), Err(InvalidSubscription::Request(_))));
    }
}
