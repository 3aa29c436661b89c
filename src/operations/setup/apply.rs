//! Writes what a first run decided: the configuration (0640) and, if asked for, files with credentials (0600). Neither replaces
//! a file, but for the configuration as the package ships it.

use std::path::{Path, PathBuf};

use super::accounts::Accounts;
use super::render::USER;
use crate::config::{self, Config, FileText, Sources};
use crate::durable::{self, FileError, NewFile};
use crate::operations::OperationError;
use crate::recording::name::printable;

/// The configuration as the package installs it. It watches nothing.
const PACKAGED: &str = include_str!("../../../packaging/config.toml");

/// A file with a credential. Its contents are never shown.
pub struct Credential {
    /// The name in `credential_files`, such as `access_key_id_file`.
    pub name: String,
    /// Where it is written.
    pub path: PathBuf,
    /// What is written.
    pub value: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Whether something has that name already, a dangling link included.
pub fn is_taken(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Whether a file is the configuration of the package as it was installed: nobody has written in it.
pub fn is_packaged(path: &Path) -> bool {
    durable::holds(path, PACKAGED.as_bytes())
}

/// The error of a configuration that is there already.
pub fn taken(path: &Path) -> OperationError {
    OperationError::invalid(format!("`{}` exists and is never overwritten", printable(path))).with_next_step(
        "Nothing was written; what would have been written is printed above. Move the file away, or name another one with \
         `--config FILE`.",
    )
}

/// Checks the text as if it were the file, with this process's environment over it.
pub fn check(path: &Path, text: &str) -> Result<Config, OperationError> {
    let sources = Sources::of_process(None, &[]);
    let read = config::read(Some(FileText { path, text }), &sources.env, &[]);
    read.map_err(|error| OperationError::configuration(&error))
}

/// Writes the configuration, also in place of the packaged one; the service's group may read it.
pub fn write_configuration(path: &Path, text: &str, is_root: bool, accounts: &Accounts) -> Result<(), OperationError> {
    let group = accounts.group(USER).filter(|_| is_root);
    let file = NewFile { contents: text.as_bytes(), mode: 0o640, user: None, group };
    if is_packaged(path) {
        return written(path, durable::replace_known(path, file, PACKAGED.as_bytes()));
    }
    write(path, file)
}

/// Writes a file with a credential; the service's user may read it.
pub fn write_credential(credential: &Credential, is_root: bool, accounts: &Accounts) -> Result<(), OperationError> {
    let contents = format!("{}\n", credential.value);
    let (user, group) = (accounts.user(USER).filter(|_| is_root), accounts.group(USER).filter(|_| is_root));
    write(&credential.path, NewFile { contents: contents.as_bytes(), mode: 0o600, user, group })
}

fn write(path: &Path, file: NewFile<'_>) -> Result<(), OperationError> {
    let directory = path.parent().map_or(Ok(()), durable::create_directories);
    written(path, directory.and_then(|()| durable::create_new(path, file)))
}

fn written(path: &Path, result: Result<(), FileError>) -> Result<(), OperationError> {
    result.map_err(|error| if error.is_taken() { taken(path) } else { error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_are_made_with_their_mode_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("etc/aftercast/config.toml");
        let accounts = Accounts::default();
        write_configuration(&config, "# one\n", false, &accounts).unwrap();
        assert_eq!((std::fs::read_to_string(&config).unwrap().as_str(), mode(&config)), ("# one\n", 0o640));
        let again = write_configuration(&config, "# two\n", false, &accounts).unwrap_err();
        assert!(again.to_string().contains("exists and is never overwritten"), "{again}");
        assert_eq!(std::fs::read_to_string(&config).unwrap(), "# one\n");

        let link = dir.path().join("link.toml");
        symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(is_taken(&link) && write_configuration(&link, "x", false, &accounts).is_err());
        assert!(!dir.path().join("nowhere").exists());

        let secret = Credential { name: "k".into(), path: dir.path().join("secret"), value: "hunter2".into() };
        write_credential(&secret, false, &accounts).unwrap();
        assert_eq!(mode(&secret.path), 0o600);
        assert!(!format!("{secret:?}").contains("hunter2"));
        let left = std::fs::read_dir(dir.path().join("etc/aftercast")).unwrap().count();
        assert_eq!(left, 1, "nothing else is left behind");
    }
    #[test]
    fn the_packaged_configuration_is_replaced_only_while_nobody_has_written_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (config, accounts) = (dir.path().join("config.toml"), Accounts::default());
        std::fs::write(&config, PACKAGED).unwrap();
        assert!(is_taken(&config) && is_packaged(&config));
        write_configuration(&config, "# one\n", false, &accounts).unwrap();
        assert_eq!((std::fs::read_to_string(&config).unwrap().as_str(), mode(&config)), ("# one\n", 0o640));
        assert!(!is_packaged(&config), "what was written is somebody's own");

        let edited = PACKAGED.replacen("roots = []", "roots = [\"/srv\"]", 1);
        let of_same_length = PACKAGED.replacen("auto", "obs ", 1);
        for own in [edited, of_same_length, format!("{PACKAGED}\n"), String::new()] {
            std::fs::write(&config, &own).unwrap();
            let refused = write_configuration(&config, "# two\n", false, &accounts).unwrap_err();
            assert!(refused.to_string().contains("exists and is never overwritten"), "{refused}");
            // Nor if it was edited after it was looked at.
            let file = NewFile { contents: b"# two\n", mode: 0o640, user: None, group: None };
            assert!(durable::replace_known(&config, file, PACKAGED.as_bytes()).unwrap_err().is_taken());
            assert_eq!(std::fs::read_to_string(&config).unwrap(), own);
        }

        let (packaged, link) = (dir.path().join("packaged.toml"), dir.path().join("link.toml"));
        std::fs::write(&packaged, PACKAGED).unwrap();
        symlink(&packaged, &link).unwrap();
        assert!(!is_packaged(&link) && write_configuration(&link, "x", false, &accounts).is_err());
        assert_eq!(std::fs::read_to_string(&packaged).unwrap(), PACKAGED);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left behind");
    }
}
