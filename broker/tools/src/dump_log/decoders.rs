//! What the records of internal topics and of the metadata log say (`--offsets-decoder` and its kin).

use std::collections::HashMap;

use ottla_protocol::buf::Cursor;

use super::remote;
use super::schema::{Message, covers, parse};
use super::value::{Value, read};
use crate::Failure;
use crate::options::Options;

const GROUP: &str = include_str!("../../../../protocol/codegen/schemas/group.txt");
const TRANSACTION: &str = include_str!("../../../../protocol/codegen/schemas/transaction.txt");
const SHARE: &str = include_str!("../../../../protocol/codegen/schemas/share.txt");
const METADATA: &str = include_str!("tables/metadata.txt");
const REMOTE: &str = include_str!("tables/remote.txt");
const CONSUMER: &str = include_str!("tables/consumer.txt");
const QUORUM: &str = include_str!("tables/quorum.txt");

#[cfg(test)]
pub const TABLES: [&str; 7] = [GROUP, TRANSACTION, SHARE, METADATA, REMOTE, CONSUMER, QUORUM];

/// The type of a key's record that holds a classic group.
const GROUP_METADATA: i16 = 2;
const FRAME_VERSION: u32 = 1;

/// How keys and values are printed.
pub enum Decoder {
    /// Java's decoders of simple types.
    Plain { key: Simple, value: Simple },
    /// A coordinator's records: key and value each begin with an `i16`.
    Coordinator { keys: HashMap<i16, Message>, values: HashMap<i16, Message>, consumer: Vec<Message> },
    /// Records in frames, without keys.
    Framed { records: HashMap<i16, Message>, is_remote: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simple {
    Text,
    Integer,
    Long,
}

/// What is printed of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    pub key: Option<String>,
    pub payload: Option<String>,
}

impl Decoder {
    /// The first of the decoders that the options name, in Kafka's order.
    pub fn of(options: &Options) -> Result<Self, Failure> {
        let coordinator = |table, with_consumer: bool| {
            let (keys, values): (Vec<_>, Vec<_>) = parse(table).into_iter().partition(|message| message.part == "key");
            let consumer = if with_consumer { parse(CONSUMER) } else { Vec::new() };
            Self::Coordinator { keys: by_number(keys), values: by_number(values), consumer }
        };
        Ok(if options.has("offsets-decoder") {
            coordinator(GROUP, true)
        } else if options.has("transaction-log-decoder") {
            coordinator(TRANSACTION, false)
        } else if options.has("cluster-metadata-decoder") {
            Self::Framed { records: by_number(parse(METADATA)), is_remote: false }
        } else if options.has("remote-log-metadata-decoder") {
            Self::Framed { records: by_number(parse(REMOTE)), is_remote: true }
        } else if options.has("share-group-state-decoder") {
            coordinator(SHARE, false)
        } else {
            let value = Simple::of(options.text("value-decoder-class").unwrap_or_default())?;
            Self::Plain { key: Simple::of(options.text("key-decoder-class").unwrap_or_default())?, value }
        })
    }

    /// # Errors
    /// Where Kafka's tool gives up, too.
    pub fn decode(&self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Decoded, Failure> {
        match self {
            Self::Plain { key: of_key, value: of_value } => Ok(Decoded {
                key: key.map(|key| of_key.read(key)).transpose()?,
                payload: value.map(|value| of_value.read(value)).transpose()?,
            }),
            Self::Coordinator { keys, values, consumer } => {
                let key = key.ok_or_else(|| {
                    Failure::failed(format!(
                        "Exception in thread \"main\" java.lang.RuntimeException: Failed to decode message at offset {offset} using the \
                         specified decoder (message had a missing key)"
                    ))
                })?;
                Ok(coordinator(offset, key, value, keys, values, consumer))
            }
            Self::Framed { records, is_remote } => {
                let read = framed(value.unwrap_or_default(), records);
                let payload = match (read, is_remote) {
                    (Ok((message, _, value)), true) => remote::text(message.number, &value),
                    (Ok((message, version, value)), false) => format!(
                        r#"{{"type":"{}","version":{version},"data":{}}}"#,
                        constant_case(message.name),
                        value.json()
                    ),
                    (Err(error), true) => format!("Error at offset {offset}, skipping. {error}"),
                    (Err(error), false) => format!("Error at {offset}, skipping. {error}"),
                };
                Ok(Decoded { key: None, payload: Some(payload) })
            }
        }
    }
}

fn by_number(messages: Vec<Message>) -> HashMap<i16, Message> {
    messages.into_iter().map(|message| (message.number, message)).collect()
}

impl Simple {
    /// By the name of the class; none is Kafka's default.
    fn of(class: &str) -> Result<Self, Failure> {
        match class.strip_prefix("org.apache.kafka.tools.api.").unwrap_or(class) {
            "" | "StringDecoder" | "DefaultDecoder" => Ok(Self::Text),
            "IntegerDecoder" => Ok(Self::Integer),
            "LongDecoder" => Ok(Self::Long),
            _ => Err(Failure::failed(
                "Exception in thread \"main\" java.lang.RuntimeException: Failed to load decoder class",
            )),
        }
    }

