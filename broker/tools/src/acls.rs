//! kafka-acls: who may do what.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};

use super::acl_names::{
    ALLOW, ANY, Access, DENY, LITERAL, MATCH, OPERATIONS, Pattern, operation, operations_of, pattern_type,
};
use super::admin::{message, text};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(30);

pub const TOOL: Tool = Tool { name: "acls", about: "This tool helps to manage acls on kafka.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    flag(&["add"], "Add ACLs."),
    value(&["allow-host"], Kind::Text, "allow-host", "Host that --allow-principal may come from; default: all."),
    value(&["allow-principal"], Kind::Text, "allow-principal", "Who is allowed, as principalType:name."),
    value(&["bootstrap-controller"], Kind::Text, "controller to connect to", "The controllers to connect to."),
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "The brokers to connect to."),
    flag(&["cluster"], "The cluster is the resource."),
    value(&["command-config"], Kind::OptionalText, "command-config", "A file with properties for the connection."),
    flag(&["consumer"], "What a consumer needs: READ and DESCRIBE on the topic, READ on the group."),
    value(&["delegation-token"], Kind::Text, "delegation-token", "A delegation token is the resource."),
    value(&["deny-host"], Kind::Text, "deny-host", "Host that --deny-principal is denied from; default: all."),
    value(&["deny-principal"], Kind::Text, "deny-principal", "Who is denied, as principalType:name."),
    flag(&["force"], "Do not ask."),
    value(&["group"], Kind::Text, "group", "A consumer group is the resource."),
    flag(&["help"], "Print usage information."),
    flag(&["idempotent"], "With --producer: IDEMPOTENT_WRITE on the cluster."),
    flag(&["list"], "List ACLs."),
    value(&["operation"], Kind::Text, "operation", "What is allowed or denied; default: All."),
    value(&["principal"], Kind::OptionalText, "principal", "With --list: only the ACLs of this principal."),
    flag(&["producer"], "What a producer needs: WRITE, DESCRIBE and CREATE on the topic."),
    flag(&["remove"], "Remove ACLs."),
    value(&["resource-pattern-type"], Kind::Text, "type", "literal, prefixed, any or match; default: literal."),
    value(&["topic"], Kind::Text, "topic", "A topic is the resource."),
    value(&["transactional-id"], Kind::Text, "transactional-id", "A transactional id is the resource."),
    value(&["user-principal"], Kind::Text, "user-principal", "A user is the resource."),
    flag(&["version"], "Display the version."),
];

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const TRANSACTIONAL_ID: i8 = 5;
const DELEGATION_TOKEN: i8 = 6;
const USER: i8 = 7;

