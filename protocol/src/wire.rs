//! What the generated messages are written with and read by.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Message, StrBytes};
use uuid::Uuid;

/// Why a message cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the bytes end too early")]
    TooShort,
    #[error("a count or length is larger than the bytes that are left")]
    CountTooLarge,
    #[error("a varint is longer than its type")]
    VarintTooLong,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("null where null is not allowed")]
    Null,
    #[error("a tagged field does not fill its size")]
    TagSize,
    #[error("version {0} is not supported")]
    UnsupportedVersion(i16),
    #[error("record type {0} is not known")]
    UnknownType(i16),
    #[error("{0} is set and the version has no place for it")]
    Unavailable(&'static str),
    #[error("{0} is null, which the version does not allow")]
    NullField(&'static str),
    #[error("a string or array is longer than its length field can say")]
    TooLong,
}

/// Where bytes go: into a buffer, or only counted.
pub trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// Counts.
pub(crate) struct Size(pub(crate) usize);

impl Sink for Size {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Writes.
pub(crate) struct Out<'a, B>(pub(crate) &'a mut B);

impl<B: ByteBufMut> Sink for Out<'_, B> {
    fn put(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A message of an internal topic: fields behind a version of their own.
pub trait Versioned: Sized {
    const VERSION_MIN: i16;
    const VERSION_MAX: i16;

    fn write_fields<S: Sink>(&self, out: &mut S, version: i16) -> Result<(), WireError>;

    fn read_fields<B: ByteBuf>(buf: &mut B, version: i16) -> Result<Self, WireError>;

    /// `number`, which is the record type of a key or the version of a value, and the fields behind it.
    fn encode_behind(&self, number: i16, version: i16) -> Result<Bytes, WireError> {
        if !(Self::VERSION_MIN..=Self::VERSION_MAX).contains(&version) {
            return Err(WireError::UnsupportedVersion(version));
        }
        let mut bytes = BytesMut::new();
        let mut out = Out(&mut bytes);
        out.put(&number.to_be_bytes());
        self.write_fields(&mut out, version)?;
        Ok(bytes.freeze())
    }

    /// The value: its version, then its fields. Bytes behind them are ignored, as Kafka ignores them.
    fn decode_value(mut bytes: &[u8]) -> Result<Self, WireError> {
        let version = get_i16(&mut bytes)?;
        if !(Self::VERSION_MIN..=Self::VERSION_MAX).contains(&version) {
            return Err(WireError::UnsupportedVersion(version));
        }
        Self::read_fields(&mut bytes, version)
    }
}

pub(crate) fn check_version<M: Message>(version: i16) -> Result<(), WireError> {
    if (M::VERSIONS.min..=M::VERSIONS.max).contains(&version) {
        Ok(())
    } else {
        Err(WireError::UnsupportedVersion(version))
    }
}

pub(crate) fn check_null(wrong: bool, field: &'static str) -> Result<(), WireError> {
    if wrong { Err(WireError::NullField(field)) } else { Ok(()) }
}

pub(crate) fn put_uvarint<S: Sink>(out: &mut S, mut value: u32) {
    let mut bytes = [0; 5];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = (value & 0x7f) as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    out.put(&bytes[..=length]);
}

pub(crate) fn put_string<S: Sink>(out: &mut S, flexible: bool, text: Option<&str>) -> Result<(), WireError> {
    if flexible {
        return put_bytes(out, true, text.map(str::as_bytes));
    }
    let length = text.map_or(Ok(-1), |text| i16::try_from(text.len())).map_err(|_| WireError::TooLong)?;
    out.put(&length.to_be_bytes());
    out.put(text.unwrap_or_default().as_bytes());
    Ok(())
}

pub(crate) fn put_bytes<S: Sink>(out: &mut S, flexible: bool, bytes: Option<&[u8]>) -> Result<(), WireError> {
    put_count(out, flexible, bytes.map(<[u8]>::len))?;
    out.put(bytes.unwrap_or_default());
    Ok(())
}

pub(crate) fn put_count<S: Sink>(out: &mut S, flexible: bool, count: Option<usize>) -> Result<(), WireError> {
    let count = count.map_or(Ok(-1), i32::try_from).map_err(|_| WireError::TooLong)?;
    if flexible {
        put_uvarint(out, count.cast_unsigned().wrapping_add(1));
    } else {
        out.put(&count.to_be_bytes());
    }
    Ok(())
}

/// Writes a tagged field: number, size, and what `write` puts.
pub(crate) fn put_tagged<S: Sink>(
    out: &mut S,
    tag: u32,
    write: impl Fn(&mut Vec<u8>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut field = Vec::new();
    write(&mut field)?;
    put_uvarint(out, tag);
    put_uvarint(out, u32::try_from(field.len()).map_err(|_| WireError::TooLong)?);
    out.put(&field);
    Ok(())
}

pub(crate) fn put_unknown<S: Sink>(out: &mut S, fields: &BTreeMap<i32, Bytes>) {
    for (tag, field) in fields {
        put_uvarint(out, tag.cast_unsigned());
        put_uvarint(out, field.len() as u32);
        out.put(field);
    }
}

macro_rules! numbers {
    ($($name:ident $type:ty = $get:ident;)*) => {
        $(
            pub(crate) fn $name<B: Buf>(buf: &mut B) -> Result<$type, WireError> {
                buf.$get().map_err(|_| WireError::TooShort)
            }
        )*
    };
}

numbers! {
    get_i8 i8 = try_get_i8;
    get_i16 i16 = try_get_i16;
    get_u16 u16 = try_get_u16;
    get_i32 i32 = try_get_i32;
    get_i64 i64 = try_get_i64;
}

pub(crate) fn get_uuid<B: Buf>(buf: &mut B) -> Result<Uuid, WireError> {
    buf.try_get_u128().map(Uuid::from_u128).map_err(|_| WireError::TooShort)
}

pub(crate) fn get_uvarint<B: Buf>(buf: &mut B) -> Result<u32, WireError> {
    let mut value = 0_u32;
    for group in 0..5 {
        let byte = buf.try_get_u8().map_err(|_| WireError::TooShort)?;
        if group == 4 && byte > 0x0f {
            break;
        }
        value |= u32::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::VarintTooLong)
}

pub(crate) fn not_null<T>(value: Option<T>) -> Result<T, WireError> {
    value.ok_or(WireError::Null)
}

pub(crate) fn get_string<B: ByteBuf>(buf: &mut B, flexible: bool) -> Result<Option<StrBytes>, WireError> {
    let bytes = if flexible {
        get_bytes(buf, true)?
    } else {
        match get_i16(buf)? {
            ..0 => None,
            length => Some(take(buf, length.unsigned_abs().into())?),
        }
    };
    bytes.map(|bytes| StrBytes::from_utf8(bytes).map_err(|_| WireError::NotUtf8)).transpose()
}

pub(crate) fn get_bytes<B: ByteBuf>(buf: &mut B, flexible: bool) -> Result<Option<Bytes>, WireError> {
    get_count(buf, flexible)?.map(|length| take(buf, length)).transpose()
}

/// A length or count; never more than the bytes that are left, since every element takes at least one.
fn get_count<B: ByteBuf>(buf: &mut B, flexible: bool) -> Result<Option<usize>, WireError> {
    let count = if flexible {
        get_uvarint(buf)?.checked_sub(1).map(|count| count as usize)
    } else {
        usize::try_from(get_i32(buf)?).ok()
    };
    match count {
        Some(count) if count > buf.remaining() => Err(WireError::CountTooLarge),
        count => Ok(count),
    }
}

pub(crate) fn get_array<B: ByteBuf, T>(
    buf: &mut B,
    flexible: bool,
    mut element: impl FnMut(&mut B) -> Result<T, WireError>,
) -> Result<Option<Vec<T>>, WireError> {
    let Some(count) = get_count(buf, flexible)? else { return Ok(None) };
    let mut array = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        array.push(element(buf)?);
    }
    Ok(Some(array))
}

/// Reads the tagged fields; `field` gets each one's number and bytes and must use all of them.
pub(crate) fn get_tagged<B: ByteBuf>(
    buf: &mut B,
    mut field: impl FnMut(u32, &mut Bytes) -> Result<(), WireError>,
) -> Result<(), WireError> {
    for _ in 0..get_uvarint(buf)? {
        let tag = get_uvarint(buf)?;
        let size = get_uvarint(buf)?;
        let mut bytes = take(buf, size as usize)?;
        field(tag, &mut bytes)?;
        if !bytes.is_empty() {
            return Err(WireError::TagSize);
        }
    }
    Ok(())
}

fn take<B: ByteBuf>(buf: &mut B, length: usize) -> Result<Bytes, WireError> {
    buf.try_get_bytes(length).map_err(|_| WireError::TooShort)
}
