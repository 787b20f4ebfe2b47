//! `meta.properties`: which cluster, node and directory a log directory belongs to.

use std::collections::BTreeMap;

use ottla_protocol::BrokerId;
use ottla_protocol::ids::{decode_uuid, encode_uuid};
use uuid::Uuid;

/// The file's name.
pub const FILE: &str = "meta.properties";

/// What the file says. Keys of others are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    pub cluster_id: String,
    pub node_id: BrokerId,
    /// Missing in directories that an old Kafka formatted.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = format!("#\nversion=1\ncluster.id={}\nnode.id={}\n", self.cluster_id, self.node_id);
        if let Some(id) = self.directory_id {
            text.push_str(&format!("directory.id={}\n", encode_uuid(id)));
        }
        text
    }

    /// From the file's text; the reason if it is damaged.
    pub fn decode(text: &str) -> Result<Self, String> {
        let values: BTreeMap<&str, &str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with(['#', '!']))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let get = |key: &str| values.get(key).copied().ok_or_else(|| format!("{FILE} has no {key}"));
        let node_key = if get("version")? == "0" { "broker.id" } else { "node.id" };
        let node_id = get(node_key)?.parse().map_err(|_| format!("{FILE}: {node_key} is no number"))?;
        let directory_id = match values.get("directory.id") {
            Some(id) => Some(decode_uuid(id).ok_or_else(|| format!("{FILE}: directory.id is no id"))?),
            None => None,
        };
        // The `=` padding of a Java properties file is escaped.
        let cluster_id = get("cluster.id")?.replace("\\=", "=");
        Ok(Self { cluster_id, node_id: BrokerId(node_id), directory_id })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_its_own_and_kafkas() {
        let own = MetaProperties {
            cluster_id: "5L6g3nShT-eMCtK--X86sw".into(),
            node_id: BrokerId(3),
            directory_id: Some(Uuid::from_u128(77)),
        };
        assert_eq!(MetaProperties::decode(&own.encode()).unwrap(), own);
        let old = MetaProperties::decode("#\n#Mon\nversion=0\nbroker.id=9\ncluster.id=x\n").unwrap();
        assert_eq!((old.node_id, old.directory_id), (BrokerId(9), None));
        assert!(MetaProperties::decode("version=1\n").is_err());
    }
}
