//! The bytes of metadata records: compact, versioned, without self-description.
//!
//! Integers are variable length (zigzag where they may be negative), strings and lists carry their length, an option is
//! one byte and the value. A record is `kind, version, length, fields`: the length lets a reader check that it took
//! exactly what was written, and lets a field be added at the end (an older record simply ends earlier and the missing
//! fields take their default).

use std::sync::Arc;

use ottla_protocol::{BrokerId, LeaderEpoch, Offset, ProducerId, TopicId};
use uuid::Uuid;

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ended inside a value.
    Truncated,
    /// A value that no version of this format writes; the text names it.
    Invalid(&'static str),
    /// A kind or version that only a newer build writes.
    TooNew { kind: u64, version: u64 },
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the input ends inside a value"),
            Self::Invalid(what) => write!(f, "invalid {what}"),
            Self::TooNew { kind, version } => {
                write!(f, "record kind {kind} version {version} was written by a newer build")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// A cursor over borrowed bytes.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// True at the end.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// `Truncated` when fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// `Truncated` at the end.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned variable-length integer.
    ///
    /// # Errors
    /// `Truncated`, or `Invalid` beyond 64 bits.
    pub fn uvarint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Invalid("integer"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("integer"))
    }

    /// A count of things of at least one byte each, so never more than the bytes that are left.
    ///
    /// # Errors
    /// `Truncated` when the count cannot be true.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.uvarint()?).map_err(|_| DecodeError::Truncated)?;
        if count > self.bytes.len() { Err(DecodeError::Truncated) } else { Ok(count) }
    }
}

/// Appends an unsigned variable-length integer.
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A value of the format.
pub trait Wire: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads the value that `write` appended.
    ///
    /// # Errors
    /// When the bytes are not what `write` would have appended.
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError>;
}

macro_rules! signed {
    ($($type:ty),*) => { $(
        impl Wire for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let value = i64::from(*self);
                put_uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
            }
            fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                let raw = input.uvarint()?;
                let value = ((raw >> 1) as i64) ^ -((raw & 1) as i64);
                Self::try_from(value).map_err(|_| DecodeError::Invalid("integer"))
            }
        }
    )* };
}
signed!(i8, i16, i32, i64);

impl Wire for u16 {
    fn write(&self, out: &mut Vec<u8>) {
        put_uvarint(out, u64::from(*self));
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Self::try_from(input.uvarint()?).map_err(|_| DecodeError::Invalid("integer"))
    }
}

impl Wire for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        input.byte()
    }
}

impl Wire for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("flag")),
        }
    }
}

impl Wire for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_be_bytes());
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(input.take(8)?);
        Ok(Self::from_bits(u64::from_be_bytes(bytes)))
    }
}

impl Wire for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let count = input.count()?;
        let text = std::str::from_utf8(input.take(count)?).map_err(|_| DecodeError::Invalid("text"))?;
        Ok(Self::from(text))
    }
}

impl Wire for Uuid {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(input.take(16)?);
        Ok(Self::from_bytes(bytes))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.write(out);
            }
        }
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(if bool::read(input)? { Some(T::read(input)?) } else { None })
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        put_uvarint(out, self.len() as u64);
        for item in self {
            item.write(out);
        }
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let count = input.count()?;
        let mut items = Self::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(T::read(input)?);
        }
        Ok(items)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok((A::read(input)?, B::read(input)?))
    }
}

macro_rules! newtypes {
    ($($type:ident),*) => { $(
        impl Wire for $type {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                Ok(Self(Wire::read(input)?))
            }
        }
    )* };
}
newtypes!(BrokerId, LeaderEpoch, Offset, ProducerId);

impl Wire for TopicId {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Uuid::read(input)?))
    }
}

/// Declares a struct together with its bytes: the fields in order.
macro_rules! wire_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $( $(#[$field_meta:meta])* pub $field:ident : $type:ty, )* }) => {
        $(#[$meta])*
        pub struct $name { $( $(#[$field_meta])* pub $field: $type, )* }

        impl $crate::wire::Wire for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $( self.$field.write(out); )*
            }
            fn read(input: &mut $crate::wire::Input<'_>) -> Result<Self, $crate::wire::DecodeError> {
                Ok(Self { $( $field: $crate::wire::Wire::read(input)?, )* })
            }
        }
    };
}
pub(crate) use wire_struct;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn round_trip<T: Wire + PartialEq + std::fmt::Debug>(value: &T) {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        let mut input = Input::new(&bytes);
        assert_eq!(&T::read(&mut input).unwrap(), value);
        assert!(input.is_empty());
        for cut in 0..bytes.len() {
            assert!(T::read(&mut Input::new(&bytes[..cut])).is_err(), "{cut} of {bytes:?}");
        }
    }

    #[test]
    fn values_survive_and_cuts_are_noticed() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            round_trip(&value);
        }
        round_trip(&u16::MAX);
        round_trip(&Some(Arc::<str>::from("größe")));
        round_trip(&vec![(1_i32, 2.5_f64), (-9, f64::MIN)]);
        round_trip(&Uuid::from_u128(u128::MAX - 5));
        assert!(i32::read(&mut Input::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01])).is_err());
        assert!(Vec::<i64>::read(&mut Input::new(&[0xff, 0xff, 0xff, 0x7f, 0])).is_err());
        assert!(Input::new(&[0xff; 11]).uvarint().is_err());
    }
}
