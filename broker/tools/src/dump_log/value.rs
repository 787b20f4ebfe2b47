//! Values of records, read by their tables and printed as Kafka's JSON converters print them.

use std::fmt::Write as _;

use ottla_protocol::buf::{Cursor, ReadError};

use super::schema::{Field, Kind, Message, covers};
use crate::table::java_double;

/// Structs in structs; the tables have four levels.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Uuid(u128),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    /// The fields that are printed, with their names.
    Struct(Vec<(String, Value)>),
}

/// Why bytes are no message, as Kafka's generated code says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl From<ReadError> for Unreadable {
    fn from(error: ReadError) -> Self {
        match error {
            // The exception of Java's buffers has no words.
            ReadError::TooShort => Self("null".to_owned()),
            other => Self(other.to_string()),
        }
    }
}

/// Reads a message. What follows it is left in the cursor.
pub fn read(message: &Message, cursor: &mut Cursor<'_>, version: i16) -> Result<Value, Unreadable> {
    let flexible = covers(message.flexible, version);
    read_struct(&message.fields, cursor, version, flexible)
}

fn read_struct(fields: &[Field], cursor: &mut Cursor<'_>, version: i16, flexible: bool) -> Result<Value, Unreadable> {
    let mut values: Vec<Option<Value>> = Vec::with_capacity(fields.len());
    let tagged = |field: &Field| field.tag.filter(|(_, versions)| flexible && covers(*versions, version));
    for field in fields {
        let is_here = covers(field.versions, version) && tagged(field).is_none();
        values.push(match is_here {
            true => Some(read_value(field, &field.kind, cursor, version, flexible)?),
            false => None,
        });
    }
    if flexible {
        for _ in 0..cursor.uvarint()? {
            let (tag, size) = (cursor.uvarint()?, length(cursor.uvarint()?));
            let mut bytes = Cursor::new(cursor.take(size)?);
            let found = fields.iter().position(|field| tagged(field).is_some_and(|(number, _)| number == tag));
            if let Some(index) = found {
                let field = &fields[index];
                // Nothing at all is an empty struct, so null is said; in front of tagged ones stands another mark than elsewhere.
                if let Kind::Struct(inner) = &field.kind
                    && covers(field.nullable, version)
                {
                    let is_null = bytes.uvarint()? == 0;
                    let value = if is_null { Value::Null } else { read_struct(inner, &mut bytes, version, flexible)? };
                    values[index] = Some(value);
                    continue;
                }
                let value = read_value(field, &field.kind, &mut bytes, version, flexible)?;
                values[index] = Some(value).filter(|value| !is_default(value, field.default));
            }
        }
    }
    let named = fields.iter().zip(values).filter_map(|(field, value)| Some((field.name.clone(), value?)));
    Ok(Value::Struct(named.collect()))
}

fn is_default(value: &Value, default: Option<&str>) -> bool {
    match (value, default) {
        (Value::Null, default) => default == Some("null"),
        (Value::Bool(value), default) => *value == (default == Some("true")),
        (Value::Int(value), default) => default.map_or(*value == 0, |default| value.to_string() == default),
        (Value::Uuid(value), None) => *value == 0,
        (Value::Text(value), None) => value.is_empty(),
        (Value::Array(values), None) => values.is_empty(),
        _ => false,
    }
}

/// `kind` is that of the field, or that of its elements.
fn read_value(
    field: &Field,
    kind: &Kind,
    cursor: &mut Cursor<'_>,
    version: i16,
    flexible: bool,
) -> Result<Value, Unreadable> {
    let nullable = covers(field.nullable, version);
    // How long what follows is; `None` is null.
    let counted = |cursor: &mut Cursor<'_>, is_string: bool| -> Result<Option<usize>, Unreadable> {
        let count = match (flexible, is_string) {
            (true, _) => i64::from(cursor.uvarint()?) - 1,
            (false, true) => i64::from(cursor.i16()?),
            (false, false) => i64::from(cursor.i32()?),
        };
        match usize::try_from(count) {
            Ok(count) => Ok(Some(count)),
            Err(_) if nullable => Ok(None),
            Err(_) => Err(Unreadable(format!("non-nullable field {} was serialized as null", field.name))),
        }
    };
    let bytes = |cursor: &mut Cursor<'_>, is_string: bool| -> Result<Option<Vec<u8>>, Unreadable> {
        let Some(size) = counted(cursor, is_string)? else { return Ok(None) };
        let rest = cursor.remaining();
        let short = || Unreadable(format!("Error reading byte array of {size} byte(s): only {rest} byte(s) available"));
        Ok(Some(cursor.take(size).map_err(|_| short())?.to_vec()))
    };
    Ok(match kind {
        Kind::Bool => Value::Bool(cursor.i8()? != 0),
        Kind::Int8 => Value::Int(cursor.i8()?.into()),
        Kind::Int16 => Value::Int(cursor.i16()?.into()),
        Kind::Uint16 => Value::Int(cursor.u16()?.into()),
        Kind::Int32 => Value::Int(cursor.i32()?.into()),
        Kind::Int64 => Value::Int(cursor.i64()?),
        Kind::Float64 => Value::Float(cursor.f64()?),
        Kind::Uuid => Value::Uuid(cursor.u128()?),
        Kind::String => {
            bytes(cursor, true)?.map_or(Value::Null, |text| Value::Text(String::from_utf8_lossy(&text).into_owned()))
        }
        Kind::Bytes => bytes(cursor, false)?.map_or(Value::Null, Value::Bytes),
        Kind::Array(element) => match counted(cursor, false)? {
            // Every element takes a byte, so a count that cannot be right costs nothing.
            Some(count) if count > cursor.remaining() => {
                let rest = cursor.remaining();
                return Err(Unreadable(format!(
                    "Tried to allocate a collection of size {count}, but there are only {rest} bytes remaining."
                )));
            }
            Some(count) => {
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(read_value(field, element, cursor, version, flexible)?);
                }
                Value::Array(values)
            }
            None => Value::Null,
        },
        Kind::Struct(fields) => {
            // The elements of an array are never null, whatever the array may be.
            let is_element = !matches!(field.kind, Kind::Struct(_));
            if nullable && !is_element && cursor.i8()? < 0 {
                return Ok(Value::Null);
            }
            read_struct(fields, cursor, version, flexible)?
        }
    })
}

fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Value {
    /// A field of a struct.
    pub fn field(&self, name: &str) -> &Value {
        self.fields().iter().find(|(own, _)| own == name).map_or(&Value::Null, |(_, value)| value)
    }

    pub fn fields(&self) -> &[(String, Value)] {
        match self {
            Self::Struct(fields) => fields,
            _ => &[],
        }
    }

    pub fn elements(&self) -> &[Value] {
        match self {
            Self::Array(values) => values,
            _ => &[],
        }
    }

    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            _ => 0,
        }
    }

    /// Jackson's compact form.
    pub fn json(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => {
                let _ = write!(text, "{value}");
            }
            Self::Float(value) => text.push_str(&java_double(*value)),
            Self::Uuid(value) => write_text(&java_uuid(*value), text),
            Self::Text(value) => write_text(value, text),
            Self::Bytes(bytes) => write_text(&base64(bytes, STANDARD, true), text),
            Self::Array(values) => {
                text.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    value.write(text);
                }
                text.push(']');
            }
            Self::Struct(fields) => {
                text.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    write_text(name, text);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

fn write_text(value: &str, text: &mut String) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(text, "\\u{:04X}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 22 letters, as Kafka prints ids.
pub fn java_uuid(id: u128) -> String {
    base64(&id.to_be_bytes(), URL_SAFE, false)
}

fn base64(bytes: &[u8], letters: &[u8; 64], is_padded: bool) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let group = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..=chunk.len() {
            let index = usize::try_from(group >> (18 - 6 * place) & 63).unwrap_or(0);
            text.push(char::from(letters[index]));
        }
        if is_padded {
            text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::schema::parse;
    use super::*;

    const TABLE: &str = "value 1 Sample 0-1 flex=1+\n  text string 0+ null=0+\n  parts []Part 0+\n    id uuid 0+\n    raw bytes 0+\n  \
                         later int32 1+\n  extra int64 1+ tag=5:1+ default=-1\n";

    fn json(bytes: &[u8], version: i16) -> Result<String, Unreadable> {
        let messages = parse(TABLE);
        let mut cursor = Cursor::new(bytes);
        let value = read(&messages[0], &mut cursor, version)?;
        assert!(cursor.is_empty());
        Ok(value.json())
    }

    #[test]
    fn old_and_flexible_versions() {
        let old = [&[0, 2, b'a', b'"', 0, 0, 0, 1][..], &[0; 16], &[0, 0, 0, 2, 1, 2]].concat();
        assert_eq!(json(&old, 0).unwrap(), r#"{"text":"a\"","parts":[{"id":"AAAAAAAAAAAAAAAAAAAAAA","raw":"AQI="}]}"#);
        let flexible = [&[0, 2][..], &[0xff; 16], &[2, 7, 0, 0, 0, 0, 9, 1, 5, 8, 0, 0, 0, 0, 0, 0, 0, 3]].concat();
        assert_eq!(
            json(&flexible, 1).unwrap(),
            r#"{"text":null,"parts":[{"id":"_____________________w","raw":"Bw=="}],"later":9,"extra":3}"#
        );
    }

    #[test]
    fn defaults_and_unknown_tags_are_not_printed() {
        let default = [0, 1, 0, 0, 0, 9, 2, 5, 8, 255, 255, 255, 255, 255, 255, 255, 255, 77, 1, 0];
        assert_eq!(json(&default, 1).unwrap(), r#"{"text":null,"parts":[],"later":9}"#);
    }

    #[test]
    fn what_ends_too_early_or_counts_too_much_is_an_error() {
        let error = |bytes: &[u8]| json(bytes, 0).unwrap_err().0;
        assert_eq!(error(&[0, 5, b'a']), "Error reading byte array of 5 byte(s): only 1 byte(s) available");
        assert_eq!(error(&[0]), "null");
        assert!(
            error(&[255, 255, 127, 255, 255, 255]).starts_with("Tried to allocate a collection of size 2147483647")
        );
        assert_eq!(error(&[255, 255, 255, 255, 255, 255]), "non-nullable field parts was serialized as null");
    }
}
