//! Length-prefixed frames: four bytes of length, then that many bytes.

/// What the first four bytes of a frame say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// A frame of this many bytes follows.
    Length(usize),
    /// Longer than `limit` allows; the connection is closed.
    TooLarge { length: usize, limit: usize },
    /// These bytes belong to another protocol, or the length is negative; the connection is closed.
    NotKafka(Stranger),
}

/// Who talks to us by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    Http,
    Tls,
    Ssh,
    NegativeLength,
}

/// No request is shorter: API key, version, correlation id.
pub const FRAME_BYTES_MIN: usize = 8;
/// Judges a length prefix before anything is allocated. `limit` is `socket.request.max.bytes` or less.
pub fn check(prefix: [u8; 4], limit: usize) -> Prefix {
    if let Some(stranger) = recognize(prefix) {
        return Prefix::NotKafka(stranger);
    }
    match usize::try_from(i32::from_be_bytes(prefix)) {
        Err(_) => Prefix::NotKafka(Stranger::NegativeLength),
        Ok(length) if length > limit => Prefix::TooLarge { length, limit },
        Ok(length) => Prefix::Length(length),
    }
}

/// Prefixes that would be lengths above 300 MB: no client means them.
fn recognize(prefix: [u8; 4]) -> Option<Stranger> {
    match &prefix {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC" | b"PRI " => {
            Some(Stranger::Http)
        }
        // Handshake record, TLS 1.x.
        [0x16, 0x03, 0..=4, _] => Some(Stranger::Tls),
        b"SSH-" => Some(Stranger::Ssh),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognized() {
        assert_eq!(check(*b"GET ", 100 << 20), Prefix::NotKafka(Stranger::Http));
        assert_eq!(check([0x16, 3, 1, 2], usize::MAX), Prefix::NotKafka(Stranger::Tls));
        assert_eq!(check((-1_i32).to_be_bytes(), 100), Prefix::NotKafka(Stranger::NegativeLength));
    }

    #[test]
    fn the_limit_is_inclusive() {
        assert_eq!(check(100_i32.to_be_bytes(), 100), Prefix::Length(100));
        assert_eq!(check(101_i32.to_be_bytes(), 100), Prefix::TooLarge { length: 101, limit: 100 });
        assert_eq!(check([0; 4], 100), Prefix::Length(0));
    }
}
