//! The tables themselves, read once from the text files beside this one.
//!
//! Columns, parted by tabs: name; type; default (`null`: none, `required`: must be given); limits (below); update mode
//! (`R` read-only, `B` per broker, `C` per broker or for the whole cluster, `Q` only dynamic, `D` a key of another
//! resource than a broker; a leading `i` marks an internal key that is not shown); what it means.
//!
//! Limits: `a..b` (either end may be missing), `-1|a..b`, `in:x,y`, `iin:x,y` (any case), `list:EN:x,y` (E: may be empty,
//! N: may be missing; members from x,y if given), `throttled` (replica list), `offset-reset`, `non-empty`, `non-null`.

use std::sync::OnceLock;

/// What a value is made of. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ValueType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    /// A secret: never shown, never logged.
    Password = 9,
}

impl ValueType {
    /// The value on the wire.
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// The name in error messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    fn from_name(name: &str) -> Self {
        match name {
            "BOOLEAN" => Self::Boolean,
            "INT" => Self::Int,
            "SHORT" => Self::Short,
            "LONG" => Self::Long,
            "DOUBLE" => Self::Double,
            "LIST" => Self::List,
            "CLASS" => Self::Class,
            "PASSWORD" => Self::Password,
            _ => Self::String,
        }
    }
}

/// How a key may be changed while the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only with a restart.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or for all of them.
    ClusterWide,
    /// As `ClusterWide`, but never in a file.
    DynamicOnly,
    /// A key of a topic, a group or a client metrics subscription.
    Resource,
}

impl UpdateMode {
    /// True for what the admin API may change on a broker.
    pub const fn is_dynamic(self) -> bool {
        !matches!(self, Self::ReadOnly)
    }
}

/// What a value must keep to.
#[derive(Debug, Clone, PartialEq)]
pub enum Limits {
    None,
    Range {
        min: Option<&'static str>,
        max: Option<&'static str>,
    },
    /// -1 or a range.
    UnsetOrRange {
        min: i64,
        max: i64,
    },
    OneOf(Vec<&'static str>),
    OneOfAnyCase(Vec<&'static str>),
    List {
        may_be_empty: bool,
        may_be_null: bool,
        members: Vec<&'static str>,
    },
    ThrottledReplicas,
    OffsetReset,
    NonEmpty,
    NonNull,
}

/// One key.
#[derive(Debug, Clone)]
pub struct ConfigDef {
    pub name: &'static str,
    pub value_type: ValueType,
    /// As text; `None`: not set.
    pub default: Option<&'static str>,
    pub required: bool,
    pub limits: Limits,
    pub update: UpdateMode,
    /// Internal keys are understood but not shown.
    pub internal: bool,
    pub documentation: &'static str,
}

impl ConfigDef {
    /// A secret that must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.value_type == ValueType::Password
    }
}

/// All keys of one kind of resource, by name.
pub struct Table {
    rows: Vec<ConfigDef>,
}

impl Table {
    pub fn broker() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Self::read(include_str!("broker.tsv")))
    }

    pub fn topic() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Self::read(include_str!("topic.tsv")))
    }

    pub fn group() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Self::read(include_str!("group.tsv")))
    }

    pub fn client_metrics() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Self::read(include_str!("client_metrics.tsv")))
    }

    pub fn get(&self, name: &str) -> Option<&ConfigDef> {
        let index = self.rows.binary_search_by(|row| row.name.cmp(name)).ok()?;
        self.rows.get(index)
    }

    /// Every key, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigDef> {
        self.rows.iter()
    }

    /// The keys that are shown: neither internal nor dynamic only.
    pub fn shown(&self) -> impl Iterator<Item = &ConfigDef> {
        self.rows.iter().filter(|row| !row.internal && row.update != UpdateMode::DynamicOnly)
    }

    fn read(text: &'static str) -> Self {
        let mut rows: Vec<ConfigDef> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let mut columns = line.split('\t');
                let mut next = || columns.next().unwrap_or_default();
                let (name, value_type, default, limits, mode) = (next(), next(), next(), next(), next());
                let documentation = next();
                ConfigDef {
                    name,
                    value_type: ValueType::from_name(value_type),
                    default: (default != "null" && default != "required").then_some(default),
                    required: default == "required",
                    limits: Limits::read(limits),
                    update: match mode.trim_start_matches('i') {
                        "B" => UpdateMode::PerBroker,
                        "C" => UpdateMode::ClusterWide,
                        "Q" => UpdateMode::DynamicOnly,
                        "D" => UpdateMode::Resource,
                        _ => UpdateMode::ReadOnly,
                    },
                    internal: mode.starts_with('i'),
                    documentation,
                }
            })
            .collect();
        rows.sort_by_key(|row| row.name);
        Self { rows }
    }
}

