//! Which APIs and versions a listener serves: what the handlers say they have built.

use super::{Api, ApiSpec};

/// One listener's APIs, looked up by key.
#[derive(Debug, Clone)]
pub struct ApiTable {
    /// By API key.
    rows: Vec<Option<ApiSpec>>,
    /// Our own messages, which are not advertised.
    private: Vec<ApiSpec>,
}

impl ApiTable {
    /// What a broker listener serves.
    pub fn of_broker() -> Self {
        Self::new(Api::specs().into_iter().filter(|spec| spec.listeners.broker))
    }

    /// What a controller listener serves.
    pub fn of_controller() -> Self {
        Self::new(Api::specs().into_iter().filter(|spec| spec.listeners.controller))
    }

    /// What a listener for clients serves on a controller that has no listener for other nodes: both.
    pub fn of_both() -> Self {
        Self::new(Api::specs().into_iter().filter(|spec| spec.listeners.broker || spec.is_private()))
    }

    /// A table of exactly these.
    pub fn new(specs: impl IntoIterator<Item = ApiSpec>) -> Self {
        let mut rows = Vec::new();
        let mut private = Vec::new();
        for spec in specs {
            if spec.is_private() {
                private.push(spec);
                continue;
            }
            let index = usize::try_from(spec.key).unwrap_or(0);
            if rows.len() <= index {
                rows.resize(index + 1, None);
            }
            rows[index] = Some(spec);
        }
        Self { rows, private }
    }

    fn row(&self, key: i16) -> Option<&ApiSpec> {
        match self.rows.get(usize::try_from(key).ok()?) {
            Some(row) => row.as_ref(),
            None => self.private.iter().find(|spec| spec.key == key),
        }
    }

    /// Whether the API is built and belongs here.
    pub fn serves(&self, key: i16) -> bool {
        self.row(key).is_some()
    }

    /// Whether the API is built in this version.
    pub fn serves_version(&self, key: i16, version: i16) -> bool {
        self.row(key).is_some_and(|spec| (spec.min..=spec.max).contains(&version))
    }

    /// Everything advertised, by key.
    pub fn iter(&self) -> impl Iterator<Item = &ApiSpec> {
        self.rows.iter().flatten()
    }
}
