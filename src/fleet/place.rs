//! How far the database has been told: noted in the local catalogue, beside this consumer's cursor in the event log.

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::error::FleetError;
use crate::catalog::{CatalogError, ConsumerStart, SharedCatalog};

/// Under which name the place in the event log is kept.
pub(super) const CONSUMER: &str = "fleet";

/// What was noted last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Place {
    /// Whose place it is.
    pub node_id: String,
    /// Which database was told.
    pub database_id: String,
    /// This life of the node; 0 before the first.
    pub epoch: i64,
    /// The last batch that the database has confirmed, or was found to have. It never becomes smaller, whichever database is told.
    pub batch: u64,
    /// Every record is told again: those of the database that are not younger than this epoch and revision are unknown here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resync: Option<(i64, u64)>,
    /// Whether every stream's parameters were marked once, so that the database is told of those that were learned before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tells_streams: bool,
    /// The last event that the database has confirmed.
    #[serde(skip)]
    pub cursor: u64,
}

impl Place {
    /// What is noted; a place of its own is made at the first call.
    pub fn load(shared: &SharedCatalog) -> Result<Self, CatalogError> {
        shared.add_consumer(CONSUMER, ConsumerStart::Oldest)?;
        let Some((cursor, memory)) = shared.consumer(CONSUMER)? else { return Ok(Self::default()) };
        let place = memory.map(serde_json::from_value::<Self>).transpose().unwrap_or_else(|error| {
            // Of a later version, perhaps; then everything is told again.
            warn!(error = crate::fault::chain(&error), "the place of this node in the fleet database is not readable");
            None
        });
        Ok(Self { cursor, ..place.unwrap_or_default() })
    }

    /// Notes it.
    pub fn save(&self, shared: &SharedCatalog, is_durable: bool) -> Result<(), FleetError> {
        let memory = serde_json::to_value(self).map_err(FleetError::Unreadable)?;
        Ok(shared.note_consumer(CONSUMER, self.cursor, Some(&memory), is_durable)?)
    }
}
