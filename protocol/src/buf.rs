//! Primitives of the wire shared by our own codecs: a cursor over borrowed bytes, varints, compact strings.

use bytes::BufMut;

/// The bytes do not hold what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the bytes end too early")]
    TooShort,
    #[error("a varint is longer than its type")]
    VarintTooLong,
    #[error("a length is negative where null is not allowed")]
    NegativeLength,
    #[error("a string is not UTF-8")]
    NotUtf8,
}

/// A position in borrowed bytes; every read is checked.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

macro_rules! fixed {
    ($($name:ident $type:ty;)*) => {
        $(
            #[doc = concat!("A big-endian `", stringify!($type), "`.")]
            pub fn $name(&mut self) -> Result<$type, ReadError> {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or(ReadError::TooShort)?;
                self.rest = rest;
                Ok(<$type>::from_be_bytes(*bytes))
            }
        )*
    };
}

impl<'a> Cursor<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ReadError::TooShort)?;
        self.rest = rest;
        Ok(bytes)
    }

    fixed! { i8 i8; u8 u8; i16 i16; u16 u16; i32 i32; u32 u32; i64 i64; f64 f64; u128 u128; }

    /// Up to five groups of seven bits, lowest first.
    pub fn uvarint(&mut self) -> Result<u32, ReadError> {
        let mut value = 0_u32;
        for group in 0..5 {
            let byte = self.u8()?;
            if group == 4 && byte > 0x0f {
                return Err(ReadError::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ReadError::VarintTooLong)
    }

    /// Up to ten groups of seven bits, lowest first.
    pub fn uvarlong(&mut self) -> Result<u64, ReadError> {
        let mut value = 0_u64;
        for group in 0..10 {
            let byte = self.u8()?;
            if group == 9 && byte > 1 {
                return Err(ReadError::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * group);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ReadError::VarintTooLong)
    }

    /// A zigzag varint, as records use them.
    pub fn varint(&mut self) -> Result<i32, ReadError> {
        let value = self.uvarint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A zigzag varlong, as records use them.
    pub fn varlong(&mut self) -> Result<i64, ReadError> {
        let value = self.uvarlong()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Bytes behind a zigzag varint length; -1 is null, anything lower an error.
    pub fn varint_bytes(&mut self) -> Result<Option<&'a [u8]>, ReadError> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| ReadError::NegativeLength)?).map(Some),
        }
    }

    /// A string behind an `i16` length; -1 is null.
    pub fn string(&mut self) -> Result<Option<&'a str>, ReadError> {
        match self.i16()? {
            -1 => Ok(None),
            length => utf8(self.take(usize::try_from(length).map_err(|_| ReadError::NegativeLength)?)?).map(Some),
        }
    }

    /// A string behind an unsigned varint of its length plus one; 0 is null.
    pub fn compact_string(&mut self) -> Result<Option<&'a str>, ReadError> {
        self.compact_bytes()?.map(utf8).transpose()
    }

    /// Bytes behind an `i32` length; -1 is null.
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, ReadError> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| ReadError::NegativeLength)?).map(Some),
        }
    }

    /// Bytes behind an unsigned varint of their length plus one; 0 is null.
    pub fn compact_bytes(&mut self) -> Result<Option<&'a [u8]>, ReadError> {
        match self.uvarint()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => self.take(length as usize).map(Some),
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, ReadError> {
    std::str::from_utf8(bytes).map_err(|_| ReadError::NotUtf8)
}

/// Writes an unsigned varint.
pub fn put_uvarint(buf: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        buf.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Writes a zigzag varint.
pub fn put_varint(buf: &mut impl BufMut, value: i32) {
    put_uvarint(buf, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

/// Writes a zigzag varlong.
pub fn put_varlong(buf: &mut impl BufMut, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while value >= 0x80 {
        buf.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// Bytes an unsigned varint takes.
pub const fn uvarint_size(value: u32) -> usize {
    let bits = 32 - value.leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

/// Bytes a zigzag varint takes.
pub const fn varint_size(value: i32) -> usize {
    uvarint_size(((value << 1) ^ (value >> 31)).cast_unsigned())
}

/// Bytes a zigzag varlong takes.
pub const fn varlong_size(value: i64) -> usize {
    let bits = 64 - ((value << 1) ^ (value >> 63)).leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_survive(value: i32, long: i64, unsigned: u32) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_size(value));
            put_varlong(&mut bytes, long);
            prop_assert_eq!(bytes.len(), varint_size(value) + varlong_size(long));
            put_uvarint(&mut bytes, unsigned);
            let mut cursor = Cursor::new(&bytes);
            prop_assert_eq!(cursor.varint().unwrap(), value);
            prop_assert_eq!(cursor.varlong().unwrap(), long);
            prop_assert_eq!(cursor.uvarint().unwrap(), unsigned);
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).uvarint(), Err(ReadError::VarintTooLong));
        assert_eq!(Cursor::new(&[0x80; 5]).uvarint(), Err(ReadError::VarintTooLong));
        assert_eq!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
        assert_eq!(Cursor::new(&[0x80; 11]).uvarlong(), Err(ReadError::VarintTooLong));
        assert_eq!(Cursor::new(&[0x80]).uvarint(), Err(ReadError::TooShort));
    }
}
