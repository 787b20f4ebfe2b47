//! The guard in front of the decoder: walks a body along its schema and allocates nothing.
//!
//! The decoder reserves memory for as many elements as an array claims before it reads the first of them, so nine
//! bytes can ask for a terabyte. Here every count and length is compared with the bytes that remain, element by
//! element, and every tagged field must fill its size; a body that passes holds all that it claims.
//!
//! A decoded element takes up to a hundred times its bytes, so a request that is nothing but tiny elements is bounded by their
//! number (`ELEMENTS_MAX`); how long it may be is the business of `socket.request.max.bytes` alone.

#[rustfmt::skip]
mod tables;

#[cfg(test)]
mod tests;

use crate::buf::{Cursor, ReadError};

/// Strings, structs and tagged fields of one request, in arrays at any depth: far above what a client has to say (200,000
/// partitions in one commit), far below what would take gigabytes to hold. Of arrays of numbers eight count as one.
pub const ELEMENTS_MAX: usize = 2 << 20;
/// Numbers of an array that count as one element.
const NUMBERS_PER_ELEMENT: usize = 8;

/// The shape of one message in all its versions.
struct Schema {
    key: i16,
    min: i16,
    max: i16,
    /// The first version with varint lengths and tagged fields.
    flexible: i16,
    fields: &'static [Field],
}

struct Field {
    kind: Kind,
    min: i16,
    max: i16,
    null_min: i16,
    null_max: i16,
    /// A tagged field from version `tag_min` on; -1 is none.
    tag: i32,
    tag_min: i16,
}

enum Kind {
    /// This many bytes.
    Fixed(usize),
    String,
    Bytes,
    Array(&'static Kind),
    Struct(&'static [Field]),
}

const fn schema(key: i16, min: i16, max: i16, flexible: i16, fields: &'static [Field]) -> Schema {
    Schema { key, min, max, flexible, fields }
}

const fn field(kind: Kind, min: i16, max: i16) -> Field {
    Field { kind, min, max, null_min: 1, null_max: 0, tag: -1, tag_min: 0 }
}

impl Field {
    const fn nullable(mut self, min: i16, max: i16) -> Self {
        self.null_min = min;
        self.null_max = max;
        self
    }

    const fn tagged(mut self, tag: i32, min: i16) -> Self {
        self.tag = tag;
        self.tag_min = min;
        self
    }

    const fn is_tagged(&self, version: i16) -> bool {
        self.tag >= 0 && version >= self.tag_min
    }
}

/// Why a body does not fit its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("an array claims more elements than bytes remain")]
    CountTooLarge,
    #[error("more than {ELEMENTS_MAX} elements in one request")]
    TooManyElements,
    #[error("null where null is not allowed")]
    Null,
    #[error("a tagged field does not fill its size")]
    TagSize,
    #[error("no such message")]
    UnknownMessage,
}

/// What a body that fits its schema is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes behind the body.
    pub behind: usize,
    /// Elements that it will be decoded into, as [`ELEMENTS_MAX`] counts them.
    pub elements: usize,
}

/// Checks the body of a request (without its header).
pub fn check_request(api_key: i16, version: i16, body: &[u8]) -> Result<Extent, WalkError> {
    check(tables::REQUESTS, api_key, version, body, ELEMENTS_MAX)
}

/// Checks the body of an answer (without its header).
pub fn check_response(api_key: i16, version: i16, body: &[u8]) -> Result<Extent, WalkError> {
    check(tables::RESPONSES, api_key, version, body, usize::MAX)
}

fn check(
    schemas: &[Schema],
    api_key: i16,
    version: i16,
    body: &[u8],
    elements_max: usize,
) -> Result<Extent, WalkError> {
    let schema = find(schemas, api_key, version).ok_or(WalkError::UnknownMessage)?;
    let mut walk =
        Walk { version, flexible: version >= schema.flexible, cursor: Cursor::new(body), left: elements_max };
    walk.fields(schema.fields)?;
    Ok(Extent { behind: walk.cursor.remaining(), elements: elements_max - walk.left })
}

