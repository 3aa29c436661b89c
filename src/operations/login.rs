//! One-time codes with which a browser logs in: made for whoever may operate the daemon, given to the page in the fragment of its
//! address, and exchanged once for a session.
//!
//! A code is 128 random bits, valid for two minutes and once. Only its digest is kept, in memory: a restart forgets all of them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, ItemSink, NoItem, Operation, OperationError};

/// How long a code is valid.
const LIVES_MS: i64 = 120_000;
/// Codes at once; the oldest makes room.
const MOST: usize = 16;
/// Random bytes of a code.
const CODE_BYTES: usize = 16;

/// Codes that were made and not used yet, and where the page is.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    codes: Arc<Mutex<Vec<(blake3::Hash, i64)>>>,
    address: Arc<OnceLock<String>>,
}

impl Logins {
    /// The page is served there from now on.
    pub fn say_address(&self, address: String) {
        let _ = self.address.set(address);
    }

    /// Where the page is served, if it is: `http://127.0.0.1:8420/`.
    pub fn address(&self) -> Option<&str> {
        self.address.get().map(String::as_str)
    }

    /// No code that was made before is valid any more.
    pub fn forget_all(&self) {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn make(&self, now_ms: i64) -> Result<LoginCode, OperationError> {
        let mut bytes = [0; CODE_BYTES];
        getrandom::fill(&mut bytes).map_err(|e| OperationError::internal(format!("no random numbers: {e}")))?;
        let code = hex::encode(bytes);
        let expires_ms = now_ms.saturating_add(LIVES_MS);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MOST {
            codes.remove(0);
        }
        codes.push((blake3::hash(code.as_bytes()), expires_ms));
        Ok(LoginCode { code, expires_ms, address: self.address().map(str::to_owned) })
    }

    /// Whether a code is valid; it is not any more afterwards.
    pub fn redeem(&self, code: &str, now_ms: i64) -> bool {
        let digest = blake3::hash(code.as_bytes());
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|(_, expires_ms)| *expires_ms > now_ms);
        let found = codes.iter().position(|(known, _)| *known == digest);
        found.map(|at| codes.remove(at)).is_some()
    }
}

/// Makes a code that logs a browser in once, with the right to operate, within two minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeLogin {}

/// The code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoginCode {
    /// What the page exchanges for a session; secret.
    pub code: String,
    /// Until when, milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// Where the page is served, if it is.
    pub address: Option<String>,
}

impl Operation for MakeLogin {
    type Item = NoItem;
    type Data = LoginCode;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<LoginCode, OperationError> {
        context.logins().make(context.pipeline().clock.now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_valid_once_and_not_for_long() {
        let logins = Logins::default();
        let code = logins.make(1_000).unwrap().code;
        assert!(code.len() == 32 && !logins.redeem("another", 1_000));
        assert!(logins.redeem(&code, 1_000 + LIVES_MS - 1));
        assert!(!logins.redeem(&code, 1_000), "used");
        let late = logins.make(1_000).unwrap().code;
        assert!(!logins.redeem(&late, 1_000 + LIVES_MS));
    }

    #[test]
    fn the_oldest_code_makes_room() {
        let logins = Logins::default();
        let codes: Vec<_> = (0..=MOST).map(|_| logins.make(0).unwrap().code).collect();
        assert!(!logins.redeem(&codes[0], 0));
        assert!(logins.redeem(&codes[1], 0) && logins.redeem(&codes[MOST], 0));
    }
}
