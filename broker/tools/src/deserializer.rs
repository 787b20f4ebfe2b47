//! Kafka's own deserializers, as far as a console needs them: bytes become the text that Java prints of the value.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Failure;
use super::table::java_double;

/// Where Kafka keeps them; a name of anything else is a class of somebody's own.
const PACKAGE: &str = "org.apache.kafka.common.serialization.";

/// How the bytes of a key, a value or a header are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deserializer {
    String,
    Short,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Uuid,
    Bytes,
}

impl Deserializer {
    /// By the name of its class.
    pub fn of_class(name: &str) -> Result<Self, Failure> {
        match name.strip_prefix(PACKAGE).and_then(|name| name.strip_suffix("Deserializer")) {
            Some("String") => Ok(Self::String),
            Some("Short") => Ok(Self::Short),
            Some("Integer") => Ok(Self::Integer),
            Some("Long") => Ok(Self::Long),
            Some("Float") => Ok(Self::Float),
            Some("Double") => Ok(Self::Double),
            Some("Boolean") => Ok(Self::Boolean),
            Some("UUID") => Ok(Self::Uuid),
            Some("Bytes") => Ok(Self::Bytes),
            _ => Err(Failure::failed(format!(
                "{name} is not built in: Java classes cannot be loaded, only Kafka's own deserializers of simple types are known"
            ))),
        }
    }

    /// The text of the value.
    pub fn read<'b>(self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Failure> {
        let text = match self {
            Self::String => return Ok(String::from_utf8_lossy(bytes).into_owned().into_bytes().into()),
            Self::Short => i16::from_be_bytes(sized(bytes, "ShortDeserializer")?).to_string(),
            Self::Integer => i32::from_be_bytes(sized(bytes, "IntegerDeserializer")?).to_string(),
            Self::Long => i64::from_be_bytes(sized(bytes, "LongDeserializer")?).to_string(),
            Self::Float => java_float(f32::from_be_bytes(sized(bytes, "Deserializer")?)),
            Self::Double => java_double(f64::from_be_bytes(sized(bytes, "Deserializer")?)),
            Self::Boolean => match sized(bytes, "BooleanDeserializer")? {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                _ => return Err(serialization("Unexpected byte received by BooleanDeserializer: ".to_owned())),
            },
            Self::Uuid => {
                let text = String::from_utf8_lossy(bytes);
                let wrong = |_| serialization("Error parsing data into UUID".to_owned());
                text.parse::<uuid::Uuid>().map_err(wrong)?.to_string()
            }
            Self::Bytes => escaped(bytes),
        };
        Ok(text.into_bytes().into())
    }
}

fn sized<const N: usize>(bytes: &[u8], class: &str) -> Result<[u8; N], Failure> {
    bytes.try_into().map_err(|_| serialization(format!("Size of data received by {class} is not {N}")))
}

fn serialization(text: String) -> Failure {
    Failure::failed(format!("org.apache.kafka.common.errors.SerializationException: {text}"))
}

/// A `float` has fewer digits than the `double` of the same value.
fn java_float(value: f32) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    value.to_string().parse().map_or_else(|_| value.to_string(), java_double)
}

/// As Kafka's `Bytes` prints itself: what is not ASCII text stands as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if (b' '..=b'~').contains(&byte) && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(class: &str, bytes: &[u8]) -> Result<String, Failure> {
        let read = Deserializer::of_class(&format!("{PACKAGE}{class}Deserializer"))?.read(bytes)?.into_owned();
        Ok(String::from_utf8(read).unwrap())
    }

    #[test]
    fn values_are_printed_as_java_prints_them() {
        assert_eq!(read("Long", &7_i64.to_be_bytes()).unwrap(), "7");
        assert_eq!(read("Integer", &(-1_i32).to_be_bytes()).unwrap(), "-1");
        assert_eq!(read("Short", &300_i16.to_be_bytes()).unwrap(), "300");
        assert_eq!(read("Double", &1e7_f64.to_be_bytes()).unwrap(), "1.0E7");
        assert_eq!(read("Float", &0.1_f32.to_be_bytes()).unwrap(), "0.1");
        assert_eq!(read("Boolean", &[1]).unwrap(), "true");
        assert_eq!(read("String", b"text").unwrap(), "text");
        assert_eq!(read("Bytes", b"a\x00\\").unwrap(), "a\\x00\\x5C");
        let uuid = "c2a2f2c6-0e0a-4f6e-9d8b-3f3f3f3f3f3f";
        assert_eq!(read("UUID", uuid.as_bytes()).unwrap(), uuid);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_kafkas_words() {
        let refusal = read("Long", b"seven").unwrap_err().message;
        assert_eq!(
            refusal,
            "org.apache.kafka.common.errors.SerializationException: Size of data received by LongDeserializer is not 8"
        );
        assert!(Deserializer::of_class("com.example.Mine").is_err());
    }
}