type Acls = BTreeMap<Pattern, BTreeSet<Access>>;

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match check(options).and_then(|pattern_type| act(options, pattern_type, out)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) if failure.is_usage => Err(failure),
        Err(failure) => {
            let reason = failure.as_java();
            let class = match failure.code {
                Some(_) => "java.util.concurrent.ExecutionException",
                None if reason.starts_with("Cannot parse") => "joptsimple.OptionArgumentConversionException",
                None => "java.lang.IllegalArgumentException",
            };
            writeln!(out, "Error while executing ACL command: {reason}\n{class}: {reason}\n")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn act(options: &Options, pattern_type: i8, out: &mut dyn Write) -> Result<(), Failure> {
    let config = properties::of_connection(options.text("command-config").filter(|path| !path.is_empty()))?;
    let controller = options.text("bootstrap-controller");
    let bootstrap = controller.or(options.text("bootstrap-server")).unwrap_or_default();
    let mut client = Client::connect_to(
        bootstrap,
        TIMEOUT,
        controller.is_some(),
        properties::client_id(&config, properties::ADMIN),
    )?;
    if options.has("add") {
        add(&mut client, options, pattern_type, out)
    } else if options.has("remove") {
        remove(&mut client, options, pattern_type, out)
    } else {
        list(&mut client, options, pattern_type, out)
    }
}

fn add(client: &mut Client, options: &Options, pattern_type: i8, out: &mut dyn Write) -> Result<(), Failure> {
    if [ANY, MATCH].contains(&pattern_type) {
        let name = if pattern_type == ANY { "ANY" } else { "MATCH" };
        return Err(Failure::usage(format!(
            "A '--resource-pattern-type' value of '{name}' is not valid when adding acls."
        )));
    }
    let wanted = wanted(options, pattern_type)?;
    if wanted.values().any(BTreeSet::is_empty) {
        return Err(Failure::usage(
            "You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.",
        ));
    }
    for (pattern, accesses) in wanted {
        let existing = existing(client, &pattern)?;
        let existing = existing.get(&pattern).cloned().unwrap_or_default();
        for access in accesses.intersection(&existing) {
            writeln!(out, "Acl (pattern={pattern}, entry={access}) already exists.")?;
        }
        let missing: Vec<&Access> = accesses.difference(&existing).collect();
        if missing.is_empty() {
            continue;
        }
        writeln!(out, "Adding ACLs for resource `{pattern}`: \n {}\n", lines(missing.iter().copied()))?;
        let creations = missing.iter().map(|access| {
            AclCreation::default()
                .with_resource_type(pattern.resource_type)
                .with_resource_name(text(&pattern.name))
                .with_resource_pattern_type(pattern.pattern_type)
                .with_principal(text(&access.principal))
                .with_host(text(&access.host))
                .with_operation(access.operation)
                .with_permission_type(access.permission)
        });
        let request = CreateAclsRequest::default().with_creations(creations.collect());
        for result in client.send(&Target::Controller, &request)?.results {
            Failure::check(result.error_code, message(result.error_message.as_ref()))?;
        }
    }
    Ok(())
}

fn remove(client: &mut Client, options: &Options, pattern_type: i8, out: &mut dyn Write) -> Result<(), Failure> {
    for (pattern, accesses) in wanted(options, pattern_type)? {
        let question = if accesses.is_empty() {
            format!("Are you sure you want to delete all ACLs for resource filter `{pattern}`? (y/n)")
        } else {
            let acls = lines(&accesses);
            format!("Are you sure you want to remove ACLs: \n {acls}\n from resource filter `{pattern}`? (y/n)")
        };
        if !options.has("force") && !is_confirmed(&question, out)? {
            continue;
        }
        let of_pattern = DeleteAclsFilter::default()
            .with_resource_type_filter(pattern.resource_type)
            .with_resource_name_filter(Some(text(&pattern.name)))
            .with_pattern_type_filter(pattern.pattern_type);
        let filters = if accesses.is_empty() {
            vec![of_pattern.with_operation(ANY).with_permission_type(ANY)]
        } else {
            let of_access = |access: &Access| {
                let filter =
                    of_pattern.clone().with_operation(access.operation).with_permission_type(access.permission);
                filter.with_principal_filter(Some(text(&access.principal))).with_host_filter(Some(text(&access.host)))
            };
            accesses.iter().map(of_access).collect()
        };
        let request = DeleteAclsRequest::default().with_filters(filters);
        for result in client.send(&Target::Controller, &request)?.filter_results {
            Failure::check(result.error_code, message(result.error_message.as_ref()))?;
            for acl in result.matching_acls {
                Failure::check(acl.error_code, message(acl.error_message.as_ref()))?;
            }
        }
    }
    Ok(())
}

fn list(client: &mut Client, options: &Options, pattern_type: i8, out: &mut dyn Write) -> Result<(), Failure> {
    let patterns = patterns(options, pattern_type);
    let mut found = Acls::new();
    if patterns.is_empty() {
        found = existing(client, &Pattern { resource_type: ANY, name: String::new(), pattern_type: ANY })?;
    }
    for pattern in &patterns {
        for (pattern, accesses) in existing(client, pattern)? {
            found.entry(pattern).or_default().extend(accesses);
        }
    }
    let principals: BTreeSet<&str> = options.all("principal").iter().map(|name| name.trim()).collect();
    if principals.is_empty() {
        return print(&found, None, out);
    }
    for principal in principals {
        writeln!(out, "ACLs for principal `{principal}`")?;
        print(&found, Some(principal), out)?;
    }
    Ok(())
}

fn print(acls: &Acls, principal: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    for (pattern, accesses) in acls {
        let of_principal = |access: &&Access| principal.is_none_or(|name| name == access.principal);
        let shown: Vec<&Access> = accesses.iter().filter(of_principal).collect();
        if !shown.is_empty() {
            writeln!(out, "Current ACLs for resource `{pattern}`:\n{}\n", lines(shown))?;
        }
    }
    Ok(())
}

fn lines<'a>(accesses: impl IntoIterator<Item = &'a Access>) -> String {
    accesses.into_iter().map(|access| format!("\t{access}")).collect::<Vec<_>>().join("\n")
}

