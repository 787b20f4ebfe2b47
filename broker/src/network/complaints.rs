//! What is said of connections that the broker ends, in a bounded number of lines.

use super::connection::End;
use super::inbox::Refused;
use crate::telemetry::Repeats;
use ottla_protocol::request::DecodeError;

/// A kind of ending that is worth a line; the next of the same kind says nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    NotAccepted,
    NotKafka,
    FrameLength,
    NotServed,
    UnsupportedVersion,
    Malformed,
    Idle,
    SlowSender,
    Unread,
}

const KINDS: usize = 9;

impl Complaint {
    /// `None` for what happens to honest clients every day.
    pub fn of(end: &End) -> Option<Self> {
        Some(match end {
            End::ByClient | End::Shutdown | End::ByAnswer | End::Io(_) => return None,
            End::Idle => Self::Idle,
            End::SlowSender => Self::SlowSender,
            End::Unread => Self::Unread,
            End::Refused(Refused::NotKafka(_)) => Self::NotKafka,
            End::Refused(Refused::TooLarge { .. } | Refused::TooShort(_)) => Self::FrameLength,
            End::Refused(Refused::NotServed(_)) | End::Undecodable(DecodeError::UnknownApi { .. }) => Self::NotServed,
            End::Undecodable(DecodeError::UnsupportedVersion { .. }) => Self::UnsupportedVersion,
            End::Undecodable(DecodeError::Malformed { .. }) => Self::Malformed,
        })
    }

    /// Whether the client has done something wrong.
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::Idle | Self::SlowSender | Self::Unread)
    }
}

/// One for all listeners: who floods several of them fills the log no faster. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Complaints([Repeats; KINDS]);

impl Complaints {
    /// Writes the line, or counts it.
    pub fn say(&self, kind: Complaint, line: impl FnOnce()) {
        self.0[kind as usize].say(line, move |left_out| {
            if kind.is_warning() {
                tracing::warn!(?kind, left_out, "lines of this kind were left out within a second");
            } else {
                tracing::info!(?kind, left_out, "lines of this kind were left out within a second");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn kinds_are_counted_apart() {
        let (complaints, written) = (Complaints::default(), Cell::new(0));
        let kinds = [
            Complaint::NotAccepted,
            Complaint::NotKafka,
            Complaint::FrameLength,
            Complaint::NotServed,
            Complaint::UnsupportedVersion,
            Complaint::Malformed,
            Complaint::Idle,
            Complaint::SlowSender,
            Complaint::Unread,
        ];
        assert_eq!(kinds.len(), KINDS);
        for _ in 0..1000 {
            for kind in kinds {
                complaints.say(kind, || written.set(written.get() + 1));
            }
        }
        assert_eq!(written.get(), KINDS);
    }

    #[test]
    fn who_goes_by_himself_is_not_complained_of() {
        assert_eq!(Complaint::of(&End::ByClient), None);
        assert_eq!(Complaint::of(&End::Shutdown), None);
        assert_eq!(Complaint::of(&End::Refused(Refused::TooShort(1))), Some(Complaint::FrameLength));
        let malformed = DecodeError::Malformed { api_key: Some(3), reason: "x".to_owned() };
        assert_eq!(Complaint::of(&End::Undecodable(malformed)), Some(Complaint::Malformed));
    }
}
