//! What appends and reads can be refused for.

use std::io;

use ottla_protocol::{ErrorCode, Offset};

/// One record of a refused batch, as Produce v8+ names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record within its batch.
    pub batch_index: i32,
    pub message: String,
}

/// Why records were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch breaks a rule. Nothing was written.
    #[error("{message}")]
    Invalid { code: ErrorCode, message: String, record_errors: Vec<RecordError> },
    /// The appender's leader epoch has passed.
    #[error("leader epoch {given} is older than {current}")]
    FencedLeaderEpoch { given: i32, current: i32 },
    /// A follower's batches do not continue its log.
    #[error("batch begins at {first}, the log ends at {end}")]
    OutOfOrderOffsets { first: Offset, end: Offset },
    /// No space is left. Nothing was written, and the log goes on when there is space again.
    #[error("no space left in the log directory")]
    DiskFull,
    /// The log was closed, or its directory has failed: nothing is written there until a restart.
    #[error("the log is closed or its directory is offline")]
    Offline,
    /// The write failed; the log is offline from now on.
    #[error("write failed: {0}")]
    Io(#[from] io::Error),
}

impl AppendError {
    pub(crate) fn invalid(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Invalid { code, message: message.into(), record_errors: Vec::new() }
    }

    /// What to answer a client.
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::Invalid { code, .. } => *code,
            Self::FencedLeaderEpoch { .. } => ErrorCode::NotLeaderOrFollower,
            Self::OutOfOrderOffsets { .. } => ErrorCode::UnknownServerError,
            // Retriable, so that producers go on by themselves when there is space again.
            Self::DiskFull | Self::Offline | Self::Io(_) => ErrorCode::KafkaStorageError,
        }
    }

    /// The records that broke a rule, where single ones did.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::Invalid { record_errors, .. } => record_errors,
            _ => &[],
        }
    }
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {asked} is not within {start}..{end}")]
    OutOfRange { asked: Offset, start: Offset, end: Offset },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ReadError {
    /// What to answer a client.
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Io(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// A want of space or of file descriptors: what was asked is refused, and what is on the disk can still be trusted.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    is_lack_of_space(error) || is_descriptor_shortage(error)
}

/// The disk, or what this user may have of it, is full.
pub(crate) fn is_lack_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A want of file descriptors. It comes of opening files only, never of writing or syncing them.
pub(crate) fn is_descriptor_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let descriptors = [Errno::MFILE, Errno::NFILE];
    error.raw_os_error().is_some_and(|code| descriptors.iter().any(|errno| errno.raw_os_error() == code))
}

pub(crate) fn offline() -> io::Error {
    io::Error::other("the log directory is offline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_says_nothing_about_the_disk() {
        let from = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(is_shortage(&from(rustix::io::Errno::MFILE)));
        assert!(is_shortage(&from(rustix::io::Errno::NOSPC)));
        assert!(!is_shortage(&from(rustix::io::Errno::IO)));
    }
}
