//! How a tool ends when it could not do what it was asked: the text and the exit code that Kafka's tools give.

use ottla_protocol::ErrorCode;

/// Why a tool stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is printed.
    pub message: String,
    /// The code the broker answered, if it was the broker that refused.
    pub code: Option<ErrorCode>,
    /// A wrong command line: the table of options is printed after the message.
    pub is_usage: bool,
    /// A broker could not be reached, or the connection to it was lost: it may come back, or another may do its work.
    pub is_lost: bool,
}

impl Failure {
    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, is_usage: true, is_lost: false }
    }

    /// Something could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: None, is_usage: false, is_lost: false }
    }

    /// A broker is out of reach.
    pub fn lost(message: impl Into<String>) -> Self {
        Self { is_lost: true, ..Self::failed(message) }
    }

    /// The broker refused; without a message of its own the default text of the code is used.
    pub fn from_code(code: i16, message: Option<String>) -> Self {
        let error = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
        let message = message.filter(|text| !text.is_empty()).unwrap_or_else(|| error.message().to_owned());
        Self { message, code: Some(error), is_usage: false, is_lost: false }
    }

    /// `Ok` for code 0.
    pub fn check(code: i16, message: Option<String>) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::from_code(code, message)) }
    }

    /// Whether the same request may succeed a little later, when brokers are back or others have taken over.
    pub fn is_passing(&self) -> bool {
        self.is_lost || self.code.is_some_and(ErrorCode::is_retriable)
    }

    /// The message with the name of the exception in front, as a Java stack trace begins.
    pub fn as_java(&self) -> String {
        match self.code {
            Some(code) => format!("org.apache.kafka.common.errors.{}: {}", exception_name(code), self.message),
            None => self.message.clone(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// The class name of the exception that Kafka's Java client throws for a code. Scripts match on these names.
pub fn exception_name(code: ErrorCode) -> String {
    match code {
        ErrorCode::TopicAlreadyExists => "TopicExistsException".into(),
        ErrorCode::CoordinatorLoadInProgress => "CoordinatorLoadInProgressException".into(),
        ErrorCode::CorruptMessage => "CorruptRecordException".into(),
        ErrorCode::MessageTooLarge => "RecordTooLargeException".into(),
        ErrorCode::RequestTimedOut => "TimeoutException".into(),
        ErrorCode::InvalidTopicException => "InvalidTopicException".into(),
        ErrorCode::RecordListTooLarge => "RecordBatchTooLargeException".into(),
        ErrorCode::NonEmptyGroup => "GroupNotEmptyException".into(),
        ErrorCode::OutOfOrderSequenceNumber => "OutOfOrderSequenceException".into(),
        ErrorCode::InvalidProducerIdMapping => "InvalidPidMappingException".into(),
        ErrorCode::ConcurrentTransactions => "ConcurrentTransactionsException".into(),
        ErrorCode::InvalidConfig => "InvalidConfigurationException".into(),
        ErrorCode::KafkaStorageError => "KafkaStorageException".into(),
        ErrorCode::GroupIdNotFound => "GroupIdNotFoundException".into(),
        other => format!("{other:?}Exception"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_like_java_exceptions() {
        let failure = Failure::from_code(36, Some("Topic 'a' already exists.".into()));
        assert_eq!(failure.as_java(), "org.apache.kafka.common.errors.TopicExistsException: Topic 'a' already exists.");
        let default = Failure::from_code(3, None);
        assert_eq!(default.message, "This server does not host this topic-partition.");
        assert!(Failure::check(0, None).is_ok());
    }

    #[test]
    fn what_brokers_coming_and_going_cause_passes() {
        assert!(Failure::lost("refused").is_passing());
        assert!(Failure::from_code(ErrorCode::NotCoordinator.code(), None).is_passing());
        assert!(!Failure::from_code(ErrorCode::GroupAuthorizationFailed.code(), None).is_passing());
        // A damaged record stays damaged.
        assert!(!Failure::failed("wrong checksum").is_passing());
    }
}
