//! Command lines as Kafka's tools read them: long options with `--name value` or `--name=value`, repeated options, and the
//! error texts that scripts have learnt to look for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;

use super::Failure;

/// What the argument of an option must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The option stands alone.
    Flag,
    /// The option takes any text.
    Text,
    /// The option takes a text or stands alone, which is the empty text.
    OptionalText,
    /// The option takes one text or several, up to the next option.
    Texts,
    /// The option takes a 32-bit integer.
    Int,
    /// The option takes a 64-bit integer.
    Long,
}

/// One option of a tool. Several names mean the same option; the first is the one shown.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub names: &'static [&'static str],
    pub kind: Kind,
    pub placeholder: &'static str,
    pub help: &'static str,
}

/// An option without an argument.
pub const fn flag(names: &'static [&'static str], help: &'static str) -> Spec {
    Spec { names, kind: Kind::Flag, placeholder: "", help }
}

/// An option with an argument.
pub const fn value(names: &'static [&'static str], kind: Kind, placeholder: &'static str, help: &'static str) -> Spec {
    Spec { names, kind, placeholder, help }
}

/// The options that a command line carried, in its order.
#[derive(Debug, Default)]
pub struct Options {
    values: HashMap<&'static str, Vec<String>>,
    /// The options' names in the order of the line, repeated ones repeatedly.
    pub order: Vec<&'static str>,
    /// The same options by the names that the line used.
    spelled: Vec<String>,
    pub positional: Vec<String>,
    /// The line as it was given.
    pub line: String,
}

impl Options {
    /// Reads a command line. Where argparse4j reads it, long options may be shortened. Unknown options, missing arguments and numbers that are none are errors in jopt-simple's words,
    /// since those are what users of Kafka's tools know.
    pub fn parse(specs: &[Spec], arguments: &[String], may_shorten: bool) -> Result<Self, Failure> {
        let mut options = Self { line: arguments.join(" "), ..Self::default() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                options.positional.extend(rest.cloned());
                break;
            }
            let Some(word) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                options.positional.push(argument.clone());
                continue;
            };
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word, None),
            };
            let Some(spec) = find(specs, name, may_shorten) else {
                return Err(Failure::usage(format!("{name} is not a recognized option")));
            };
            let text = match (spec.kind, inline) {
                (Kind::Flag, _) => String::new(),
                (_, Some(value)) => value,
                (Kind::OptionalText, None) => match rest.as_slice().first() {
                    Some(value) if !value.starts_with('-') => rest.next().cloned().unwrap_or_default(),
                    _ => String::new(),
                },
                (_, None) => match rest.next() {
                    Some(value) => value.clone(),
                    None => return Err(Failure::usage(format!("Option {} requires an argument", shown(spec)))),
                },
            };
            check_kind(spec, &text)?;
            if spec.kind == Kind::Texts {
                while let Some(more) = rest.as_slice().first().filter(|more| !more.starts_with('-')) {
                    options.values.entry(spec.names[0]).or_default().push(more.clone());
                    rest.next();
                }
            }
            options.order.push(spec.names[0]);
            options.spelled.push(full_name(spec, name).to_owned());
            options.values.entry(spec.names[0]).or_default().push(text);
        }
        Ok(options)
    }

    /// Whether the option was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Whether the line used this one of an option's names.
    pub fn is_spelled(&self, name: &str) -> bool {
        self.spelled.iter().any(|spelled| spelled == name)
    }

    /// Warns of names that Kafka means to drop, each with the one that takes its place; both on one line are an error.
    pub fn tell_deprecated(
        &self,
        renamed: &[(&str, &str)],
        both: impl Fn(&str, &str) -> String,
        told: impl Fn(&str, &str) -> String,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if let Some((old, new)) = renamed.iter().find(|(old, new)| self.is_spelled(old) && self.is_spelled(new)) {
            return Err(Failure::usage(both(old, new)));
        }
        for (old, new) in renamed.iter().filter(|(old, _)| self.is_spelled(old)) {
            writeln!(out, "{}", told(old, new))?;
        }
        Ok(())
    }

    /// The value of an option; the last one when it was repeated.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// All values of a repeated option.
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of a numeric option. The kind was checked when the line was read.
    pub fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// The value of a required option.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.text(name).ok_or_else(|| Failure::usage(format!("Missing required argument \"[{name}]\"")))
    }

    /// `--used` makes sense only beside one of `others`.
    pub fn refuse_without(&self, used: &str, others: &[&str]) -> Result<(), Failure> {
        if self.has(used) && !others.iter().any(|other| self.has(other)) {
            return Err(Failure::usage(format!(
                "Option(s) [{used}] are unavailable given other options on the command line"
            )));
        }
        Ok(())
    }

    /// `--used` cannot stand beside any of `others`.
    pub fn refuse_with(&self, used: &str, others: &[&str]) -> Result<(), Failure> {
        match others.iter().find(|other| self.has(used) && self.has(other)) {
            Some(other) => Err(Failure::usage(format!("Option \"[{used}]\" can't be used with option \"[{other}]\""))),
            None => Ok(()),
        }
    }
}

/// The option of this name; where names may be shortened, also the only one whose name begins so.
fn find<'a>(specs: &'a [Spec], name: &str, may_shorten: bool) -> Option<&'a Spec> {
    let exact = specs.iter().find(|spec| spec.names.contains(&name));
    if exact.is_some() || !may_shorten {
        return exact;
    }
    let begins = |spec: &&Spec| spec.names.iter().any(|full| full.starts_with(name));
    let mut candidates = specs.iter().filter(begins);
    match (candidates.next(), candidates.next()) {
        (Some(spec), None) if !name.is_empty() => Some(spec),
        _ => None,
    }
}

