//! The identity of a node among others: a random UUID in a file of the state directory. It outlives the catalogue beside it, so
//! that a rebuilt catalogue belongs to the node that it was.

use std::fs;
use std::io;
use std::path::Path;

use super::error::{CatalogError, Result};
use super::state_dir::{on, write_whole};

/// The file; its one line is the UUID.
pub const NODE_ID_FILE: &str = "node-id";

/// The node's identity, which is made where there is none yet.
pub fn node_id(state_dir: &Path) -> Result<String> {
    if let Some(known) = known_node_id(state_dir)? {
        return Ok(known);
    }
    let path = state_dir.join(NODE_ID_FILE);
    let id = random_uuid().map_err(on("make", &path))?;
    write_whole(&path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// The node's identity if it has one.
pub fn known_node_id(state_dir: &Path) -> Result<Option<String>> {
    let path = state_dir.join(NODE_ID_FILE);
    let wrong = |source| CatalogError::Identity { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) if is_node_id(text.trim()) => Ok(Some(text.trim().to_owned())),
        Ok(_) => Err(wrong(io::Error::new(io::ErrorKind::InvalidData, "it is not a UUID"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error)),
    }
}

/// Whether a text has the form of an identity: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
pub fn is_node_id(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(is_hex)
}

/// Version 4 of RFC 9562 §5.4.
fn random_uuid() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    Ok([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let id = node_id(dir.path()).unwrap();
        assert!(is_node_id(&id), "{id}");
        assert_eq!(node_id(dir.path()).unwrap(), id);
        fs::write(dir.path().join(NODE_ID_FILE), "something else\n").unwrap();
        assert!(node_id(dir.path()).unwrap_err().to_string().contains(NODE_ID_FILE));
        assert_eq!(fs::read_to_string(dir.path().join(NODE_ID_FILE)).unwrap(), "something else\n");
    }
}
