//! What a topic may be called.

use ottla_protocol::ErrorCode;

/// Longer names would not fit a directory name with a partition number and a suffix behind.
const LENGTH_MAX: usize = 249;

/// True for a name that a topic may have.
pub fn is_valid(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name != "." && name != ".." && name.len() <= LENGTH_MAX && name.bytes().all(is_legal)
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
