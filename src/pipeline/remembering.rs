//! The catalogue as the ledger of `deliver`: the state of multipart uploads outlives the process.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use tracing::{debug, warn};

use crate::catalog::{Catalog, NodeCatalog};
use crate::deliver::{Ledger, LedgerFault, SharedKeys, Targets};
use crate::durable::PartialOwner;
use crate::fault::chain;
use crate::fleet::{Fleet, FleetError, ObjectHolder, ProvenKey};
use crate::recording::RemoteObject;

type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

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

/// Where rows of keys are kept that other nodes have not been told about.
const UNTOLD_KEYS: &str = "keys/";
/// Keys that are told at once.
const KEYS_AT_ONCE: usize = 500;

/// The same ledger of a node that has others: keys of stores are taken among all of them.
pub(super) struct FleetLedger<'a> {
    catalog: &'a Catalog,
    fleet: &'a Fleet,
}

impl<'a> FleetLedger<'a> {
    /// With this catalogue, among these nodes.
    pub(super) const fn new(catalog: &'a Catalog, fleet: &'a Fleet) -> Self {
        Self { catalog, fleet }
    }

    /// Notes keys here that other nodes are told about later.
    fn keep(&self, proven: &[ProvenKey]) -> Result<(), LedgerFault> {
        let row = |key: &ProvenKey| {
            let name = format!("{UNTOLD_KEYS}{}", blake3::hash(key.place.as_bytes()).to_hex());
            Ok::<_, LedgerFault>((name, serde_json::to_value(key)?))
        };
        self.put_all(&proven.iter().map(row).collect::<Result<Vec<_>, _>>()?)
    }
}

/// Tells other nodes of keys that were proven while the database was away.
pub(super) fn tell_keys(catalog: &Catalog, fleet: &Fleet) -> Result<(), LedgerFault> {
    let rows = catalog.ledgers(UNTOLD_KEYS)?;
    for rows in rows.chunks(KEYS_AT_ONCE) {
        let proven: Vec<ProvenKey> =
            rows.iter().filter_map(|(_, row)| serde_json::from_value(row.clone()).ok()).collect();
        let others = fleet.note_proven(&proven)?;
        if others > 0 {
            warn!(
                keys = others,
                "other assets have keys that were uploaded while the fleet database was away; see `vod verify`"
            );
        }
        rows.iter().try_for_each(|(name, _)| catalog.remove_ledgers(name))?;
    }
    Ok(())
}

/// Why it is asked whether other nodes have objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// To say it.
    ToSay,
    /// Those that no other node has are deleted next, the others are given up.
    BeforeRemoval,
}

/// Of each object, given with its asset, another node that has it, too; an error if that cannot be asked.
pub(super) fn holders_elsewhere<'a>(
    fleet: Option<&Fleet>,
    targets: &Targets,
    objects: impl Iterator<Item = (&'a str, &'a RemoteObject)>,
    why: Asking,
) -> Result<Vec<Option<ObjectHolder>>, FleetError> {
    let keyed = |(asset, object): (&str, &RemoteObject)| Some((targets.shared_place(object)?, asset.to_owned()));
    let objects: Vec<_> = objects.map(|object| fleet.and_then(|_| keyed(object))).collect();
    let asked: Vec<_> = objects.iter().flatten().cloned().collect();
    let holders = match (fleet, why) {
        (Some(_), _) if asked.is_empty() => Vec::new(),
        (Some(fleet), Asking::ToSay) => {
            let places: Vec<_> = asked.into_iter().map(|(place, _)| place).collect();
            fleet.object_holders(&places)?
        }
        (Some(fleet), Asking::BeforeRemoval) => fleet.begin_removal(&asked)?,
        (None, _) => Vec::new(),
    };
    let holder = |(place, _): &(String, String)| holders.iter().find(|holder| holder.place == *place).cloned();
    Ok(objects.iter().map(|object| object.as_ref().and_then(holder)).collect())
}

impl Ledger for FleetLedger<'_> {
    fn owner(&self) -> PartialOwner {
        Ledger::owner(self.catalog)
    }

    fn put(&self, row: &str, value: &Value) -> Result<(), LedgerFault> {
        self.catalog.put(row, value)
    }

    fn put_all(&self, rows: &[(String, Value)]) -> Result<(), LedgerFault> {
        self.catalog.put_all(rows)
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(String, Value)>, LedgerFault> {
        self.catalog.rows(prefix)
    }

    fn remove(&self, prefix: &str) -> Result<(), LedgerFault> {
        self.catalog.remove(prefix)
    }

    fn take_keys<'a>(&'a self, keys: &'a SharedKeys) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move {
            let places: Vec<_> = keys.places.iter().cloned().zip(keys.sizes.iter().copied()).collect();
            self.fleet.take_keys(&places, &keys.asset_id).await.unwrap_or_else(|error| {
                // The store is asked in any case whether the key is free.
                debug!(asset = keys.asset_id, error = chain(&error), "keys not taken among all nodes");
                true
            })
        })
    }

    fn release_keys<'a>(&'a self, keys: &'a SharedKeys) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = self.fleet.release_keys(&keys.places, &keys.asset_id).await {
                debug!(asset = keys.asset_id, error = chain(&error), "keys not given back among all nodes");
            }
        })
    }

    fn keys_proven<'a>(&'a self, keys: &'a SharedKeys, objects: &'a [RemoteObject]) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            let key = |(place, object): (&String, &RemoteObject)| ProvenKey {
                place: place.clone(),
                asset_id: keys.asset_id.clone(),
                size_bytes: object.size_bytes,
                checksum: object.checksum.clone(),
            };
            let proven: Vec<_> = keys.places.iter().zip(objects).map(key).collect();
            match self.fleet.keys_proven(&proven).await {
                Ok(0) => {}
                Ok(others) => {
                    warn!(
                        asset = keys.asset_id,
                        keys = others,
                        "another asset has the key of an object; see `vod verify`"
                    );
                }
                Err(error) => {
                    debug!(asset = keys.asset_id, error = chain(&error), "other nodes are told of keys later");
                    if let Err(error) = self.keep(&proven) {
                        warn!(
                            asset = keys.asset_id,
                            error = chain(&*error),
                            "cannot note keys that other nodes are to be told about"
                        );
                    }
                }
            }
        })
    }
}
