//! Which keys stand in for which: a topic's key falls back to a broker's, and some broker keys come in several units.

/// Topic key, and the broker keys it falls back to, strongest first.
const TOPIC_TO_BROKER: &[(&str, &[&str])] = &[
    ("cleanup.policy", &["log.cleanup.policy"]),
    ("compression.gzip.level", &["compression.gzip.level"]),
    ("compression.lz4.level", &["compression.lz4.level"]),
    ("compression.type", &["compression.type"]),
    ("compression.zstd.level", &["compression.zstd.level"]),
    ("delete.retention.ms", &["log.cleaner.delete.retention.ms"]),
    ("file.delete.delay.ms", &["log.segment.delete.delay.ms"]),
    ("flush.messages", &["log.flush.interval.messages"]),
    ("flush.ms", FLUSH),
    ("index.interval.bytes", &["log.index.interval.bytes"]),
    ("local.retention.bytes", &["log.local.retention.bytes"]),
    ("local.retention.ms", &["log.local.retention.ms"]),
    ("log.durability", &["log.durability"]),
    ("max.compaction.lag.ms", &["log.cleaner.max.compaction.lag.ms"]),
    ("max.message.bytes", &["message.max.bytes"]),
    ("message.timestamp.after.max.ms", &["log.message.timestamp.after.max.ms"]),
    ("message.timestamp.before.max.ms", &["log.message.timestamp.before.max.ms"]),
    ("message.timestamp.type", &["log.message.timestamp.type"]),
    ("min.cleanable.dirty.ratio", &["log.cleaner.min.cleanable.ratio"]),
    ("min.compaction.lag.ms", &["log.cleaner.min.compaction.lag.ms"]),
    ("min.insync.replicas", &["min.insync.replicas"]),
    ("preallocate", &["log.preallocate"]),
    ("retention.bytes", &["log.retention.bytes"]),
    ("retention.ms", RETENTION),
    ("segment.bytes", &["log.segment.bytes"]),
    ("segment.index.bytes", &["log.index.size.max.bytes"]),
    ("segment.jitter.ms", ROLL_JITTER),
    ("segment.ms", ROLL),
    ("unclean.leader.election.enable", &["unclean.leader.election.enable"]),
];

const FLUSH: &[&str] = &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"];
const RETENTION: &[&str] = &["log.retention.ms", "log.retention.minutes", "log.retention.hours"];
const ROLL: &[&str] = &["log.roll.ms", "log.roll.hours"];
const ROLL_JITTER: &[&str] = &["log.roll.jitter.ms", "log.roll.jitter.hours"];

/// The broker keys that a topic key falls back to, strongest first; empty when there is none.
pub fn topic_broker_synonyms(topic_key: &str) -> &'static [&'static str] {
    TOPIC_TO_BROKER.iter().find(|(key, _)| *key == topic_key).map_or(&[], |(_, keys)| keys)
}

/// The broker key of the same meaning and unit as a topic key.
pub fn topic_broker_synonym(topic_key: &str) -> Option<&'static str> {
    topic_broker_synonyms(topic_key).first().copied()
}

/// All names under which a broker key's value may have been given, strongest first; the key itself among them.
pub fn broker_synonyms(key: &str) -> Vec<&str> {
    for group in [RETENTION, ROLL, ROLL_JITTER] {
        if group.contains(&key) {
            return group.to_vec();
        }
    }
    if key == FLUSH[0] {
        return FLUSH.to_vec();
    }
    match listener_key(key) {
        Some(base) => vec![key, base],
        None => vec![key],
    }
}

/// The part after `listener.name.<listener>.` (and after a SASL mechanism, for the keys that take one).
pub fn listener_key(key: &str) -> Option<&str> {
    const PER_MECHANISM: &[&str] = &[
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "sasl.login.class",
        "sasl.server.callback.handler.class",
        "connections.max.reauth.ms",
    ];
    let (_, base) = key.strip_prefix("listener.name.")?.split_once('.')?;
    Some(PER_MECHANISM.iter().find(|name| base.ends_with(**name)).map_or(base, |name| *name))
}

/// What becomes of a negative number of hours or minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negative {
    /// `-1`, the word for "unlimited": what a broker lives by.
    Unlimited,
    /// So many milliseconds as well: what Kafka's controller tells of a new topic's configs.
    Multiplied,
}

/// The value of a broker key whose name ends in a unit of time, in milliseconds.
pub fn in_ms(key: &str, value: &str, negative: Negative) -> String {
    let unit = unit_ms(key);
    match value.trim().parse::<i64>() {
        Ok(_) if unit == 1 => value.to_owned(),
        Ok(number) if number < 0 && negative == Negative::Unlimited => "-1".to_owned(),
        Ok(number) => number.saturating_mul(unit).to_string(),
        Err(_) => value.to_owned(),
    }
}

/// The amount of milliseconds in one unit of a broker key that ends in a unit of time.
pub(super) fn unit_ms(key: &str) -> i64 {
    match key.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_no_hours_are_unlimited_or_many_milliseconds() {
        let told = |value, negative| in_ms("log.retention.hours", value, negative);
        assert_eq!(told("-2", Negative::Unlimited), "-1");
        assert_eq!(told("-2", Negative::Multiplied), "-7200000");
        assert_eq!(told(" 2 ", Negative::Unlimited), "7200000");
        assert_eq!(told("soon", Negative::Unlimited), "soon");
        assert_eq!(in_ms("log.retention.ms", " -5", Negative::Unlimited), " -5");
    }

    #[test]
    fn synonyms_are_keys() {
        for (topic_key, broker_keys) in TOPIC_TO_BROKER {
            assert!(super::super::topic(topic_key).is_some(), "{topic_key}");
            for key in *broker_keys {
                assert!(super::super::broker(key).is_some(), "{key}");
            }
        }
        assert_eq!(broker_synonyms("log.retention.hours"), RETENTION);
        assert_eq!(broker_synonyms("log.flush.scheduler.interval.ms"), ["log.flush.scheduler.interval.ms"]);
        assert_eq!(
            broker_synonyms("listener.name.external.scram-sha-256.sasl.jaas.config"),
            ["listener.name.external.scram-sha-256.sasl.jaas.config", "sasl.jaas.config"]
        );
    }
}
