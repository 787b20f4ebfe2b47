//! What a topic may be configured with, alone and together.

use std::collections::BTreeMap;

use super::synonyms::{topic_broker_synonyms, unit_ms};
use super::value::Value;
use super::{Table, broker, topic};

/// Judges one key of a topic by itself.
///
/// # Errors
/// The text for the client, when there is no such key or the value does not fit it.
pub fn validate_topic(name: &str, value: &str) -> Result<(), String> {
    let definition = topic(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    definition.check(Some(value)).map(|_| ()).map_err(|error| error.0)
}

/// Judges everything that is set on a topic together. `fallback` gives the value of a broker key where the topic is
/// silent (`None`: not set, the default holds), `before` is what was set on the topic until now.
///
/// # Errors
/// The text for the client.
pub fn validate_topic_configs<'a>(
    configs: &BTreeMap<&str, &str>,
    before: &BTreeMap<&str, &str>,
    fallback: impl Fn(&str) -> Option<&'a str>,
    tiered_storage: bool,
) -> Result<(), String> {
    if let Some(unknown) = configs.keys().find(|name| topic(name).is_none()) {
        return Err(format!("Unknown topic config name: {unknown}"));
    }
    for definition in Table::topic().iter() {
        if let Some(value) = configs.get(definition.name) {
            definition.check(Some(value)).map_err(|error| error.0)?;
        }
    }
    let number = |name: &str| effective_number(name, configs, &fallback);
    let (min_lag, max_lag) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if min_lag > max_lag {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min_lag}) > max.compaction.lag.ms ({max_lag})"
        ));
    }
    let is_true = |configs: &BTreeMap<&str, &str>, name: &str| {
        configs.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    };
    if is_true(configs, "remote.storage.enable") {
        if !tiered_storage {
            return Err("Tiered Storage functionality is disabled in the broker. \
                        Topic cannot be configured with remote log storage."
                .to_owned());
        }
        return check_remote(configs, &number);
    }
    if is_true(before, "remote.storage.enable") && !is_true(configs, "remote.log.delete.on.disable") {
        return Err("It is invalid to disable remote storage without deleting remote data. \
                    If you want to keep the remote data and turn to read only, please set \
                    `remote.storage.enable=true,remote.log.copy.disable=true`. \
                    If you want to disable remote storage and delete all remote data, please set \
                    `remote.storage.enable=false,remote.log.delete.on.disable=true`."
            .to_owned());
    }
    Ok(())
}

fn check_remote(configs: &BTreeMap<&str, &str>, number: &impl Fn(&str) -> i64) -> Result<(), String> {
    if configs.get("cleanup.policy").is_some_and(|policy| !matches!(policy.trim(), "" | "delete")) {
        return Err("Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an \
                    empty list."
            .to_owned());
    }
    for (total, local) in [("retention.bytes", "local.retention.bytes"), ("retention.ms", "local.retention.ms")] {
        let (total_value, local_value) = (number(total), number(local));
        if total_value > -1 && local_value != -2 && (local_value == -1 || local_value > total_value) {
            let reason = if local_value == -1 {
                format!("Value must not be -1 as {total} value is set as {total_value}.")
            } else {
                format!("Value must not be more than {total} property value: {total_value}")
            };
            return Err(format!("Invalid value {local_value} for configuration {local}: {reason}"));
        }
    }
    Ok(())
}

/// What holds for a number of a topic: its own value, or a broker's, or the default.
fn effective_number<'a>(
    name: &str,
    configs: &BTreeMap<&str, &str>,
    fallback: &impl Fn(&str) -> Option<&'a str>,
) -> i64 {
    let Some(definition) = topic(name) else { return 0 };
    let read = |value_type, text: &str| match Value::read(value_type, text) {
        Ok(Value::Integer(number)) => Some(number),
        _ => None,
    };
    if let Some(number) = configs.get(name).and_then(|text| read(definition.value_type, text)) {
        return number;
    }
    for key in topic_broker_synonyms(name) {
        let Some(broker_key) = broker(key) else { continue };
        if let Some(number) = fallback(key).and_then(|text| read(broker_key.value_type, text)) {
            return number.saturating_mul(unit_ms(key));
        }
    }
    definition.default.and_then(|text| read(definition.value_type, text)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judge(configs: &[(&'static str, &'static str)]) -> Result<(), String> {
        validate_topic_configs(&configs.iter().copied().collect(), &BTreeMap::new(), |_| None, false)
    }

    #[test]
    fn keys_are_judged_together() {
        assert_eq!(judge(&[("retention.ms", "1000"), ("cleanup.policy", "compact")]), Ok(()));
        assert_eq!(judge(&[("no.such", "1")]), Err("Unknown topic config name: no.such".to_owned()));
        assert_eq!(
            judge(&[("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "4")]),
            Err("conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)".to_owned())
        );
        assert!(judge(&[("remote.storage.enable", "true")]).unwrap_err().starts_with("Tiered Storage"));
    }

    #[test]
    fn a_broker_value_stands_in() {
        let configs = BTreeMap::from([("min.compaction.lag.ms", "5")]);
        let fallback = |key: &str| (key == "log.cleaner.max.compaction.lag.ms").then_some("4");
        assert_eq!(
            validate_topic_configs(&configs, &BTreeMap::new(), fallback, false),
            Err("conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)".to_owned())
        );
    }
}
