//! A value read by its type, and the one way it is written.

use std::collections::{HashMap, HashSet};

use super::table::ValueType;

/// A value of a key, read by its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    /// INT, SHORT and LONG.
    Integer(i64),
    Double(f64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    /// Reads `text`; the error is the reason, as Kafka words it.
    ///
    /// # Errors
    /// When the text is not of the type.
    pub fn read(value_type: ValueType, text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let not_a_number = || format!("Not a number of type {}", value_type.name());
        Ok(match value_type {
            ValueType::Boolean => {
                if trimmed.eq_ignore_ascii_case("true") {
                    Self::Bool(true)
                } else if trimmed.eq_ignore_ascii_case("false") {
                    Self::Bool(false)
                } else {
                    return Err("Expected value to be either true or false".to_owned());
                }
            }
            ValueType::Short => Self::Integer(trimmed.parse::<i16>().map_err(|_| not_a_number())?.into()),
            ValueType::Int => Self::Integer(trimmed.parse::<i32>().map_err(|_| not_a_number())?.into()),
            ValueType::Long => Self::Integer(trimmed.parse().map_err(|_| not_a_number())?),
            ValueType::Double => Self::Double(trimmed.parse().map_err(|_| not_a_number())?),
            ValueType::String | ValueType::Class | ValueType::Password => Self::Text(trimmed.to_owned()),
            ValueType::List => Self::List(split_list(trimmed)),
        })
    }

    /// How the value is shown to clients: `true`, `5`, `0.5`, `a,b`.
    pub fn show(&self) -> String {
        match self {
            Self::List(members) => members.join(","),
            other => other.in_message(),
        }
    }

    /// How the value looks inside an error message: lists have brackets.
    pub(super) fn in_message(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Double(value) => java_double(*value),
            Self::Text(value) => value.clone(),
            Self::List(members) => format!("[{}]", members.join(", ")),
        }
    }
}

/// The members of a comma separated list, spaces around commas dropped. An empty text is an empty list.
pub fn split_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|member| member.trim().to_owned()).collect()
}

/// What APPEND makes of a list: the members of `list`, and behind them those of `items` that are not among them.
pub fn append_to_list(list: &str, items: &str) -> String {
    let mut members = members(list);
    let mut known: HashSet<&str> = members.iter().copied().collect();
    members.extend(operands(items).filter(|item| known.insert(item)));
    members.join(",")
}

/// What SUBTRACT makes of a list: `list` less the first occurrence of each of the `items`, which may be named more than once
/// themselves.
pub fn subtract_from_list(list: &str, items: &str) -> String {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for item in operands(items) {
        *times.entry(item).or_default() += 1;
    }
    let mut members = members(list);
    members.retain(|member| match times.get_mut(member) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    members.join(",")
}

fn members(list: &str) -> Vec<&str> {
    list.split(',').filter(|member| !member.is_empty()).collect()
}

/// As Java splits: empty members count, save for those at the end. An empty text is one empty member.
fn operands(items: &str) -> impl Iterator<Item = &str> {
    let trimmed = items.trim_end_matches(',');
    let count = if trimmed.is_empty() && !items.is_empty() { 0 } else { usize::MAX };
    trimmed.split(',').take(count)
}

/// A double as Java writes it, which is how stock tools show it: `0.5`, `1.0`, `1.7976931348623157E308`.
pub fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_as_in_java() {
        assert_eq!(java_double(0.5), "0.5");
        assert_eq!(java_double(1.0), "1.0");
        assert_eq!(java_double(f64::MAX), "1.7976931348623157E308");
        assert_eq!(java_double(2_147_483_647.0), "2.147483647E9");
        assert_eq!(java_double(1e7), "1.0E7");
        assert_eq!(java_double(0.0001), "1.0E-4");
    }

    #[test]
    fn lists_are_appended_to_and_subtracted_from() {
        assert_eq!(append_to_list("a,b", "b,c,c"), "a,b,c");
        assert_eq!(append_to_list("", ""), "");
        assert_eq!(append_to_list("a", ""), "a,", "which is refused where members must not be empty");
        assert_eq!(append_to_list("a", ",b"), "a,,b");
        assert_eq!(subtract_from_list("a,b,a,c", "a,c,x"), "b,a");
        assert_eq!(subtract_from_list("a,b,a", "a,a"), "b");
    }

    #[test]
    fn a_comma_at_the_end_appends_and_subtracts_nothing() {
        assert_eq!(append_to_list("delete", "compact,"), "delete,compact");
        assert_eq!(append_to_list("delete", ",,"), "delete");
        assert_eq!(subtract_from_list("delete,compact", "compact,,"), "delete");
    }

    #[test]
    fn long_lists_are_done_in_no_time() {
        let members: Vec<String> = (0..200_000).map(|number| number.to_string()).collect();
        let text = members.join(",");
        let all = append_to_list("", &text);
        assert_eq!(all.len(), text.len());
        assert!(subtract_from_list(&all, &text).is_empty());
    }

    #[test]
    fn lists_lose_their_spaces() {
        assert_eq!(split_list(" a , b,c "), ["a", "b", "c"]);
        assert_eq!(split_list(" "), Vec::<String>::new());
        assert_eq!(Value::read(ValueType::List, "a, b").map(|v| v.show()), Ok("a,b".to_owned()));
        assert_eq!(Value::read(ValueType::Boolean, " TRUE ").map(|v| v.show()), Ok("true".to_owned()));
        assert_eq!(Value::read(ValueType::Int, "3000000000"), Err("Not a number of type INT".to_owned()));
    }
}
