//! Whether a bucket refuses to create an object that is there already, when it is asked to.
//!
//! Some emulators and older servers accept the condition and overwrite all the same. So it is tried once per target, with
//! an object of our own, and remembered in the ledger; where the condition is ignored, the key is looked at once more
//! right before the request that would overwrite it. What could not be tried counts as ignored, and is tried again.

use object_store::{PutMode, PutOptions, PutPayload};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::bucket::{Bucket, key_of};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::Ledger;
use super::location::{answered_for, below};
use crate::durable::PARTIAL_PREFIX;
use crate::fault::{Class, Fault};

/// What is known of a bucket's conditions.
#[derive(Debug, Default)]
pub(super) struct ConditionSupport {
    /// Endpoint, bucket and prefix: what the answer was found for.
    place: String,
    prefix: String,
    are_honoured: Mutex<Option<bool>>,
}

const PROBE_BYTES: &[u8] = b"aftercast tried whether an object can be created twice; this one can be deleted\n";

impl ConditionSupport {
    /// Of a prefix in the bucket that an endpoint and a URL name.
    pub fn of(endpoint: Option<&str>, url: &str, prefix: &str) -> Self {
        Self { place: answered_for(endpoint, url), prefix: prefix.to_owned(), are_honoured: Mutex::new(None) }
    }

    /// The same for every try, so that at most one is ever left where deleting is not allowed.
    fn probe_key(&self) -> String {
        below(&self.prefix, &format!("{PARTIAL_PREFIX}probe-conditions"))
    }

    fn read(&self, row: &Value) -> Option<bool> {
        let is_of_this = row.get("place").and_then(Value::as_str) == Some(self.place.as_str());
        row.get("honoured").and_then(Value::as_bool).filter(|_| is_of_this)
    }
}

impl Bucket {
    /// Whether a conditional put leaves an object that is there as it is.
    pub async fn honours_conditions(&self, ledger: &dyn Ledger) -> Result<bool> {
        if self.backend.provider == Provider::Azure {
            // The service promises it, for block lists too.
            return Ok(true);
        }
        let mut known = self.conditions.are_honoured.lock().await;
        if let Some(honoured) = *known {
            return Ok(honoured);
        }
        let row = format!("conditions/{}", self.target);
        let rows = ledger.rows(&row).map_err(DeliverError::Ledger)?;
        let remembered = rows.iter().find(|(key, _)| *key == row).and_then(|(_, value)| self.conditions.read(value));
        if remembered.is_some() {
            *known = remembered;
            return Ok(remembered == Some(true));
        }
        let Some(honoured) = self.try_conditions().await else { return Ok(false) };
        let value = json!({ "place": self.conditions.place, "honoured": honoured });
        ledger.put(&row, &value).map_err(DeliverError::Ledger)?;
        if !honoured {
            tracing::info!(target = %self.target, "the store ignores conditional writes; keys are checked before they are written");
        }
        *known = Some(honoured);
        Ok(honoured)
    }

    /// Creates an object twice; `None` if what came of it says nothing, or it could not be cleared away.
    async fn try_conditions(&self) -> Option<bool> {
        let key = self.conditions.probe_key();
        // An object that an earlier try left is as good as a first one.
        let first = self.creates(&key).await;
        let answer = match first {
            Some(true) => self.creates(&key).await.map(|created| !created),
            Some(false) => Some(true),
            None => None,
        };
        match self.delete(&key).await {
            Err(error) if error.class() != Class::Environment => None,
            _ => answer,
        }
    }

    /// Whether a conditional put stores an object; `None` if neither that nor its refusal was heard.
    async fn creates(&self, key: &str) -> Option<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from_static(PROBE_BYTES);
        let path = key_of(key);
        let put = self.call(Verb::Put, key, self.backend.store.put_opts(&path, payload, options)).await;
        match put {
            Ok(_) => Some(true),
            Err(error) if error.cause() == Some(&Cause::Taken) => Some(false),
            Err(_) => None,
        }
    }
}
