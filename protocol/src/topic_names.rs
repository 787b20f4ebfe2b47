//! Topic names: which are allowed, and which are too alike.

/// The topic that stands for the metadata log.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

const NAME_LENGTH_MAX: usize = 249;

/// # Errors
/// What is wrong with the name, in Kafka's words.
pub fn validate_topic_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.encode_utf16().count() > NAME_LENGTH_MAX {
        format!("the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}")
    } else if !name.chars().all(allowed) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// A name for a message. Longer ones than a topic can have are cut short: a message may be repeated for each of a
/// million partitions that a request names behind one topic.
pub fn shown(name: &str) -> &str {
    match name.char_indices().nth(NAME_LENGTH_MAX) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

/// Metric names cannot tell `.` from `_`, so two topics must differ in more than that.
pub fn collide(a: &str, b: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || (matches!(a, b'.' | b'_') && matches!(b, b'.' | b'_'));
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_kafka_does() {
        assert_eq!(validate_topic_name("good.Name_1-x"), Ok(()));
        assert_eq!(validate_topic_name(""), Err("Topic name is invalid: the empty string is not allowed".into()));
        assert_eq!(validate_topic_name(".."), Err("Topic name is invalid: '..' is not allowed".into()));
        assert!(validate_topic_name("a b").is_err_and(|e| e.contains("one or more characters")));
        assert!(validate_topic_name(&"a".repeat(250)).is_err());
        assert_eq!(shown(&"a".repeat(249)), "a".repeat(249));
        assert_eq!(shown(&"\u{e4}".repeat(32_000)), "\u{e4}".repeat(249));
        assert_eq!(validate_topic_name(&"a".repeat(249)), Ok(()));
        assert!(collide("a.b", "a_b") && collide("a_b", "a_b") && !collide("a-b", "a_b") && !collide("ab", "abc"));
    }
}