fn find(schemas: &[Schema], api_key: i16, version: i16) -> Option<&Schema> {
    let index = schemas.binary_search_by_key(&api_key, |schema| schema.key).ok()?;
    Some(&schemas[index]).filter(|schema| (schema.min..=schema.max).contains(&version))
}

struct Walk<'a> {
    version: i16,
    flexible: bool,
    cursor: Cursor<'a>,
    /// Elements that may still come.
    left: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), WalkError> {
        for field in fields {
            if (field.min..=field.max).contains(&self.version) && !field.is_tagged(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible { self.tagged(fields) } else { Ok(()) }
    }

    fn tagged(&mut self, fields: &[Field]) -> Result<(), WalkError> {
        for _ in 0..self.cursor.uvarint()? {
            self.left = self.left.checked_sub(1).ok_or(WalkError::TooManyElements)?;
            let tag = self.cursor.uvarint()?;
            let size = self.cursor.uvarint()?;
            let value = self.cursor.take(size as usize)?;
            let known = fields.iter().find(|field| {
                field.is_tagged(self.version) && field.tag.cast_unsigned() == tag && self.version <= field.max
            });
            if let Some(field) = known {
                let cursor = Cursor::new(value);
                let mut inner = Walk { version: self.version, flexible: self.flexible, cursor, left: self.left };
                inner.field(field)?;
                self.left = inner.left;
                if !inner.cursor.is_empty() {
                    return Err(WalkError::TagSize);
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field) -> Result<(), WalkError> {
        let nullable = (field.null_min..=field.null_max).contains(&self.version);
        if nullable && let Kind::Struct(_) = field.kind {
            // One byte says whether the struct is there.
            if self.cursor.i8()? < 0 {
                return Ok(());
            }
        }
        self.kind(&field.kind, nullable)
    }

    fn kind(&mut self, kind: &Kind, nullable: bool) -> Result<(), WalkError> {
        match kind {
            Kind::Fixed(size) => self.cursor.take(*size).map(drop)?,
            Kind::Struct(fields) => self.fields(fields)?,
            Kind::String => {
                let text = if self.flexible { self.cursor.compact_bytes()? } else { self.short_bytes()? };
                if text.is_none() && !nullable {
                    return Err(WalkError::Null);
                }
            }
            Kind::Bytes => {
                let bytes = if self.flexible { self.cursor.compact_bytes()? } else { self.cursor.bytes()? };
                if bytes.is_none() && !nullable {
                    return Err(WalkError::Null);
                }
            }
            Kind::Array(element) => self.array(element, nullable)?,
        }
        Ok(())
    }

    fn short_bytes(&mut self) -> Result<Option<&[u8]>, WalkError> {
        match self.cursor.i16()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| ReadError::NegativeLength)?;
                Ok(Some(self.cursor.take(length)?))
            }
        }
    }

    fn array(&mut self, element: &Kind, nullable: bool) -> Result<(), WalkError> {
        let count = if self.flexible {
            self.cursor.uvarint()?.checked_sub(1)
        } else {
            match self.cursor.i32()? {
                -1 => None,
                count => Some(u32::try_from(count).map_err(|_| ReadError::NegativeLength)?),
            }
        };
        let Some(count) = count else {
            return if nullable { Ok(()) } else { Err(WalkError::Null) };
        };
        let count = count as usize;
        if count > self.cursor.remaining() {
            return Err(WalkError::CountTooLarge);
        }
        if let Kind::Fixed(size) = element {
            self.cursor.take(count.saturating_mul(*size))?;
            // Answers have a row for each number: so many of them weigh as much as one element that is decoded.
            self.left = self.left.checked_sub(count / NUMBERS_PER_ELEMENT).ok_or(WalkError::TooManyElements)?;
            return Ok(());
        }
        self.left = self.left.checked_sub(count).ok_or(WalkError::TooManyElements)?;
        for _ in 0..count {
            self.kind(element, false)?;
        }
        Ok(())
    }
}
