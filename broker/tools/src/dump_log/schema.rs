//! Tables of records, read when they are needed: what Kafka generates a class for is interpreted here, which keeps the binary
//! small. The format of the tables is that of `protocol/codegen/src/schema.rs`.

use std::collections::HashMap;
use std::rc::Rc;

/// Versions from the first to the last, both inclusive.
type Versions = (i16, i16);

/// A record or message.
#[derive(Debug)]
pub struct Message {
    /// `key` or `value` of a coordinator's record; `record` of what is only one of them.
    pub part: &'static str,
    pub number: i16,
    pub name: &'static str,
    pub versions: Versions,
    /// Lengths are varints and structs end in tagged fields in these versions.
    pub flexible: Versions,
    pub fields: Rc<[Field]>,
}

#[derive(Debug)]
pub struct Field {
    /// As Kafka's JSON has it.
    pub name: String,
    pub kind: Kind,
    pub versions: Versions,
    pub nullable: Versions,
    /// Where it stands behind a tag.
    pub tag: Option<(u32, Versions)>,
    /// What a tagged field is when it is not there; it is not printed then.
    pub default: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Struct(Rc<[Field]>),
    Array(Box<Kind>),
}

pub const fn covers(versions: Versions, version: i16) -> bool {
    versions.0 <= version && version <= versions.1
}

/// A line that begins a field, with how deep it stands.
type Line = (usize, &'static str);

/// Every message of a table.
pub fn parse(table: &'static str) -> Vec<Message> {
    let mut messages = Vec::new();
    let lines: Vec<Line> =
        table.lines().map(|line| ((line.len() - line.trim_start().len()) / 2, line.trim())).collect();
    for block in lines.split(|(_, text)| text.is_empty()) {
        let Some(((_, head), rest)) = block.split_first() else { continue };
        let mut words = head.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (part, number, name, valid) = (word(), word(), word(), word());
        let flexible = word().trim_start_matches("flex=");
        messages.push(Message {
            part,
            number: number.parse().unwrap_or(-1),
            name,
            versions: versions(valid),
            flexible: versions(flexible),
            fields: fields(rest, 1, &mut HashMap::new()),
        });
    }
    messages
}

/// `structs` has those that were met before: their fields follow only their first use.
fn fields(lines: &[Line], depth: usize, structs: &mut HashMap<&'static str, Rc<[Field]>>) -> Rc<[Field]> {
    let mut all = Vec::new();
    let mut rest = lines;
    while let Some(((_, line), behind)) = rest.split_first() {
        let count = behind.iter().take_while(|(other, _)| *other > depth).count();
        let (inner, next) = behind.split_at(count);
        rest = next;
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, kind, valid) = (word(), word(), word());
        if !inner.is_empty() {
            let inner = fields(inner, depth + 1, structs);
            structs.insert(kind.trim_start_matches("[]"), inner);
        }
        let mut field = Field {
            name: camel_case(name),
            kind: kind_of(kind, structs),
            versions: versions(valid),
            nullable: versions("none"),
            tag: None,
            default: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("null", valid)) => field.nullable = versions(valid),
                Some(("default", value)) => field.default = Some(value),
                Some(("tag", tag)) => {
                    let (tag, valid) = tag.split_once(':').unwrap_or((tag, "none"));
                    field.tag = Some((tag.parse().unwrap_or(u32::MAX), versions(valid)));
                }
                _ => {}
            }
        }
        all.push(field);
    }
    all.into()
}

fn kind_of(text: &'static str, structs: &HashMap<&'static str, Rc<[Field]>>) -> Kind {
    match text {
        "bool" => Kind::Bool,
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "uint16" => Kind::Uint16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "float64" => Kind::Float64,
        "uuid" => Kind::Uuid,
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        _ => match text.strip_prefix("[]") {
            Some(element) => Kind::Array(Box::new(kind_of(element, structs))),
            None => Kind::Struct(structs.get(text).cloned().unwrap_or_default()),
        },
    }
}

fn versions(text: &str) -> Versions {
    let number = |text: &str| text.parse().unwrap_or(-1);
    match (text.strip_suffix('+'), text.split_once('-')) {
        _ if text == "none" => (i16::MAX, -1),
        (Some(from), _) => (number(from), i16::MAX),
        (None, Some((from, to))) => (number(from), number(to)),
        (None, None) => (number(text), number(text)),
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_is_read_with_its_structs() {
        let table = "value 8 Assignment 0-1 flex=1+\n  topic_ids []uuid 0+\n  first []Part 0+\n    some_part int32 0+\n\n\
                     key 9 Other 0 flex=none\n  again []Part 0 null=0 tag=3:0 default=null\n";
        let messages = parse(table);
        assert_eq!((messages[0].part, messages[0].number, messages[0].versions), ("value", 8, (0, 1)));
        assert_eq!(messages[0].fields[0].name, "topicIds");
        let Kind::Array(element) = &messages[0].fields[1].kind else { panic!() };
        let Kind::Struct(fields) = &**element else { panic!() };
        assert_eq!(fields[0].name, "somePart");
        let tagged = &messages[1].fields[0];
        assert_eq!((tagged.tag, tagged.default), (Some((3, (0, 0))), Some("null")));
    }

    #[test]
    fn no_struct_of_the_tables_is_without_fields() {
        fn check(name: &str, fields: &[Field]) {
            for field in fields {
                let mut kind = &field.kind;
                while let Kind::Array(element) = kind {
                    kind = element;
                }
                if let Kind::Struct(inner) = kind {
                    assert!(!inner.is_empty(), "{name}.{}", field.name);
                    check(name, inner);
                }
            }
        }
        for table in super::super::decoders::TABLES {
            for message in parse(table) {
                assert!(message.number >= -1 && message.versions.0 <= message.versions.1, "{}", message.name);
                check(message.name, &message.fields);
            }
        }
    }
}
