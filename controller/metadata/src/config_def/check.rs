//! Judges a value: type first, then limits, in the words that clients know.

use std::collections::HashSet;
use std::fmt;

use super::table::{ConfigDef, Limits};
use super::value::Value;

/// A value that a key does not take; its text is what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue(pub String);

impl InvalidValue {
    pub(super) fn new(name: &str, value: &str, reason: &str) -> Self {
        Self(format!("Invalid value {value} for configuration {name}: {reason}"))
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

impl ConfigDef {
    /// Reads and judges a value; `None` is a key without a value.
    ///
    /// # Errors
    /// When it is not of the key's type or outside its limits. A secret is not repeated in the error.
    pub fn check(&self, text: Option<&str>) -> Result<Option<Value>, InvalidValue> {
        let Some(text) = text else {
            return match &self.limits {
                Limits::List { may_be_null: false, .. } => {
                    Err(InvalidValue(format!("Configuration '{}' values must not be null.", self.name)))
                }
                Limits::Range { .. } | Limits::UnsetOrRange { .. } if self.default.is_some() => {
                    Err(self.refuse("null", "Value must be non-null"))
                }
                _ => Ok(None),
            };
        };
        let value = Value::read(self.value_type, text).map_err(|reason| self.refuse(text, &reason))?;
        self.check_limits(&value)?;
        Ok(Some(value))
    }

    fn refuse(&self, value: &str, reason: &str) -> InvalidValue {
        InvalidValue::new(self.name, if self.is_sensitive() { "[hidden]" } else { value }, reason)
    }

    fn check_limits(&self, value: &Value) -> Result<(), InvalidValue> {
        let refuse = |reason: &str| Err(self.refuse(&value.in_message(), reason));
        match (&self.limits, value) {
            (Limits::Range { min, max }, value) => {
                if let Some(min) = min
                    && is_less(value, min)
                {
                    return refuse(&format!("Value must be at least {min}"));
                }
                if let Some(max) = max
                    && is_more(value, max)
                {
                    return refuse(&format!("Value must be no more than {max}"));
                }
                Ok(())
            }
            (Limits::UnsetOrRange { min, max }, Value::Integer(number)) => {
                if *number == -1 || (*min..=*max).contains(number) {
                    Ok(())
                } else {
                    refuse(&format!("Value must be between {min} and {max} or equal to -1"))
                }
            }
            (Limits::OneOf(choices), Value::Text(text)) => {
                if choices.contains(&text.as_str()) {
                    Ok(())
                } else {
                    refuse(&format!("String must be one of: {}", choices.join(", ")))
                }
            }
            (Limits::OneOfAnyCase(choices), Value::Text(text)) => {
                if choices.iter().any(|choice| choice.eq_ignore_ascii_case(text)) {
                    Ok(())
                } else {
                    refuse(&format!("String must be one of (case insensitive): {}", choices.join(", ")))
                }
            }
            (Limits::List { may_be_empty, members, .. }, Value::List(list)) => {
                self.check_list(*may_be_empty, members, list)
            }
            (Limits::ThrottledReplicas, Value::List(list)) => {
                if list.iter().all(|entry| is_replica(entry)) || list.concat() == "*" {
                    Ok(())
                } else {
                    refuse(&format!(
                        "{} must be the literal '*' or a list of replicas in the following format: \
                         [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                        self.name
                    ))
                }
            }
            (Limits::OffsetReset, Value::Text(text)) => {
                if matches!(text.to_ascii_lowercase().as_str(), "latest" | "earliest")
                    || text.to_ascii_lowercase().strip_prefix("by_duration:").is_some_and(is_duration)
                {
                    Ok(())
                } else {
                    refuse("the value must be latest, earliest or by_duration:PnDTnHnMn.nS")
                }
            }
            (Limits::NonEmpty, Value::Text(text)) if text.is_empty() => refuse("String must be non-empty"),
            _ => Ok(()),
        }
    }

    fn check_list(&self, may_be_empty: bool, members: &[&str], list: &[String]) -> Result<(), InvalidValue> {
        let name = self.name;
        if !may_be_empty && list.is_empty() {
            let choices =
                if members.is_empty() { "any non-empty value".to_owned() } else { format!("[{}]", members.join(", ")) };
            return Err(InvalidValue(format!(
                "Configuration '{name}' must not be empty. Valid values include: {choices}"
            )));
        }
        let mut seen = HashSet::new();
        if !list.iter().all(|member| seen.insert(member)) {
            return Err(InvalidValue(format!("Configuration '{name}' values must not be duplicated.")));
        }
        for member in list {
            if member.is_empty() {
                return Err(InvalidValue(format!("Configuration '{name}' values must not be empty.")));
            }
            if !members.is_empty() && !members.contains(&member.as_str()) {
                return Err(self.refuse(member, &format!("String must be one of: {}", members.join(", "))));
            }
        }
        Ok(())
    }
}

fn is_less(value: &Value, bound: &str) -> bool {
    match value {
        Value::Integer(number) => bound.parse::<i64>().is_ok_and(|bound| *number < bound),
        Value::Double(number) => bound.parse::<f64>().is_ok_and(|bound| *number < bound),
        _ => false,
    }
}

fn is_more(value: &Value, bound: &str) -> bool {
    match value {
        Value::Integer(number) => bound.parse::<i64>().is_ok_and(|bound| *number > bound),
        Value::Double(number) => bound.parse::<f64>().is_ok_and(|bound| *number > bound),
        _ => false,
    }
}

/// `partition:broker`, or nothing.
fn is_replica(entry: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    entry.is_empty() || entry.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker))
}

