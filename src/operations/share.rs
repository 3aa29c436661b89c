//! Links that let anybody play one VoD until they expire.
//!
//! A link names the VoD and its last moment, and an HMAC-SHA256 over both with a key of the state directory. Nothing is kept for a
//! link: removing the key (`share.key`) and restarting takes all of them back.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hmac::{Hmac, Mac as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::vods::known;
use super::{Context, ItemSink, NoItem, Operation, OperationError};
use crate::durable::{self, FileError};

/// How long a link may live, seconds: a year.
const LONGEST_S: u64 = 366 * 24 * 3_600;
/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// Makes a link that plays a VoD without a token until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShareVod {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// How long the link lives, seconds; a day if it is not said, a year at most.
    #[serde(default = "a_day")]
    pub expires_in_s: u64,
}

const fn a_day() -> u64 {
    24 * 3_600
}

/// The link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SharedLink {
    /// Its path, relative to the address of the server: `share/ID/EXPIRES/SIGNATURE`.
    pub path: String,
    /// When it expires, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

impl Operation for ShareVod {
    type Item = NoItem;
    type Data = SharedLink;

    fn run(&self, context: &Context, _tell: ItemSink<'_, NoItem>) -> Result<SharedLink, OperationError> {
        if !(1..=LONGEST_S).contains(&self.expires_in_s) {
            return Err(OperationError::invalid(format!("`expiresInS` must be from 1 to {LONGEST_S}")));
        }
        let ctx = context.pipeline();
        let id = known(ctx, &self.id)?.vod_id;
        let lives_ms = i64::try_from(self.expires_in_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        let expires_ms = ctx.clock.now_ms().saturating_add(lives_ms);
        let signature = hex::encode(code(&ctx.settings().state_dir, &id, expires_ms)?.finalize().into_bytes());
        Ok(SharedLink { path: format!("share/{id}/{expires_ms}/{signature}"), expires_ms })
    }
}

/// Whether a link is one that [`ShareVod`] made and has not expired.
pub fn check_link(context: &Context, id: &str, expires_ms: i64, signature: &str) -> Result<(), OperationError> {
    let unknown = || OperationError::not_found("this link is not valid");
    let signature = hex::decode(signature).map_err(|_| unknown())?;
    let code = code(&context.pipeline().settings().state_dir, id, expires_ms)?;
    code.verify_slice(&signature).map_err(|_| unknown())?;
    if context.pipeline().clock.now_ms() >= expires_ms {
        return Err(OperationError::not_found("this link has expired").with_next_step("Ask for a new one."));
    }
    Ok(())
}

fn code(state_dir: &Path, id: &str, expires_ms: i64) -> Result<Hmac<Sha256>, OperationError> {
    let path = state_dir.join("share.key");
    let key = key(&path).map_err(FileError::on("read", &path))?;
    let code = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| OperationError::internal("the key has no length"))?;
    // An id holds no line break.
    Ok(code.chain_update(format!("{id}\n{expires_ms}")))
}

/// The key; made when it is needed for the first time.
fn key(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(key) if key.len() == KEY_BYTES => Ok(key),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a key of this program; remove it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => made(path),
        Err(error) => Err(error),
    }
}

/// Written aside and linked: of two that make it at once one wins, and it is there whole or not at all.
fn made(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let aside = path.with_extension(format!("{}.new", hex::encode(&key[..8])));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => durable::sync_parent(path).map_err(|error| error.source)?,
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("share.key");
        let first = key(&path).unwrap();
        assert_eq!((first.len(), key(&path).unwrap()), (KEY_BYTES, first.clone()));
        assert!(first.iter().any(|byte| *byte != 0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "short").unwrap();
        assert_eq!(key(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
