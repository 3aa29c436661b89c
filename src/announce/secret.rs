//! The secret of an endpoint: read for each attempt, so that one that was changed is used at once. Kept nowhere and never shown.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::AnnounceError;
use crate::secret;

/// What Standard Webhooks puts in front of a secret in base64.
const PREFIX: &str = "whsec_";

/// Reads a secret from a file or, as `env:NAME`, from the environment. What follows `whsec_` is base64.
pub(super) fn read(from: &Path) -> Result<Vec<u8>, AnnounceError> {
    let bad = |what| AnnounceError::BadSecret { from: from.to_owned(), what };
    let text = secret::read(from).map_err(|source| AnnounceError::Secret { from: from.to_owned(), source })?;
    match (text.trim(), text.trim().strip_prefix(PREFIX)) {
        ("", _) => Err(bad("empty")),
        (_, Some(coded)) => STANDARD.decode(coded).map_err(|_| bad("not base64 after `whsec_`")),
        (plain, None) => Ok(plain.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_text_or_base64_and_its_place_is_named_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file)
        };
        assert_eq!(of("hunter2\n").unwrap(), b"hunter2");
        assert_eq!(of("whsec_aHVudGVyMg==\n").unwrap(), b"hunter2");
        assert!(of(" \n").is_err());
        let error = of("whsec_hunter2!").unwrap_err().to_string();
        assert!(error.contains("secret") && !error.contains("hunter2"), "{error}");
        assert!(read(Path::new("env:AFTERCAST_NOT_SET_ANYWHERE")).is_err());
    }
}
