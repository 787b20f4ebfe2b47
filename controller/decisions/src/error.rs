//! An error code with the words that tools print.

use ottla_protocol::{ErrorCode, StrBytes};

/// What is wrong with one item of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub code: ErrorCode,
    /// `None` where Kafka sends none and the client prints its own words for the code.
    pub message: Option<String>,
}

impl ApiError {
    /// A code with Kafka's explanation of this very case.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// A code alone.
    pub const fn bare(code: ErrorCode) -> Self {
        Self { code, message: None }
    }

    /// A code with its general text.
    pub fn general(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }

    /// The message as the protocol carries it.
    pub fn wire_message(&self) -> Option<StrBytes> {
        self.message.clone().map(StrBytes::from_string)
    }
}

/// Code and message of an outcome, as responses carry them.
pub(crate) fn wire<T>(result: &Result<T, ApiError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (0, None),
        Err(error) => (error.code.code(), error.wire_message()),
    }
}
