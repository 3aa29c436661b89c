//! The files of a server's configuration, seen through its own root directory: a server in a container has another one.
//!
//! Everything is bounded: the size of a file, and how many one configuration includes.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::IngestError;

/// A longer file is not read.
const LONGEST_BYTES: u64 = 4 << 20;

/// A pattern that matches more names is refused.
const MOST_MATCHES: usize = 1000;

/// Where a server's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    root: PathBuf,
}

impl Default for ServerFiles {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl ServerFiles {
    /// The files of a process whose root directory is reached by that path (`/proc/PID/root`).
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// How this process reaches a path of the server.
    pub fn reach(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(below) => self.root.join(below),
            Err(_) => path.to_owned(),
        }
    }

    /// Reads a file; what is not UTF-8 is replaced.
    pub(crate) fn read(&self, path: &Path) -> Result<String, IngestError> {
        let unreadable = |source| IngestError::Unreadable { path: path.to_owned(), source };
        let file = self.open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(LONGEST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LONGEST_BYTES {
            return Err(IngestError::too_much(path, format!("it is larger than {} MiB", LONGEST_BYTES >> 20)));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Opens a regular file: a pipe or a device would keep the reader waiting.
    fn open(&self, path: &Path) -> io::Result<File> {
        let reached = self.reach(path);
        if !fs::metadata(&reached)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        File::open(reached)
    }

    /// Whether a regular file is there.
    pub fn is_file(&self, path: &Path) -> bool {
        fs::metadata(self.reach(path)).is_ok_and(|metadata| metadata.is_file())
    }

    /// Whether a directory is there.
    pub fn is_directory(&self, path: &Path) -> bool {
        fs::metadata(self.reach(path)).is_ok_and(|metadata| metadata.is_dir())
    }

    /// The files that a path with `*`, `?` and `[…]` in it means, in the order of their names. A path without them is itself.
    pub(crate) fn matching(&self, pattern: &Path) -> Result<Vec<PathBuf>, IngestError> {
        let is_pattern = |part: &str| part.contains(['*', '?', '[']);
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let part = part.as_os_str();
            match part.to_str().filter(|part| is_pattern(part)) {
                None => found.iter_mut().for_each(|path| path.push(part)),
                Some(part) => found = found.iter().flat_map(|directory| self.names_in(directory, part)).collect(),
            }
            if found.len() > MOST_MATCHES {
                return Err(IngestError::too_much(pattern, format!("it includes more than {MOST_MATCHES} files")));
            }
        }
        Ok(found)
    }

    fn names_in(&self, directory: &Path, pattern: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.reach(directory)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let fits = |name: &String| (!name.starts_with('.') || pattern.starts_with('.')) && fits(pattern, name);
        let mut found: Vec<PathBuf> =
            names.filter(fits).take(MOST_MATCHES + 1).map(|name| directory.join(name)).collect();
        found.sort();
        found
    }
}

/// Whether a name fits a pattern of the shell (`*`, `?`, `[a-z]`, `[!a]`).
fn fits(pattern: &str, name: &str) -> bool {
    let mut expression = String::from("^(?s:");
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' => {
                let set: String = rest.by_ref().take_while(|c| *c != ']').collect();
                let (negation, set) = set.strip_prefix('!').map_or(("", set.as_str()), |set| ("^", set));
                let set = set.replace(['\\', '[', '&', '~'], "");
                expression.extend(["[", negation, &set, "]"]);
            }
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str(")$");
    regex::Regex::new(&expression).is_ok_and(|expression| expression.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_shell_name_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("etc/conf.d");
        fs::create_dir_all(&conf).unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "a.conf.bak", "c1.conf"] {
            fs::write(conf.join(name), "").unwrap();
        }
        let files = ServerFiles::below(dir.path());
        let named = |pattern: &str| files.matching(Path::new(pattern)).unwrap();
        assert_eq!(
            named("/etc/conf.d/*.conf"),
            ["a", "b", "c1"].map(|n| PathBuf::from(format!("/etc/conf.d/{n}.conf")))
        );
        assert_eq!(named("/etc/*/[bc]*.conf"), ["b", "c1"].map(|n| PathBuf::from(format!("/etc/conf.d/{n}.conf"))));
        assert_eq!(named("/etc/conf.d/?.conf").len(), 2);
        assert_eq!(named("/none.conf"), [PathBuf::from("/none.conf")], "a plain name need not exist");
        assert!(named("/etc/conf.d/[.conf").is_empty());
    }

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = ServerFiles::below(dir.path());
        fs::write(dir.path().join("x"), b"a\xff").unwrap();
        assert_eq!(files.read(Path::new("/x")).unwrap(), "a\u{fffd}");
        File::create(dir.path().join("large")).unwrap().set_len(LONGEST_BYTES + 1).unwrap();
        assert!(matches!(files.read(Path::new("/large")), Err(IngestError::TooMuch { .. })));
        assert!(matches!(files.read(Path::new("/")), Err(IngestError::Unreadable { .. })));
        assert!(matches!(files.read(Path::new("/none")), Err(IngestError::Unreadable { .. })));
    }
}
