//! Regular expressions of clients: subscriptions of groups, lists of transactions.

use ottla_protocol::ErrorCode;
use regex::{Regex, RegexBuilder};

/// The longest pattern that is compiled, and the memory that it may take: anybody may send one, and each is compiled by a
/// task that others wait for.
const BYTES_MAX: usize = 4096;
const MEMORY_BYTES_MAX: usize = 1 << 18;

/// Why a text is no pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("a regular expression of {0} bytes is too long")]
    TooLong(usize),
    #[error("{0:?} is not a regular expression in RE2 syntax: {1}")]
    Invalid(String, regex::Error),
}

impl PatternError {
    /// What clients are told.
    pub const CODE: ErrorCode = ErrorCode::InvalidRegularExpression;
}

/// RE2 syntax, matching the whole text.
///
/// # Errors
/// See [`PatternError`].
pub fn whole(pattern: &str) -> Result<Regex, PatternError> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(MEMORY_BYTES_MAX).build();
    if pattern.len() > BYTES_MAX {
        return Err(PatternError::TooLong(pattern.len()));
    }
    // On its own first: what only becomes an expression between the added parentheses is none.
    build(pattern)
        .and_then(|_| build(&format!(r"\A(?:{pattern})\z")))
        .map_err(|error| PatternError::Invalid(pattern.to_owned(), error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pattern_is_one_by_itself_and_matches_the_whole_text() {
        let pattern = whole("a|b+").unwrap();
        assert!(pattern.is_match("a") && pattern.is_match("bbb"));
        assert!(!pattern.is_match("ab") && !pattern.is_match("a\n"));
        assert!(matches!(whole("a)|(?:b"), Err(PatternError::Invalid(..))));
        assert!(matches!(whole("(?=a)"), Err(PatternError::Invalid(..))), "nothing that could take exponential time");
        assert!(matches!(whole(&"a".repeat(5000)), Err(PatternError::TooLong(5000))));
    }
}