impl Limits {
    fn read(text: &'static str) -> Self {
        let members =
            |list: &'static str| -> Vec<&'static str> { list.split(',').filter(|member| !member.is_empty()).collect() };
        if let Some(list) = text.strip_prefix("in:") {
            return Self::OneOf(members(list));
        }
        if let Some(list) = text.strip_prefix("iin:") {
            return Self::OneOfAnyCase(members(list));
        }
        if let Some(rest) = text.strip_prefix("list:") {
            let (flags, list) = rest.split_once(':').unwrap_or((rest, ""));
            return Self::List {
                may_be_empty: flags.starts_with('y'),
                may_be_null: flags.ends_with('y'),
                members: members(list),
            };
        }
        match text {
            "throttled" => return Self::ThrottledReplicas,
            "offset-reset" => return Self::OffsetReset,
            "non-empty" => return Self::NonEmpty,
            "non-null" => return Self::NonNull,
            _ => {}
        }
        let (unset, range) = text.strip_prefix("-1|").map_or((false, text), |range| (true, range));
        let Some((min, max)) = range.split_once("..") else { return Self::None };
        let bound = |text: &'static str| (!text.is_empty()).then_some(text);
        if unset {
            return Self::UnsetOrRange { min: min.parse().unwrap_or(i64::MIN), max: max.parse().unwrap_or(i64::MAX) };
        }
        Self::Range { min: bound(min), max: bound(max) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        // Kafka's, and our own: `log.durability`, how failures are found, how internal topics grow.
        assert_eq!(Table::broker().shown().count(), 340 + 7);
        assert_eq!(Table::topic().iter().count(), 33 + 1);
        assert_eq!(Table::group().iter().count(), 17);
        assert_eq!(Table::client_metrics().iter().count(), 3);
        for table in [Table::broker(), Table::topic(), Table::group(), Table::client_metrics()] {
            for row in table.iter() {
                assert_eq!(table.get(row.name).unwrap().name, row.name);
                assert!(row.internal || !row.documentation.is_empty(), "{} says nothing of itself", row.name);
                if let Some(default) = row.default {
                    assert_eq!(row.check(Some(default)).map(|_| ()), Ok(()), "default of {}", row.name);
                }
            }
        }
    }

    #[test]
    fn columns_mean_what_they_should() {
        let segment = Table::topic().get("segment.bytes").unwrap();
        assert_eq!(segment.limits, Limits::Range { min: Some("1048576"), max: None });
        assert_eq!(segment.default, Some("1073741824"));
        assert!(Table::broker().get("node.id").unwrap().required);
        assert!(Table::broker().get("ssl.key.password").unwrap().is_sensitive());
        assert_eq!(Table::broker().get("listeners").unwrap().update, UpdateMode::PerBroker);
        assert_eq!(Table::broker().get("log.retention.ms").unwrap().update, UpdateMode::ClusterWide);
        assert_eq!(Table::broker().get("log.retention.hours").unwrap().update, UpdateMode::ReadOnly);
        assert_eq!(Table::broker().get("log.retention.ms").unwrap().default, None);
    }
}