/// An ISO-8601 duration of days, hours, minutes and seconds (lower case): `p1dt2h3m4.5s`.
fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('p') else { return false };
    let (days, time) = rest.split_once('t').map_or((rest, None), |(days, time)| (days, Some(time)));
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && text.parse::<f64>().is_ok()
    };
    let mut parts = 0;
    if !days.is_empty() {
        if !days.strip_suffix('d').is_some_and(number) {
            return false;
        }
        parts += 1;
    }
    if let Some(mut time) = time {
        for unit in ['h', 'm', 's'] {
            if let Some((amount, rest)) = time.split_once(unit) {
                if !number(amount) {
                    return false;
                }
                parts += 1;
                time = rest;
            }
        }
        if !time.is_empty() {
            return false;
        }
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{broker, group, topic};

    fn refusal(name: &str, value: &str) -> String {
        topic(name).unwrap().check(Some(value)).unwrap_err().0
    }

    #[test]
    fn refusals_read_as_kafka_words_them() {
        assert_eq!(
            refusal("retention.ms", "abc"),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            refusal("retention.ms", "-2"),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1"
        );
        assert_eq!(
            refusal("min.cleanable.dirty.ratio", "1.5"),
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
        );
        assert_eq!(
            refusal("cleanup.policy", "delete,shred"),
            "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(
            refusal("cleanup.policy", "delete,delete"),
            "Configuration 'cleanup.policy' values must not be duplicated."
        );
        assert_eq!(
            refusal("compression.gzip.level", "0"),
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            refusal("preallocate", "yes"),
            "Invalid value yes for configuration preallocate: Expected value to be either true or false"
        );
    }

    #[test]
    fn what_kafka_takes_is_taken() {
        assert!(topic("cleanup.policy").unwrap().check(Some("")).is_ok());
        assert!(topic("cleanup.policy").unwrap().check(Some("compact, delete")).is_ok());
        assert!(topic("leader.replication.throttled.replicas").unwrap().check(Some("0:1,1:2")).is_ok());
        assert!(topic("leader.replication.throttled.replicas").unwrap().check(Some("*")).is_ok());
        assert!(topic("leader.replication.throttled.replicas").unwrap().check(Some("a:b")).is_err());
        assert!(group("share.auto.offset.reset").unwrap().check(Some("by_duration:P1DT2H")).is_ok());
        assert!(group("share.auto.offset.reset").unwrap().check(Some("by_duration:soon")).is_err());
        assert!(broker("group.consumer.migration.policy").unwrap().check(Some("Upgrade")).is_ok());
    }
}
