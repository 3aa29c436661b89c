//! What other rooms ask to have remembered between starts: the state of multipart uploads, and the last good codec
//! configuration of each stream. Opaque here.

use serde_json::Value;

use super::error::Result;
use super::node::NodeCatalog;
use super::rows::{decode, encode};
use super::tree::TreeId;

impl NodeCatalog {
    /// Remembers the state of an upload; durable on return.
    pub fn put_ledger(&self, key: &str, state: &Value) -> Result<()> {
        self.store().transact(|tx| tx.write(TreeId::Ledger, key, state))?;
        self.store().flush("ledger written")
    }

    /// Remembers several at once, with one flush; durable on return.
    pub fn put_ledgers(&self, rows: &[(String, Value)]) -> Result<()> {
        self.store().transact(|tx| rows.iter().try_for_each(|(key, state)| tx.write(TreeId::Ledger, key, state)))?;
        self.store().flush("ledger written")
    }

    /// The state of an upload.
    pub fn ledger(&self, key: &str) -> Result<Option<Value>> {
        self.store().read(TreeId::Ledger, key)
    }

    /// The states of all uploads whose keys begin with `prefix`, by key.
    pub fn ledgers(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        let rows = self.store().prefix(TreeId::Ledger, prefix.as_bytes())?;
        let read = |(key, value): (sled::IVec, sled::IVec)| {
            Ok((String::from_utf8_lossy(&key).into_owned(), decode(TreeId::Ledger, &key, &value)?))
        };
        rows.map(|row| row.and_then(read)).collect()
    }

    /// Forgets an upload; durable on return.
    pub fn remove_ledger(&self, key: &str) -> Result<()> {
        self.store().transact(|tx| tx.remove(TreeId::Ledger, key))?;
        self.store().flush("ledger removed")
    }

    /// Forgets every upload whose key begins with `prefix`, at once; durable on return.
    pub fn remove_ledgers(&self, prefix: &str) -> Result<()> {
        let keys = self.store().prefix(TreeId::Ledger, prefix.as_bytes())?.map(|row| row.map(|(key, _)| key));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Ok(());
        }
        self.store().transact(|tx| keys.iter().try_for_each(|key| tx.remove(TreeId::Ledger, key)))?;
        self.store().flush("ledger removed")
    }

    /// Remembers the codec configuration of a stream, in place of the one before. Writes nothing if it is the same; durable on
    /// return, since it may be the last that this process writes, and the next recording may be the one that crashes.
    pub fn remember_codec(&self, stream_id: &str, configuration: &Value) -> Result<()> {
        let value = encode(TreeId::Codecs, stream_id.as_bytes(), configuration)?;
        if self.store().get(TreeId::Codecs, stream_id)?.is_some_and(|old| *old == *value) {
            return Ok(());
        }
        let is_marked = self.store().marks_changes();
        self.store().transact(|tx| {
            if is_marked {
                tx.put(TreeId::Taught, stream_id, b"")?;
            }
            tx.put(TreeId::Codecs, stream_id, value.as_slice())
        })?;
        self.store().flush("codec remembered")
    }

    /// The codec configurations of other streams, at most so many.
    pub fn codecs_of_others(&self, stream_id: &str, most: usize) -> Result<Vec<Value>> {
        let rows = self.store().prefix(TreeId::Codecs, b"")?;
        let others = rows.filter(|row| row.as_ref().map_or(true, |(key, _)| key.as_ref() != stream_id.as_bytes()));
        others.take(most).map(|row| row.and_then(|(key, value)| decode(TreeId::Codecs, &key, &value))).collect()
    }

    /// The codec configurations of a stream that are remembered.
    pub fn codecs(&self, stream_id: &str) -> Result<Option<Value>> {
        self.store().read(TreeId::Codecs, stream_id)
    }
}
