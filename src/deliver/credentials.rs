//! Where the settings and secrets of a store come from: the environment, and files that a target names.
//!
//! Values pass through here to the builders and are kept nowhere else; nothing here prints one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::{DeliverError, Result};
use super::{DeliverOptions, TargetOptions};
use crate::durable::FileError;
use crate::recording::name::printable;

/// The environment variables a store is set up from.
#[derive(Clone, Default)]
pub(super) struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// This process's own.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).filter(|(_, value)| !value.is_empty()).collect())
    }

    #[cfg(test)]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of several that is set.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|n| self.get(n))
    }

    /// Variables with a prefix, names in lower case, as `object_store`'s builders know them.
    pub fn settings(&self, prefix: &str) -> impl Iterator<Item = (String, &str)> {
        let with_prefix = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        with_prefix.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }
}

/// One secret or setting of `credential_files`.
pub(super) struct SecretSetting {
    /// Its name, lower case, without `_file`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Reads what a target's `credential_files` name: a path, or `env:NAME` for an environment variable.
pub(super) fn secrets(options: &TargetOptions, environment: &Environment) -> Result<Vec<SecretSetting>> {
    let one = |(name, from): (&String, &PathBuf)| {
        let value = match from.to_str().and_then(|f| f.strip_prefix("env:")) {
            Some(variable) => from_variable(options, environment, name, variable),
            None => from_file(options, name, from),
        }?;
        let name = name.to_ascii_lowercase();
        Ok(SecretSetting { name: name.strip_suffix("_file").unwrap_or(&name).to_owned(), value })
    };
    options.credential_files.iter().map(one).collect()
}

fn from_variable(options: &TargetOptions, environment: &Environment, name: &str, variable: &str) -> Result<String> {
    environment.get(variable).map(str::to_owned).ok_or_else(|| {
        let problem = format!("`{name}` comes from the environment variable {variable}, which is not set");
        DeliverError::configuration(&options.name, problem, format!("Set {variable} for this process."))
    })
}

fn from_file(options: &TargetOptions, name: &str, path: &Path) -> Result<String> {
    let read = std::fs::read_to_string(path).map_err(FileError::on("read", path));
    let text = read.map_err(|e| {
        let problem = format!("`{name}`: {}", crate::fault::chain(&e));
        DeliverError::configuration(
            &options.name,
            problem,
            "Correct `credential_files`, or let this user read the file.",
        )
    })?;
    Ok(text.trim().to_owned())
}

/// A file with a secret that its group or others can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadableSecret {
    /// The first target that names it.
    pub target: String,
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for ReadableSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, path) = (crate::recording::name::printable_text(&self.target), printable(&self.path));
        let who = if self.mode & 0o004 == 0 { "the file's group" } else { "every user" };
        write!(f, "the secret `{path}` of target `{target}` can be read by {who} (mode {:04o})", self.mode)
    }
}

impl ReadableSecret {
    /// What to do about it, as a full sentence.
    pub fn remedy(&self) -> String {
        format!("Run `chmod 600 {}`.", printable(&self.path))
    }
}

/// The files in `credential_files` that others than their owner can read, each once. What cannot be looked at is an error when the
/// target is opened.
pub fn readable_secrets(options: &DeliverOptions) -> Vec<ReadableSecret> {
    let mut seen = BTreeSet::new();
    let files = options.targets.iter().flat_map(|t| t.credential_files.values().map(move |path| (t, path)));
    let readable = |(target, path): (&TargetOptions, &PathBuf)| {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let is_news = mode & 0o044 != 0 && seen.insert(path.clone());
        is_news.then(|| ReadableSecret { target: target.name.clone(), path: path.clone(), mode })
    };
    files.filter_map(readable).collect()
}

/// The error for a name in `credential_files` that the store does not know.
pub(super) fn unknown(options: &TargetOptions, name: &str, known: &str) -> DeliverError {
    let problem = format!("`{name}` is not a credential of this store");
    DeliverError::configuration(&options.name, problem, format!("Known credentials: {known}."))
}

/// What counts as true in the environment, to `object_store` as well.
pub(super) fn is_yes(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "from file\n").unwrap();
        let mut options = TargetOptions::new("t", "s3://b");
        options.credential_files.insert("access_key_id_file".into(), file);
        options.credential_files.insert("secret_access_key".into(), "env:MY_SECRET".into());
        let environment = Environment::of(&[("MY_SECRET", "from variable")]);
        let found = secrets(&options, &environment).unwrap();
        let pairs: Vec<_> = found.iter().map(|s| (s.name.as_str(), s.value.as_str())).collect();
        assert_eq!(pairs, [("access_key_id", "from file"), ("secret_access_key", "from variable")]);
        assert!(!format!("{environment:?}").contains("from variable"));
    }

    #[test]
    fn a_secret_that_others_can_read_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = DeliverOptions::default();
        for (n, mode) in [0o600, 0o640, 0o604, 0o400, 0o622].into_iter().enumerate() {
            let file = dir.path().join(format!("{mode:o}"));
            std::fs::write(&file, "x").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut target = TargetOptions::new(&format!("t{n}"), "s3://b");
            target.credential_files.insert("access_key_id".into(), file.clone());
            target.credential_files.insert("secret_access_key".into(), file);
            target.credential_files.insert("token".into(), "env:NAME".into());
            options.targets.push(target);
        }
        let found = readable_secrets(&options);
        let found: Vec<_> = found.iter().map(|secret| (secret.target.as_str(), secret.mode)).collect();
        assert_eq!(found, [("t1", 0o640), ("t2", 0o604)]);
    }

    #[test]
    fn a_missing_file_or_variable_is_a_configuration_error_that_names_it() {
        let mut options = TargetOptions::new("t", "s3://b");
        options.credential_files.insert("secret_access_key".into(), "/nowhere/secret".into());
        let error = secrets(&options, &Environment::default()).err().unwrap();
        assert!(error.is_configuration() && error.to_string().contains("/nowhere/secret"), "{error}");
        options.credential_files.insert("secret_access_key".into(), "env:NOT_SET".into());
        assert!(secrets(&options, &Environment::default()).err().unwrap().to_string().contains("NOT_SET"));
    }
}
