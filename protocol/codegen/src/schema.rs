//! Reads the tables in `schemas/`.
//!
//! A message begins with a line of its own: kind, key, name, versions, `flex=` and the first flexible version. Its
//! fields follow, indented by their depth: name, type, versions, and where needed
//!
//! - `null=`: versions in which null is allowed,
//! - `tag=number:versions`: where the field is a tagged one,
//! - `default=`, where it is not zero, empty or false,
//! - `as=`: the newtype in Rust,
//! - `ignorable`: may be dropped silently where a version lacks the field.
//!
//! `[]` before a type is an array. A struct's fields follow its first use.

use std::collections::BTreeMap;

/// Versions from `from` to `to`, both inclusive; `to` is `i16::MAX` where the table says `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub from: i16,
    pub to: i16,
}

impl Versions {
    fn parse(text: &str) -> Self {
        if text == "none" {
            return Self { from: i16::MAX, to: -1 };
        }
        let (from, to) = match (text.strip_suffix('+'), text.split_once('-')) {
            (Some(from), _) => (number(from), i16::MAX),
            (None, Some((from, to))) => (number(from), number(to)),
            (None, None) => (number(text), number(text)),
        };
        Self { from, to }
    }

    pub fn is_empty(self) -> bool {
        self.from > self.to
    }

    pub fn intersect(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    pub fn covers(self, other: Self) -> bool {
        self.from <= other.from && self.to >= other.to
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(number) => number,
        Err(_) => panic!("{text:?} is no number"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Key,
    Value,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub kind: Kind,
    pub key: i16,
    pub name: String,
    pub versions: Versions,
    /// Lengths are varints and structs end in tagged fields in these versions.
    pub flexible: Versions,
    pub fields: Vec<Field>,
    /// In order of their first use.
    pub structs: Vec<(String, Vec<Field>)>,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub kind: Type,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<(u32, Versions)>,
    pub default: Option<String>,
    pub newtype: Option<String>,
    pub ignorable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    /// Records are bytes to this crate.
    Bytes,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Self {
        match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" | "records" => Self::Bytes,
            _ => match text.strip_prefix("[]") {
                Some(element) => Self::Array(Box::new(Self::parse(element))),
                None => Self::Struct(text.to_owned()),
            },
        }
    }

    /// The struct that this type is or holds.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

impl Message {
    pub fn fields_of(&self, name: &str) -> &[Field] {
        match self.structs.iter().find(|(other, _)| other == name) {
            Some((_, fields)) => fields,
            None => panic!("{} has no struct {name}", self.name),
        }
    }
}

/// Every message of one table.
pub fn parse(text: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut head = None;
    for line in text.lines().chain([""]) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        match depth {
            0 => {
                if let Some(head) = head.take() {
                    messages.push(message(head, &lines));
                    lines.clear();
                }
                head = Some(line).filter(|line| !line.is_empty());
            }
            depth => lines.push((depth, line.trim())),
        }
    }
    messages
}

fn message(head: &str, lines: &[(usize, &str)]) -> Message {
    let words: Vec<&str> = head.split(' ').collect();
    let [kind, key, name, versions, flexible] = words[..] else { panic!("{head:?} is no head of a message") };
    let kind = match kind {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "key" => Kind::Key,
        "value" => Kind::Value,
        _ => panic!("{kind:?} is no kind of message"),
    };
    let mut structs: Vec<(String, Vec<Field>)> = Vec::new();
    let mut found = BTreeMap::new();
    let fields = fields(lines, 1, &mut structs, &mut found);
    let mut ordered = Vec::new();
    for (name, _) in structs {
        if let Some(fields) = found.remove(&name) {
            ordered.push((name, fields));
        }
    }
    Message {
        kind,
        key: number(key),
        name: name.to_owned(),
        versions: Versions::parse(versions),
        flexible: Versions::parse(flexible.trim_start_matches("flex=")),
        fields,
        structs: ordered,
    }
}

fn fields(
    lines: &[(usize, &str)],
    depth: usize,
    order: &mut Vec<(String, Vec<Field>)>,
    found: &mut BTreeMap<String, Vec<Field>>,
) -> Vec<Field> {
    let mut all = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let field = field(lines[index].1);
        let start = index + 1;
        index = start + lines[start..].iter().take_while(|(other, _)| *other > depth).count();
        if let Some(name) = field.kind.struct_name()
            && index > start
        {
            order.push((name.to_owned(), Vec::new()));
            let inner = fields(&lines[start..index], depth + 1, order, found);
            found.insert(name.to_owned(), inner);
        }
        all.push(field);
    }
    all
}

fn field(line: &str) -> Field {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("{line:?} is no field"));
    let mut field = Field {
        name: word().to_owned(),
        kind: Type::parse(word()),
        versions: Versions::parse(word()),
        nullable: Versions::parse("none"),
        tag: None,
        default: None,
        newtype: None,
        ignorable: false,
    };
    for word in words {
        match word.split_once('=') {
            Some(("null", versions)) => field.nullable = Versions::parse(versions),
            Some(("tag", tag)) => match tag.split_once(':') {
                Some((tag, versions)) => field.tag = Some((number(tag), Versions::parse(versions))),
                None => panic!("{line:?} has a tag without versions"),
            },
            Some(("default", value)) => field.default = Some(value.to_owned()),
            Some(("as", newtype)) => field.newtype = Some(newtype.to_owned()),
            None if word == "ignorable" => field.ignorable = true,
            _ => panic!("{word:?} in {line:?} is not known"),
        }
    }
    field
}