fn is_confirmed(question: &str, out: &mut dyn Write) -> Result<bool, Failure> {
    writeln!(out, "{question}")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// The ACLs that a pattern selects.
fn existing(client: &mut Client, pattern: &Pattern) -> Result<Acls, Failure> {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(pattern.resource_type)
        .with_resource_name_filter((pattern.resource_type != ANY).then(|| text(&pattern.name)))
        .with_pattern_type_filter(pattern.pattern_type)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let response = client.send(&Target::Any, &request)?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    let mut found = Acls::new();
    for resource in response.resources {
        let pattern = Pattern {
            resource_type: resource.resource_type,
            name: resource.resource_name.to_string(),
            pattern_type: resource.pattern_type,
        };
        found.entry(pattern).or_default().extend(resource.acls.into_iter().map(|acl| Access {
            principal: acl.principal.to_string(),
            host: acl.host.to_string(),
            operation: acl.operation,
            permission: acl.permission_type,
        }));
    }
    Ok(found)
}

/// What the line asks for, by resource. An empty set of accesses means all of them.
fn wanted(options: &Options, pattern_type: i8) -> Result<Acls, Failure> {
    let patterns = patterns(options, pattern_type);
    if patterns.is_empty() {
        return Err(Failure::usage(
            "You must provide at least one resource: --topic <topic> or --cluster or --group <group> or --delegation-token <Delegation Token ID>",
        ));
    }
    let of = |names: &[&str]| accesses(options, &names.iter().filter_map(|name| operation(name)).collect::<Vec<_>>());
    let mut wanted = Acls::new();
    let roles = [options.has("producer"), options.has("consumer")];
    if roles == [false, false] {
        let given: Vec<&str> = match options.all("operation") {
            [] => vec!["All"],
            given => given.iter().map(String::as_str).collect(),
        };
        let unknown = given.iter().find(|name| operation(name.trim()).is_none());
        if let Some(name) = unknown {
            return Err(Failure::failed(format!("Unknown operation: {name}")));
        }
        let operations: Vec<i8> = given.iter().filter_map(|name| operation(name.trim())).collect();
        wanted = patterns.iter().map(|pattern| (pattern.clone(), accesses(options, &operations))).collect();
    }
    let mut grant = |resource: i8, names: &[&str]| {
        for pattern in patterns.iter().filter(|pattern| pattern.resource_type == resource) {
            wanted.entry(pattern.clone()).or_default().extend(of(names));
        }
    };
    if roles[0] {
        grant(TOPIC, &["Write", "Describe", "Create"]);
        grant(TRANSACTIONAL_ID, &["Write", "Describe"]);
    }
    if roles[1] {
        grant(TOPIC, &["Read", "Describe"]);
        grant(GROUP, &["Read"]);
    }
    if roles[0] && options.has("idempotent") {
        wanted.insert(cluster(), of(&["IdempotentWrite"]));
    }
    for (pattern, accesses) in &wanted {
        let valid = operations_of(pattern.resource_type);
        if accesses.iter().any(|access| !valid.contains(&access.operation)) {
            let names: Vec<&str> =
                valid.iter().filter_map(|code| OPERATIONS.get(*code as usize)).map(|o| o.1).collect();
            return Err(Failure::usage(format!(
                "ResourceType {} only supports operations [{}]",
                pattern.resource_name(),
                names.join(", ")
            )));
        }
    }
    Ok(wanted)
}

fn cluster() -> Pattern {
    Pattern { resource_type: CLUSTER, name: "kafka-cluster".to_owned(), pattern_type: LITERAL }
}

fn patterns(options: &Options, pattern_type: i8) -> BTreeSet<Pattern> {
    let mut patterns = BTreeSet::new();
    for (option, resource_type) in [
        ("topic", TOPIC),
        ("group", GROUP),
        ("transactional-id", TRANSACTIONAL_ID),
        ("delegation-token", DELEGATION_TOKEN),
        ("user-principal", USER),
    ] {
        let names = options.all(option).iter().map(|name| name.trim().to_owned());
        patterns.extend(names.map(|name| Pattern { resource_type, name, pattern_type }));
    }
    if pattern_type == LITERAL && (options.has("cluster") || options.has("idempotent")) {
        patterns.insert(cluster());
    }
    patterns
}

fn accesses(options: &Options, operations: &[i8]) -> BTreeSet<Access> {
    let mut accesses = BTreeSet::new();
    for (principals, hosts, permission) in
        [("allow-principal", "allow-host", ALLOW), ("deny-principal", "deny-host", DENY)]
    {
        let hosts: Vec<String> = match options.all(hosts) {
            [] => vec!["*".to_owned()],
            given => given.iter().map(|host| host.trim().to_owned()).collect(),
        };
        for principal in options.all(principals) {
            for host in &hosts {
                accesses.extend(operations.iter().map(|&operation| Access {
                    principal: principal.trim().to_owned(),
                    host: host.clone(),
                    operation,
                    permission,
                }));
            }
        }
    }
    accesses
}

fn check(options: &Options) -> Result<i8, Failure> {
    let has = |name: &str| options.has(name);
    if has("bootstrap-server") && has("bootstrap-controller") {
        return Err(Failure::usage("Only one of --bootstrap-server or --bootstrap-controller must be specified"));
    }
    if !has("bootstrap-server") && !has("bootstrap-controller") {
        return Err(Failure::usage("One of --bootstrap-server or --bootstrap-controller must be specified"));
    }
    if ["list", "add", "remove"].iter().filter(|action| has(action)).count() != 1 {
        return Err(Failure::usage("Command must include exactly one action: --list, --add, --remove. "));
    }
    options.refuse_with(
        "list",
        &["producer", "consumer", "allow-host", "allow-principal", "deny-host", "deny-principal"],
    )?;
    options.refuse_with("producer", &["operation", "deny-principal", "deny-host"])?;
    options.refuse_with("consumer", &["operation", "deny-principal", "deny-host"])?;
    if has("principal") && !has("list") {
        return Err(Failure::usage("The --principal option is only available if --list is set"));
    }
    if has("producer") && !has("topic") {
        return Err(Failure::usage("With --producer you must specify a --topic"));
    }
    if has("idempotent") && !has("producer") {
        return Err(Failure::usage("The --idempotent option is only available if --producer is set"));
    }
    let of_others = !has("producer") && (has("cluster") || has("transactional-id"));
    if has("consumer") && (!has("topic") || !has("group") || of_others) {
        return Err(Failure::usage(
            "With --consumer you must specify a --topic and a --group and no --cluster or --transactional-id option should be specified.",
        ));
    }
    let principals = options.all("allow-principal").iter().chain(options.all("deny-principal"));
    if let Some(wrong) = principals.chain(options.all("principal")).find(|name| !name.contains(':')) {
        return Err(Failure::failed(format!(
            "expected a string in format principalType:principalName but got {wrong}"
        )));
    }
    let name = options.text("resource-pattern-type").unwrap_or("literal");
    pattern_type(name)
        .ok_or_else(|| Failure::failed(format!("Cannot parse argument '{name}' of option resource-pattern-type")))
}