/// The name of the option that `given`, which may be shortened, stands for.
fn full_name(spec: &Spec, given: &str) -> &'static str {
    let names = spec.names.iter().copied();
    names
        .clone()
        .find(|name| *name == given)
        .or(names.clone().find(|name| name.starts_with(given)))
        .unwrap_or(spec.names[0])
}

/// `key=value` pairs of a repeated option; a missing value is empty.
pub fn key_values(pairs: &[String]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key.trim().to_owned(), value.trim().to_owned()),
            None => (pair.trim().to_owned(), String::new()),
        })
        .collect()
}

/// The table of options that `--help` and a wrong command line print.
pub fn usage(specs: &[Spec]) -> String {
    let mut text = String::from("Option                                   Description\n");
    text.push_str("------                                   -----------\n");
    for spec in specs {
        let mut left = spec.names.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(", ");
        match spec.kind {
            Kind::Flag => {}
            Kind::Text | Kind::Texts => {
                let _ = write!(left, " <String: {}>", spec.placeholder);
            }
            Kind::OptionalText => left.push_str(" [String]"),
            Kind::Int => {
                let _ = write!(left, " <Integer: {}>", spec.placeholder);
            }
            Kind::Long => {
                let _ = write!(left, " <Long: {}>", spec.placeholder);
            }
        }
        let mut lines = wrap(spec.help, 60).into_iter();
        let _ = writeln!(text, "{left:<40} {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{:<40} {line}", "");
        }
    }
    text
}

fn shown(spec: &Spec) -> String {
    if spec.names.len() == 1 { spec.names[0].to_owned() } else { format!("[{}]", spec.names.join(", ")) }
}

fn check_kind(spec: &Spec, text: &str) -> Result<(), Failure> {
    let (is_right, java) = match spec.kind {
        Kind::Flag | Kind::Text | Kind::Texts | Kind::OptionalText => (true, ""),
        Kind::Int => (text.parse::<i32>().is_ok(), "Integer"),
        Kind::Long => (text.parse::<i64>().is_ok(), "Long"),
    };
    if is_right {
        Ok(())
    } else {
        Err(Failure::usage(format!("Cannot parse argument '{text}' of option {}: not a {java}", shown(spec))))
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SPECS: &[Spec] = &[
        flag(&["list"], "List all topics."),
        value(&["topic"], Kind::Text, "topic", "The topic."),
        value(&["partitions"], Kind::Int, "count", "How many."),
        value(&["config", "add"], Kind::Text, "name=value", "A config."),
    ];

    fn parse(line: &str) -> Result<Options, Failure> {
        Options::parse(SPECS, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), true)
    }

    #[test]
    fn options_are_read_in_both_forms() {
        let options = parse("--list --topic=a --partitions 3 --config x=1 --add y=2 rest").unwrap();
        assert!(options.has("list"));
        assert_eq!(options.text("topic"), Some("a"));
        assert_eq!(options.number::<i32>("partitions"), Some(3));
        assert_eq!(key_values(options.all("config")), [("x".into(), "1".into()), ("y".into(), "2".into())]);
        assert_eq!(options.positional, ["rest"]);
    }

    #[test]
    fn a_wrong_line_is_refused_in_the_words_of_kafkas_tools() {
        assert_eq!(parse("--nope").unwrap_err().message, "nope is not a recognized option");
        assert_eq!(parse("--topic").unwrap_err().message, "Option topic requires an argument");
        assert!(parse("--partitions x").unwrap_err().message.starts_with("Cannot parse argument 'x'"));
        let missing = parse("--list").unwrap();
        assert_eq!(missing.required("topic").unwrap_err().message, "Missing required argument \"[topic]\"");
        let both = parse("--list --topic a").unwrap();
        assert!(both.refuse_with("list", &["topic"]).is_err());
    }

    #[test]
    fn long_options_may_be_shortened_as_long_as_they_differ() {
        let options = parse("--to a --part 3 --l").unwrap();
        assert_eq!((options.text("topic"), options.text("partitions")), (Some("a"), Some("3")));
        assert!(options.has("list"));
        let both = &[value(&["topic"], Kind::Text, "", ""), value(&["topic-id"], Kind::Text, "", "")];
        assert_eq!(find(both, "topic", true).unwrap().names, ["topic"]);
        assert!(find(both, "top", true).is_none() && find(both, "topic-i", false).is_none());
    }

    #[test]
    fn names_that_are_to_go_are_told() {
        let tell = |line: &str| {
            let mut out = Vec::new();
            let outcome = parse(line).unwrap().tell_deprecated(
                &[("add", "config")],
                |old, new| format!("{old} and {new}"),
                |old, new| format!("{old} is {new} now"),
                &mut out,
            );
            outcome.map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(tell("--add x=1").unwrap(), "add is config now\n");
        assert_eq!(tell("--config x=1").unwrap(), "");
        assert_eq!(tell("--config x=1 --add x=2").unwrap_err().message, "add and config");
    }

    #[test]
    fn usage_names_every_option() {
        let text = usage(SPECS);
        for spec in SPECS {
            assert!(text.contains(spec.names[0]));
        }
    }
}
