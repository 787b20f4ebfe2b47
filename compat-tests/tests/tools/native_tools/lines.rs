//! The lines that both tools are asked, from `lines.txt`.

/// How two outputs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Standard output word for word.
    Same,
    /// Apache's tool prints rows in the order of a hash table.
    AnyOrder,
    /// Standard output, and the first line on standard error.
    Error,
    /// As `Error`, in a JVM of its own.
    Alone,
    /// The kinds of lines of JSON in their order, with the names of their fields: how many there are depends on timing.
    /// In a JVM of its own, too, as the last lines come from a shutdown hook.
    Events,
    /// Only the exit code: what is printed is a measurement, or a table of options with sentences of its own.
    Code,
    /// Known to differ; why stands in `UNSUPPORTED.md`. A line that comes to agree has to change its rule.
    Differs,
}

/// One command line and what it reads.
pub struct Line {
    pub rule: Rule,
    pub text: &'static str,
    pub input: String,
}

/// The lines of every tool, in the order in which they run.
pub fn all() -> impl Iterator<Item = Line> {
    include_str!("lines.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(parse)
}

fn parse(line: &'static str) -> Line {
    let (rule, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    let rule = match rule {
        "same" => Rule::Same,
        "any_order" => Rule::AnyOrder,
        "error" => Rule::Error,
        "alone" => Rule::Alone,
        "events" => Rule::Events,
        "code" => Rule::Code,
        "differs" => Rule::Differs,
        other => panic!("no such rule: {other}"),
    };
    let (text, input) = rest.split_once(" <<< ").unwrap_or((rest, ""));
    Line { rule, text, input: input.replace("\\n", "\n").replace("\\t", "\t") }
}
