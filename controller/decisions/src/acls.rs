//! Access rules: added one by one, removed by filter.

use std::sync::Arc;

use ottla_metadata::{AccessControlEntry, MetadataRecord};
use ottla_protocol::messages::create_acls_request::AclCreation;
use ottla_protocol::messages::create_acls_response::AclCreationResult;
use ottla_protocol::messages::delete_acls_request::DeleteAclsFilter;
use ottla_protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use ottla_protocol::messages::{CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use crate::error::{ApiError, wire};
use crate::request::Decision;
use crate::state::{Context, ControllerState};

const UNKNOWN: i8 = 0;
const ANY: i8 = 1;
/// A filter for every pattern that applies to a name.
const PATTERN_MATCH: i8 = 2;
const PATTERN_LITERAL: i8 = 3;
const PATTERN_PREFIXED: i8 = 4;
const PERMISSION_DENY: i8 = 2;
const PERMISSION_ALLOW: i8 = 3;

impl ControllerState {
    /// CreateAcls, all versions. A rule that exists already is no error and no record.
    pub(crate) fn create_acls(
        &self,
        request: &CreateAclsRequest,
        cx: &mut Context<'_>,
    ) -> Decision<CreateAclsResponse> {
        let mut added: Vec<AccessControlEntry> = Vec::new();
        let mut results = Vec::new();
        for creation in &request.creations {
            let checked = check_creation(creation);
            let (error_code, error_message) = wire(&checked);
            results.push(AclCreationResult::default().with_error_code(error_code).with_error_message(error_message));
            if let Ok(entry) = checked {
                let exists = self.image.acls.iter().any(|(_, known)| **known == entry);
                if !exists && !added.contains(&entry) {
                    added.push(entry);
                }
            }
        }
        let records =
            added.into_iter().map(|entry| MetadataRecord::AccessControl { id: cx.ids.uuid(), entry }).collect();
        Decision { records, response: CreateAclsResponse::default().with_results(results) }
    }

    /// DeleteAcls, all versions.
    pub(crate) fn delete_acls(&self, request: &DeleteAclsRequest) -> Decision<DeleteAclsResponse> {
        let mut records: Vec<MetadataRecord> = Vec::new();
        let mut results = Vec::new();
        for filter in &request.filters {
            let mut result = DeleteAclsFilterResult::default().with_error_message(None);
            if let Err(error) = check_filter(filter) {
                results.push(result.with_error_code(error.code.code()).with_error_message(error.wire_message()));
                continue;
            }
            for (id, entry) in self.image.acls.iter().filter(|(_, entry)| matches(filter, entry)) {
                result.matching_acls.push(matching(entry));
                let record = MetadataRecord::RemoveAccessControl { id };
                if !records.contains(&record) {
                    records.push(record);
                }
            }
            results.push(result);
        }
        Decision { records, response: DeleteAclsResponse::default().with_filter_results(results) }
    }
}

fn check_creation(creation: &AclCreation) -> Result<AccessControlEntry, ApiError> {
    let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidRequest, message));
    let name = |code: i8| if code == ANY { "ANY" } else { "UNKNOWN" };
    if creation.resource_type <= ANY {
        return refuse(format!("Invalid resourceType {}", name(creation.resource_type)));
    }
    if !matches!(creation.resource_pattern_type, PATTERN_LITERAL | PATTERN_PREFIXED) {
        let kind = if creation.resource_pattern_type == PATTERN_MATCH {
            "MATCH"
        } else {
            name(creation.resource_pattern_type)
        };
        return refuse(format!("Invalid patternType {kind}"));
    }
    if creation.operation <= ANY {
        return refuse(format!("Invalid operation {}", name(creation.operation)));
    }
    if !matches!(creation.permission_type, PERMISSION_DENY | PERMISSION_ALLOW) {
        return refuse(format!("Invalid permissionType {}", name(creation.permission_type)));
    }
    if creation.resource_name.is_empty() {
        return refuse("Resource name should not be empty".to_owned());
    }
    if !creation.principal.contains(':') {
        return refuse(format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the principal \
             name)",
            creation.principal
        ));
    }
    Ok(AccessControlEntry {
        resource_type: creation.resource_type,
        resource_name: creation.resource_name.as_str().into(),
        pattern_type: creation.resource_pattern_type,
        principal: creation.principal.as_str().into(),
        host: creation.host.as_str().into(),
        operation: creation.operation,
        permission_type: creation.permission_type,
    })
}

fn check_filter(filter: &DeleteAclsFilter) -> Result<(), ApiError> {
    if filter.resource_type_filter == UNKNOWN || filter.pattern_type_filter == UNKNOWN {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "Unknown patternFilter."));
    }
    if filter.operation == UNKNOWN || filter.permission_type == UNKNOWN {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "Unknown entryFilter."));
    }
    Ok(())
}

fn matches(filter: &DeleteAclsFilter, entry: &AccessControlEntry) -> bool {
    let code = |filter: i8, value: i8| filter == ANY || filter == value;
    let text = |filter: &Option<StrBytes>, value: &Arc<str>| filter.as_ref().is_none_or(|wanted| **wanted == **value);
    let pattern = filter.pattern_type_filter;
    let named = filter.resource_name_filter.as_ref().is_none_or(|name| match entry.pattern_type {
        kind if pattern == ANY || pattern == kind => **name == *entry.resource_name,
        PATTERN_LITERAL => **name == *entry.resource_name || &*entry.resource_name == "*",
        PATTERN_PREFIXED => name.starts_with(&*entry.resource_name),
        _ => false,
    });
    named
        && (pattern == PATTERN_MATCH || code(pattern, entry.pattern_type))
        && code(filter.resource_type_filter, entry.resource_type)
        && text(&filter.principal_filter, &entry.principal)
        && text(&filter.host_filter, &entry.host)
        && code(filter.operation, entry.operation)
        && code(filter.permission_type, entry.permission_type)
}

fn matching(entry: &AccessControlEntry) -> DeleteAclsMatchingAcl {
    let text = |value: &Arc<str>| StrBytes::from_string(value.to_string());
    DeleteAclsMatchingAcl::default()
        .with_error_message(None)
        .with_resource_type(entry.resource_type)
        .with_resource_name(text(&entry.resource_name))
        .with_pattern_type(entry.pattern_type)
        .with_principal(text(&entry.principal))
        .with_host(text(&entry.host))
        .with_operation(entry.operation)
        .with_permission_type(entry.permission_type)
}
