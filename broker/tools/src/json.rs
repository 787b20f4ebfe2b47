//! JSON files that tools are given, read with the failures that Kafka's tools name.

use serde_json::Value;

use super::Failure;

/// The JSON of a file.
pub fn load(path: &str) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path).map_err(|_| Failure::failed(format!("Unable to read file {path}")))?;
    parse(&text)
}

/// The JSON of a text.
pub fn parse(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|_| Failure::failed("The input string is not a valid JSON"))
}

/// A member that has to be there, as text.
pub fn string<'v>(value: &'v Value, name: &str) -> Result<&'v str, Failure> {
    field(value, name)?
        .as_str()
        .ok_or_else(|| Failure::failed(format!("Expected `String` value, received {}", value[name])))
}

/// A member that has to be there, as a number.
pub fn number<N: TryFrom<i64>>(value: &Value, name: &str) -> Result<N, Failure> {
    field(value, name)?
        .as_i64()
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| Failure::failed(format!("Expected a number, received {}", value[name])))
}

/// A member that has to be there, as a list.
pub fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>, Failure> {
    field(value, name)?
        .as_array()
        .ok_or_else(|| Failure::failed(format!("Expected JSON array, received {}", value[name])))
}

fn field<'v>(value: &'v Value, name: &str) -> Result<&'v Value, Failure> {
    value.get(name).ok_or_else(|| Failure::failed(format!("No such field exists: `{name}`")))
}
