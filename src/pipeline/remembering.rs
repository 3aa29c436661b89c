//! The catalogue as the ledger of `deliver`: the state of multipart uploads outlives the process.

use serde_json::Value;

use crate::catalog::{Catalog, NodeCatalog};
use crate::deliver::{Ledger, LedgerFault};
use crate::durable::PartialOwner;

impl Ledger for Catalog {
    fn owner(&self) -> PartialOwner {
        NodeCatalog::owner(self).clone()
    }

    fn put(&self, row: &str, value: &Value) -> Result<(), LedgerFault> {
        self.put_ledger(row, value).map_err(Into::into)
    }

    fn put_all(&self, rows: &[(String, Value)]) -> Result<(), LedgerFault> {
        self.put_ledgers(rows).map_err(Into::into)
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Value)>, LedgerFault> {
        self.ledgers(prefix).map_err(Into::into)
    }

    fn remove(&self, prefix: &str) -> Result<(), LedgerFault> {
        self.remove_ledgers(prefix).map_err(Into::into)
    }
}
