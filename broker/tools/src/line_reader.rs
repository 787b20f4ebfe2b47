//! How the console producer makes a record of a line.

use std::collections::HashMap;

use super::Failure;
use super::producer::{Headers, Record};

/// Kafka's reader properties: `parse.key`, `key.separator`, `parse.headers`, ... with their defaults.
#[derive(Debug)]
pub struct LineReader {
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    ignore_error: bool,
    null_marker: Option<String>,
    line_number: u64,
}

impl LineReader {
    pub fn new(properties: &HashMap<String, String>) -> Result<Self, Failure> {
        let is_true = |name: &str| properties.get(name).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
        let text = |name: &str, default: &str| properties.get(name).map_or_else(|| default.to_owned(), Clone::clone);
        let reader = Self {
            parse_key: is_true("parse.key"),
            key_separator: text("key.separator", "\t"),
            parse_headers: is_true("parse.headers"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: text("headers.separator", ","),
            headers_key_separator: text("headers.key.separator", ":"),
            ignore_error: is_true("ignore.error"),
            null_marker: properties.get("null.marker").cloned(),
            line_number: 0,
        };
        let distinct = |names: [&str; 2], values: [&str; 2]| {
            if values[0] == values[1] {
                Err(Failure::failed(format!("{} and {} may not be equal", names[0], names[1])))
            } else {
                Ok(())
            }
        };
        let (delimiter, separator, key) =
            (&*reader.headers_delimiter, &*reader.headers_separator, &*reader.headers_key_separator);
        distinct(["headers.delimiter", "headers.separator"], [delimiter, separator])?;
        distinct(["headers.delimiter", "headers.key.separator"], [delimiter, key])?;
        distinct(["headers.separator", "headers.key.separator"], [separator, key])?;
        if let Some(marker) = &reader.null_marker {
            distinct(["null.marker", "key.separator"], [marker, &reader.key_separator])?;
            distinct(["null.marker", "headers.separator"], [marker, separator])?;
            distinct(["null.marker", "headers.delimiter"], [marker, delimiter])?;
            distinct(["null.marker", "headers.key.separator"], [marker, key])?;
        }
        Ok(reader)
    }

    /// `headers<TAB>key<TAB>value`, as far as the properties ask for it.
    pub fn read(&mut self, line: &str) -> Result<Record, Failure> {
        self.line_number += 1;
        let (headers, rest) =
            self.part(self.parse_headers, line, line, &self.headers_delimiter, "headers delimiter")?;
        let (key, value) = self.part(self.parse_key, line, rest, &self.key_separator, "key separator")?;
        let bytes = |text: &str| (Some(text) != self.null_marker.as_deref()).then(|| text.as_bytes().to_vec());
        let headers = match headers.filter(|headers| Some(*headers) != self.null_marker.as_deref()) {
            Some(headers) => self.headers(headers)?,
            None => Vec::new(),
        };
        Ok(Record { key: key.and_then(bytes), value: bytes(value), headers, timestamp: None })
    }

    fn part<'l>(
        &self,
        is_wanted: bool,
        line: &str,
        rest: &'l str,
        separator: &str,
        name: &str,
    ) -> Result<(Option<&'l str>, &'l str), Failure> {
        if !is_wanted {
            return Ok((None, rest));
        }
        match rest.split_once(separator) {
            Some((part, rest)) => Ok((Some(part), rest)),
            None if self.ignore_error => Ok((None, rest)),
            None => Err(Failure::failed(format!(
                "org.apache.kafka.common.KafkaException: No {name} found on line number {}: '{line}'",
                self.line_number
            ))),
        }
    }

    fn headers(&self, text: &str) -> Result<Headers, Failure> {
        text.split(self.headers_separator.as_str())
            .map(|pair| match pair.split_once(self.headers_key_separator.as_str()) {
                Some((key, _)) if Some(key) == self.null_marker.as_deref() => Err(Failure::failed(format!(
                    "Header keys should not be equal to the null marker '{key}' as they can't be null"
                ))),
                Some((key, value)) => {
                    let value = (Some(value) != self.null_marker.as_deref()).then(|| value.as_bytes().to_vec());
                    Ok((key.to_owned(), value))
                }
                None if self.ignore_error => Ok((pair.to_owned(), None)),
                None => Err(Failure::failed(format!(
                    "No header key separator found in pair '{pair}' on line number {}",
                    self.line_number
                ))),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> Result<LineReader, Failure> {
        LineReader::new(&properties.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }

    #[test]
    fn lines_become_records() {
        let plain = reader(&[]).unwrap().read("a\tb").unwrap();
        assert_eq!((plain.key, plain.value), (None, Some(b"a\tb".to_vec())));

        let mut full = reader(&[
            ("parse.key", "true"),
            ("key.separator", ":"),
            ("parse.headers", "TRUE"),
            ("headers.key.separator", "="),
            ("null.marker", "NULL"),
        ])
        .unwrap();
        let record = full.read("h1=v1,h2=NULL\tk:NULL").unwrap();
        assert_eq!(record.headers, [("h1".into(), Some(b"v1".to_vec())), ("h2".into(), None)]);
        assert_eq!((record.key, record.value), (Some(b"k".to_vec()), None));
        let error = full.read("no headers here").unwrap_err();
        assert_eq!(
            error.message,
            "org.apache.kafka.common.KafkaException: No headers delimiter found on line number 2: 'no headers here'"
        );
    }

    #[test]
    fn separators_must_differ() {
        assert!(reader(&[("headers.separator", ":")]).is_err());
        assert!(reader(&[("null.marker", "\t")]).is_err());
    }
}