    fn read(self, bytes: &[u8]) -> Result<String, Failure> {
        let mut cursor = Cursor::new(bytes);
        let number = match self {
            Self::Text => return Ok(String::from_utf8_lossy(bytes).into_owned()),
            Self::Integer => cursor.i32().map(i64::from),
            Self::Long => cursor.i64(),
        };
        let short = "Exception in thread \"main\" java.nio.BufferUnderflowException";
        number.map(|number| number.to_string()).map_err(|_| Failure::failed(short))
    }
}

fn coordinator(
    offset: i64,
    key: &[u8],
    value: Option<&[u8]>,
    keys: &HashMap<i16, Message>,
    values: &HashMap<i16, Message>,
    consumer: &[Message],
) -> Decoded {
    let skipped =
        |error: String| Decoded { key: Some(format!("Error at offset {offset}, skipping. {error}")), payload: None };
    let mut bytes = Cursor::new(key);
    let Ok(number) = bytes.i16() else { return skipped("Could not read version from key's buffer.".to_owned()) };
    let (Some(of_key), Some(of_value)) = (keys.get(&number), values.get(&number)) else {
        return Decoded {
            key: Some(format!("Unknown record type {number} at offset {offset}, skipping.")),
            payload: None,
        };
    };
    let key = match read(of_key, &mut bytes, 0) {
        Ok(key) => key,
        Err(error) => return skipped(unreadable(0, "key", &error.0)),
    };
    let payload = match value {
        None => "<DELETE>".to_owned(),
        Some(value) => {
            let mut bytes = Cursor::new(value);
            let Ok(version) = bytes.i16() else {
                return skipped("Could not read version from value's buffer.".to_owned());
            };
            if version > of_value.versions.1 {
                let error = format!("Can't read version {version} of {}", of_value.name);
                return skipped(unreadable(version, "value", &error));
            }
            match read(of_value, &mut bytes, version) {
                Ok(mut value) => {
                    if number == GROUP_METADATA && !consumer.is_empty() {
                        open_members(&mut value, consumer);
                    }
                    format!(r#"{{"version":"{version}","data":{}}}"#, value.json())
                }
                Err(error) => return skipped(unreadable(version, "value", &error.0)),
            }
        }
    };
    Decoded { key: Some(format!(r#"{{"type":"{number}","data":{}}}"#, key.json())), payload: Some(payload) }
}

fn unreadable(version: i16, what: &str, error: &str) -> String {
    format!("Could not read record with version {version} from {what}'s buffer due to: {error}.")
}

/// In a classic group of consumers the members' subscriptions and assignments are read, too; what cannot be stays bytes.
fn open_members(group: &mut Value, consumer: &[Message]) {
    let [subscription, assignment] = consumer else { return };
    if *group.field("protocolType") != Value::Text("consumer".to_owned()) {
        return;
    }
    let Value::Struct(fields) = group else { return };
    let Some((_, Value::Array(members))) = fields.iter_mut().find(|(name, _)| name == "members") else { return };
    for member in members {
        let Value::Struct(fields) = member else { continue };
        for (name, value) in fields {
            let message = match name.as_str() {
                "subscription" => subscription,
                "assignment" => assignment,
                _ => continue,
            };
            let Value::Bytes(bytes) = &*value else { continue };
            let mut cursor = Cursor::new(bytes);
            let opened = cursor.i16().ok().filter(|version| covers(message.versions, *version));
            if let Some(opened) = opened.and_then(|version| read(message, &mut cursor, version).ok()) {
                *value = opened;
            }
        }
    }
}

/// A record behind the version of its frame, its type and its version.
fn framed<'m>(bytes: &[u8], records: &'m HashMap<i16, Message>) -> Result<(&'m Message, i16, Value), String> {
    let mut cursor = Cursor::new(bytes);
    let mut number = |what: &str| -> Result<u32, String> {
        let number = cursor.uvarint().map_err(|_| format!("Error while reading {what}"))?;
        if i16::try_from(number).is_err() { Err(format!("Value for {what} was too large.")) } else { Ok(number) }
    };
    match number("frame version")? {
        FRAME_VERSION => {}
        0 => {
            return Err(
                "Could not deserialize metadata record with frame version 0. Note that upgrades from the preview \
                        release of KRaft in 2.8 to newer versions are not supported."
                    .to_owned(),
            );
        }
        other => {
            return Err(format!(
                "Could not deserialize metadata record due to unknown frame version {other}(only frame version 1 is supported)"
            ));
        }
    }
    let short = |number: u32| i16::try_from(number).unwrap_or(i16::MAX);
    let (kind, version) = (short(number("type")?), short(number("version")?));
    let message = records.get(&kind).ok_or_else(|| {
        format!("org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id {kind}")
    })?;
    let failed = || format!("Failed to deserialize record with type {kind}");
    if !covers(message.versions, version) {
        return Err(failed());
    }
    let value = read(message, &mut cursor, version).map_err(|_| failed())?;
    match cursor.remaining() {
        0 => Ok((message, version, value)),
        rest => Err(format!("Found {rest} byte(s) of garbage after {kind}")),
    }
}

/// `NoOpRecord` is `NO_OP_RECORD`.
fn constant_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

/// What a control record of the metadata log says, as JSON; `None` where it cannot be read.
pub fn quorum_record(name: &str, value: &[u8]) -> Option<String> {
    let messages = parse(QUORUM);
    let message = messages.iter().find(|message| message.name == name)?;
    // Each begins with the version in which it is written.
    let version = Cursor::new(value).i16().ok()?;
    read(message, &mut Cursor::new(value), version.min(message.versions.1)).ok().map(|value| value.json())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn decoder(flags: &[&str]) -> Decoder {
        let words: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        Decoder::of(&Options::parse(super::super::SPECS, &words, false).unwrap()).unwrap()
    }

    #[test]
    fn an_offset_of_a_group() {
        let key = [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 2];
        let value = [&[0, 3][..], &[0, 0, 0, 0, 0, 0, 0, 7], &[255, 255, 255, 255], &[0, 0], &[0, 0, 0, 0, 0, 0, 0, 9]]
            .concat();
        let decoder = decoder(&["--offsets-decoder"]);
        let decoded = decoder.decode(0, Some(&key), Some(&value)).unwrap();
        assert_eq!(decoded.key.unwrap(), r#"{"type":"1","data":{"group":"g","topic":"t","partition":2}}"#);
        assert_eq!(
            decoded.payload.unwrap(),
            r#"{"version":"3","data":{"offset":7,"leaderEpoch":-1,"metadata":"","commitTimestamp":9}}"#
        );
        let deleted = decoder.decode(0, Some(&key), None).unwrap();
        assert_eq!(deleted.payload.unwrap(), "<DELETE>");
        let unknown = decoder.decode(5, Some(&[0, 99]), None).unwrap();
        assert_eq!(unknown.key.unwrap(), "Unknown record type 99 at offset 5, skipping.");
        assert!(decoder.decode(5, None, None).is_err());
    }

    #[test]
    fn records_of_the_metadata_log() {
        let decoder = decoder(&["--cluster-metadata-decoder"]);
        let payload = |bytes: &[u8]| decoder.decode(3, None, Some(bytes)).unwrap().payload.unwrap();
        assert_eq!(payload(&[1, 20, 0, 0]), r#"{"type":"NO_OP_RECORD","version":0,"data":{}}"#);
        assert_eq!(
            payload(&[1, 12, 0, 2, b'x', 0, 4, 0]),
            r#"{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"x","featureLevel":4}}"#
        );
        assert_eq!(payload(&[1, 20, 0, 0, 0]), "Error at 3, skipping. Found 1 byte(s) of garbage after 20");
        assert!(payload(&[1, 99, 0]).ends_with("Unknown metadata id 99"));
        assert!(payload(b"value").contains("unknown frame version 118"));
        assert!(payload(&[]).ends_with("Error while reading frame version"));
    }

    #[test]
    fn decoders_of_simple_types() {
        let plain = |class: &str| decoder(&["--print-data-log", "--value-decoder-class", class]);
        let integer = plain("org.apache.kafka.tools.api.IntegerDecoder");
        assert_eq!(integer.decode(0, None, Some(&[0, 0, 1, 0])).unwrap().payload.unwrap(), "256");
        assert!(integer.decode(0, None, Some(&[0])).is_err());
        let words = ["--value-decoder-class", "com.example.Own"].map(str::to_owned);
        assert!(Decoder::of(&Options::parse(super::super::SPECS, &words, false).unwrap()).is_err());
    }
}
