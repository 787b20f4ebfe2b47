//! Property files that tools are given with `--command-config` and its kin.

use std::collections::HashMap;

use super::Failure;

/// The properties of a file; none without a file.
pub fn load(path: Option<&str>) -> Result<HashMap<String, String>, Failure> {
    let Some(path) = path else { return Ok(HashMap::new()) };
    let file = std::fs::File::open(path).map_err(|error| Failure::failed(format!("{path}: {error}")))?;
    java_properties::read(std::io::BufReader::new(file)).map_err(|error| Failure::failed(format!("{path}: {error}")))
}

/// The tools speak plain text only. Where a file asks for more, running open instead would be wrong.
pub fn refuse_security(properties: &HashMap<String, String>) -> Result<(), Failure> {
    match properties.get("security.protocol").map(|text| text.trim().to_ascii_uppercase()) {
        Some(protocol) if protocol != "PLAINTEXT" => {
            Err(Failure::failed(format!("security.protocol={protocol} is not built into this tool; PLAINTEXT is")))
        }
        _ => Ok(()),
    }
}
