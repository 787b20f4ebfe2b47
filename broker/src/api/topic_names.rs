//! What a topic may be called.

use ottla_protocol::ErrorCode;
use ottla_protocol::topic_names::validate_topic_name;

/// True for a name that a topic may have.
pub fn is_valid(name: &str) -> bool {
    validate_topic_name(name).is_ok()
}

/// The code for a topic that is not there: one that never can be is told apart.
pub fn missing(name: &str) -> ErrorCode {
    if is_valid(name) { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::InvalidTopicException }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_directories_can_be_called() {
        for good in ["a", "A-b_c.9", "...", &"x".repeat(249)] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", "a\0", &"x".repeat(250)] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
