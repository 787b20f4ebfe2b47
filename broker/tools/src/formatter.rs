//! How the console consumer prints a record (Kafka's `DefaultMessageFormatter`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write};

use super::Failure;
use super::deserializer::Deserializer;
use super::fetcher::Fetched;

/// `print.key=true` and its kin, with Kafka's defaults.
#[derive(Debug)]
pub struct Formatter {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: String,
    line_separator: String,
    headers_separator: String,
    null_literal: String,
    key_deserializer: Option<Deserializer>,
    value_deserializer: Option<Deserializer>,
    headers_deserializer: Option<Deserializer>,
}

/// Why a record was not printed.
#[derive(Debug)]
pub enum Unwritten {
    /// Nobody reads any longer.
    Closed,
    /// Its bytes are not what its deserializer takes.
    Unreadable(Failure),
}

impl From<io::Error> for Unwritten {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl Formatter {
    pub fn new(properties: &HashMap<String, String>) -> Result<Self, Failure> {
        let is_on = |name: &str, default: bool| {
            properties.get(name).map_or(default, |text| text.trim().eq_ignore_ascii_case("true"))
        };
        let text = |name: &str, default: &str| properties.get(name).map_or_else(|| default.to_owned(), Clone::clone);
        let deserializer = |name: &str| {
            let class = properties.get(name).map(|class| class.trim()).filter(|class| !class.is_empty());
            class.map(Deserializer::of_class).transpose()
        };
        Ok(Self {
            timestamp: is_on("print.timestamp", false),
            partition: is_on("print.partition", false),
            offset: is_on("print.offset", false),
            delivery: is_on("print.delivery", false),
            epoch: is_on("print.epoch", false),
            headers: is_on("print.headers", false),
            key: is_on("print.key", false),
            value: is_on("print.value", true),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null_literal: text("null.literal", "null"),
            key_deserializer: deserializer("key.deserializer")?,
            value_deserializer: deserializer("value.deserializer")?,
            headers_deserializer: deserializer("headers.deserializer")?,
        })
    }

    /// One record; columns that are asked for stand in Kafka's order.
    pub fn write(&self, record: &Fetched, out: &mut dyn Write) -> Result<(), Unwritten> {
        let mut columns: Vec<Vec<u8>> = Vec::new();
        if self.timestamp {
            let kind = if record.is_log_append_time { "LogAppendTime" } else { "CreateTime" };
            columns.push(format!("{kind}:{}", record.timestamp).into_bytes());
        }
        if self.partition {
            columns.push(format!("Partition:{}", record.partition).into_bytes());
        }
        if self.offset {
            columns.push(format!("Offset:{}", record.offset).into_bytes());
        }
        if self.delivery {
            columns.push(b"Delivery:NOT_PRESENT".to_vec());
        }
        if self.epoch {
            // Kafka's tool builds the record anew for printing and leaves the epoch behind.
            columns.push(b"Epoch:NOT_PRESENT".to_vec());
        }
        if self.headers {
            columns.push(self.headers(record)?);
        }
        if self.key {
            columns.push(self.read(self.key_deserializer, record.key.as_deref())?.into_owned());
        }
        if self.value {
            columns.push(self.read(self.value_deserializer, record.value.as_deref())?.into_owned());
        }
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.write_all(self.key_separator.as_bytes())?;
            }
            out.write_all(column)?;
        }
        if !columns.is_empty() {
            out.write_all(self.line_separator.as_bytes())?;
        }
        Ok(())
    }

    /// What is null goes through the deserializer as the text that stands for it: so does Kafka's tool.
    fn read<'r>(
        &'r self,
        deserializer: Option<Deserializer>,
        bytes: Option<&'r [u8]>,
    ) -> Result<Cow<'r, [u8]>, Unwritten> {
        let bytes = bytes.unwrap_or(self.null_literal.as_bytes());
        match deserializer {
            Some(deserializer) => deserializer.read(bytes).map_err(Unwritten::Unreadable),
            None => Ok(bytes.into()),
        }
    }

    fn headers(&self, record: &Fetched) -> Result<Vec<u8>, Unwritten> {
        if record.headers.is_empty() {
            return Ok(b"NO_HEADERS".to_vec());
        }
        let mut text = Vec::new();
        for (index, (key, value)) in record.headers.iter().enumerate() {
            if index > 0 {
                text.extend_from_slice(self.headers_separator.as_bytes());
            }
            text.extend_from_slice(key.as_bytes());
            text.push(b':');
            text.extend_from_slice(&self.read(self.headers_deserializer, value.as_deref())?);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ottla_protocol::Timestamp;

    fn printed(properties: &[(&str, &str)]) -> String {
        let record = Fetched {
            topic: "t".into(),
            partition: 1,
            offset: 5,
            leader_epoch: 0,
            is_log_append_time: false,
            timestamp: Timestamp(123),
            key: None,
            value: Some(b"v".to_vec()),
            headers: vec![("h".into(), Some(b"x".to_vec())), ("h".into(), None)],
        };
        let properties = properties.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let mut out = Vec::new();
        Formatter::new(&properties).unwrap().write(&record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_in_kafkas_order() {
        assert_eq!(printed(&[]), "v\n");
        let all = [
            ("print.key", "true"),
            ("print.timestamp", "true"),
            ("print.offset", "true"),
            ("print.partition", "true"),
            ("print.headers", "true"),
        ];
        assert_eq!(printed(&all), "CreateTime:123\tPartition:1\tOffset:5\th:x,h:null\tnull\tv\n");
        let class = "org.apache.kafka.common.serialization.StringDeserializer";
        assert_eq!(printed(&[("value.deserializer", class)]), "v\n");
        assert_eq!(printed(&[("print.value", "false"), ("print.key", "true"), ("null.literal", "-")]), "-\n");
    }
}
