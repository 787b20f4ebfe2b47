//! What a group may be configured with, within the bounds that the brokers set.

use std::collections::BTreeMap;

use super::{Table, broker, group};

/// The broker key that a group key falls back to.
pub fn group_broker_synonym(group_key: &str) -> Option<&'static str> {
    if !group_key.starts_with("consumer.") && !group_key.starts_with("share.") && !group_key.starts_with("streams.") {
        return None;
    }
    broker(&format!("group.{group_key}")).map(|definition| definition.name)
}

/// Group key, broker key of its lower bound, broker key of its upper bound, judged even when only a default holds.
const BOUNDS: &[(&str, &str, &str, bool)] = &[
    (
        "consumer.heartbeat.interval.ms",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
        true,
    ),
    (
        "consumer.session.timeout.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
        true,
    ),
    (
        "consumer.assignment.interval.ms",
        "group.consumer.min.assignment.interval.ms",
        "group.consumer.max.assignment.interval.ms",
        false,
    ),
    (
        "share.heartbeat.interval.ms",
        "group.share.min.heartbeat.interval.ms",
        "group.share.max.heartbeat.interval.ms",
        true,
    ),
    ("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms", true),
    (
        "share.record.lock.duration.ms",
        "group.share.min.record.lock.duration.ms",
        "group.share.max.record.lock.duration.ms",
        true,
    ),
    (
        "share.delivery.count.limit",
        "group.share.min.delivery.count.limit",
        "group.share.max.delivery.count.limit",
        true,
    ),
    (
        "share.partition.max.record.locks",
        "group.share.min.partition.max.record.locks",
        "group.share.max.partition.max.record.locks",
        true,
    ),
    (
        "share.assignment.interval.ms",
        "group.share.min.assignment.interval.ms",
        "group.share.max.assignment.interval.ms",
        false,
    ),
    (
        "streams.heartbeat.interval.ms",
        "group.streams.min.heartbeat.interval.ms",
        "group.streams.max.heartbeat.interval.ms",
        true,
    ),
    (
        "streams.session.timeout.ms",
        "group.streams.min.session.timeout.ms",
        "group.streams.max.session.timeout.ms",
        true,
    ),
    ("streams.num.standby.replicas", "", "group.streams.max.standby.replicas", true),
    (
        "streams.assignment.interval.ms",
        "group.streams.min.assignment.interval.ms",
        "group.streams.max.assignment.interval.ms",
        false,
    ),
];

/// Judges everything that is set on a group together. `fallback` gives the value of a broker key that was set.
///
/// # Errors
/// The text for the client.
pub fn validate_group<'a>(
    configs: &BTreeMap<&str, &str>,
    fallback: impl Fn(&str) -> Option<&'a str>,
) -> Result<(), String> {
    if let Some(unknown) = configs.keys().find(|name| group(name).is_none()) {
        return Err(format!("Unknown group config name: {unknown}"));
    }
    for definition in Table::group().iter() {
        if let Some(value) = configs.get(definition.name) {
            definition.check(Some(value)).map_err(|error| error.0)?;
        }
    }
    let broker_number = |key: &str| -> Option<i64> {
        fallback(key).or_else(|| broker(key).and_then(|definition| definition.default))?.trim().parse().ok()
    };
    let number = |key: &str| -> Option<i64> {
        match configs.get(key) {
            Some(value) => value.trim().parse().ok(),
            None => broker_number(group_broker_synonym(key)?),
        }
    };
    for (key, min_key, max_key, always) in BOUNDS {
        if !always && !configs.contains_key(key) {
            continue;
        }
        let Some(value) = number(key) else { continue };
        if broker_number(min_key).is_some_and(|min| value < min) {
            return Err(format!("{key} must be greater than or equal to {min_key}"));
        }
        if broker_number(max_key).is_some_and(|max| value > max) {
            return Err(format!("{key} must be less than or equal to {max_key}"));
        }
    }
    for kind in ["consumer", "share", "streams"] {
        let (session, heartbeat) = (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        if number(&session) <= number(&heartbeat) {
            return Err(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_come_from_the_brokers() {
        let judge =
            |configs: &[(&'static str, &'static str)]| validate_group(&configs.iter().copied().collect(), |_| None);
        assert_eq!(judge(&[]), Ok(()));
        assert_eq!(judge(&[("consumer.session.timeout.ms", "50000")]), Ok(()));
        assert_eq!(
            judge(&[("consumer.session.timeout.ms", "1000")]),
            Err("consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"
                .to_owned())
        );
        assert_eq!(judge(&[("nope", "1")]), Err("Unknown group config name: nope".to_owned()));
        assert!(judge(&[("streams.num.standby.replicas", "3")]).is_err());
    }

    #[test]
    fn every_bound_is_a_key() {
        for (key, min, max, _) in BOUNDS {
            assert!(group(key).is_some() && broker(max).is_some(), "{key}");
            assert!(min.is_empty() || broker(min).is_some(), "{min}");
        }
    }
}
