//! The numbers of ACLs on the wire and the names that people know them by.

use std::fmt;

pub const ANY: i8 = 1;
pub const MATCH: i8 = 2;
pub const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
pub const DENY: i8 = 2;
pub const ALLOW: i8 = 3;
const ALL: i8 = 2;

/// By code: the name in options and the name in output.
pub const OPERATIONS: [(&str, &str); 15] = [
    ("Unknown", "UNKNOWN"),
    ("Any", "ANY"),
    ("All", "ALL"),
    ("Read", "READ"),
    ("Write", "WRITE"),
    ("Create", "CREATE"),
    ("Delete", "DELETE"),
    ("Alter", "ALTER"),
    ("Describe", "DESCRIBE"),
    ("ClusterAction", "CLUSTER_ACTION"),
    ("DescribeConfigs", "DESCRIBE_CONFIGS"),
    ("AlterConfigs", "ALTER_CONFIGS"),
    ("IdempotentWrite", "IDEMPOTENT_WRITE"),
    ("CreateTokens", "CREATE_TOKENS"),
    ("DescribeTokens", "DESCRIBE_TOKENS"),
];

const RESOURCES: [&str; 8] =
    ["UNKNOWN", "ANY", "TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID", "DELEGATION_TOKEN", "USER"];
const PATTERNS: [&str; 5] = ["UNKNOWN", "ANY", "MATCH", "LITERAL", "PREFIXED"];
const PERMISSIONS: [&str; 4] = ["UNKNOWN", "ANY", "DENY", "ALLOW"];

/// Which resources are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    pub resource_type: i8,
    pub name: String,
    pub pattern_type: i8,
}

/// Who may or may not do what, and from where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    pub principal: String,
    pub host: String,
    pub operation: i8,
    pub permission: i8,
}

impl Pattern {
    pub fn resource_name(&self) -> &'static str {
        name_of(&RESOURCES, self.resource_type)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = name_of(&PATTERNS, self.pattern_type);
        write!(f, "ResourcePattern(resourceType={}, name={}, patternType={pattern})", self.resource_name(), self.name)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = usize::try_from(self.operation).ok().and_then(|code| OPERATIONS.get(code));
        write!(
            f,
            "(principal={}, host={}, operation={}, permissionType={})",
            self.principal,
            self.host,
            operation.map_or("UNKNOWN", |names| names.1),
            name_of(&PERMISSIONS, self.permission)
        )
    }
}

fn name_of(names: &'static [&'static str], code: i8) -> &'static str {
    usize::try_from(code).ok().and_then(|code| names.get(code)).copied().unwrap_or("UNKNOWN")
}

/// The code of an operation as options name it.
pub fn operation(name: &str) -> Option<i8> {
    let index = OPERATIONS.iter().position(|names| names.0.eq_ignore_ascii_case(name))?;
    i8::try_from(index).ok().filter(|code| *code >= ALL)
}

/// The code of a pattern type as options name it.
pub fn pattern_type(name: &str) -> Option<i8> {
    let index = PATTERNS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    i8::try_from(index).ok().filter(|code| (ANY..=PREFIXED).contains(code))
}

/// What can be allowed or denied on a type of resource.
pub fn operations_of(resource_type: i8) -> &'static [i8] {
    match resource_type {
        2 => &[3, 4, 5, 8, 6, 7, 10, 11, ALL],
        3 => &[3, 8, 6, 10, 11, ALL],
        4 => &[5, 9, 10, 11, 7, 8, 12, ALL],
        5 => &[8, 4, ALL],
        6 => &[8, ALL],
        7 => &[13, 14, ALL],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kafkas_tools() {
        assert_eq!(operation("idempotentwrite"), Some(12));
        assert_eq!((operation("Any"), operation("nope")), (None, None));
        assert_eq!(
            (pattern_type("prefixed"), pattern_type("MATCH"), pattern_type("unknown")),
            (Some(4), Some(2), None)
        );
        let pattern = Pattern { resource_type: 2, name: "a".to_owned(), pattern_type: 3 };
        assert_eq!(pattern.to_string(), "ResourcePattern(resourceType=TOPIC, name=a, patternType=LITERAL)");
        let access = Access { principal: "User:a".to_owned(), host: "*".to_owned(), operation: 3, permission: ALLOW };
        assert_eq!(access.to_string(), "(principal=User:a, host=*, operation=READ, permissionType=ALLOW)");
    }
}
