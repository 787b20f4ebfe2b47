//! Why a request to a consumer group fails, with the words that the answer has room for.

use ottla_protocol::ErrorCode;

use crate::pattern::PatternError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl GroupError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

impl From<PatternError> for GroupError {
    fn from(error: PatternError) -> Self {
        Self::new(PatternError::CODE, error.to_string())
    }
}
