//! What may be a recording below a directory, a page at a time, always in the same order: each page begins behind a path, and what lies
//! before it is not looked at again.
//!
//! Names alone decide here. Links are not followed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::candidate::{NameClass, NameRules};
use crate::recording::Fingerprint;

/// A page of files.
#[derive(Debug, Default)]
pub struct FilePage {
    /// Recordings and playlists by their paths below the directory, with the state in which they were seen.
    pub files: Vec<(PathBuf, Fingerprint)>,
    /// Directories below it that could not be read, with why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<PathBuf>,
}

/// Lists up to so many files behind a path. An error if the directory itself cannot be read.
pub fn file_page(root: &Path, rules: &NameRules, after: Option<&Path>, most: usize) -> io::Result<FilePage> {
    let mut walk = Walk { root, rules, most, page: FilePage::default() };
    let after: Vec<OsString> =
        after.into_iter().flat_map(Path::components).map(|part| part.as_os_str().to_owned()).collect();
    walk.visit(Path::new(""), &after)?;
    Ok(walk.page)
}

struct Walk<'a> {
    root: &'a Path,
    rules: &'a NameRules,
    most: usize,
    page: FilePage,
}

impl Walk<'_> {
    /// Looks through a directory behind a place in it. Says whether there is room for more.
    fn visit(&mut self, directory: &Path, after: &[OsString]) -> io::Result<bool> {
        let mut entries = fs::read_dir(self.root.join(directory))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        for name in entries {
            let rest = match after.split_first() {
                Some((first, _)) if name < *first => continue,
                Some((first, rest)) if name == *first => Some(rest),
                _ => None,
            };
            if !self.take(&directory.join(&name), &name, rest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `rest` is where the page begins within this entry; `None`: the page has begun before it.
    fn take(&mut self, path: &Path, name: &OsString, rest: Option<&[OsString]>) -> bool {
        // What goes away meanwhile is not there.
        let Ok(metadata) = fs::symlink_metadata(self.root.join(path)) else { return true };
        if metadata.is_dir() {
            if name.as_bytes().first() == Some(&b'.') {
                return true;
            }
            return match self.visit(path, rest.unwrap_or_default()) {
                Ok(has_room) => has_room,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => {
                    self.page.unreadable.push((path.to_owned(), error));
                    true
                }
            };
        }
        let is_wanted = matches!(self.rules.class(name), NameClass::Recording { .. } | NameClass::Playlist(_));
        if rest.is_some() || !metadata.is_file() || !is_wanted {
            return true;
        }
        if self.page.files.len() == self.most {
            self.page.next = self.page.files.last().map(|(path, _)| path.clone());
            return false;
        }
        self.page.files.push((path.to_owned(), Fingerprint::of(&metadata)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(root: &Path, most: usize) -> Vec<String> {
        let (rules, mut found, mut after) = (NameRules::default(), Vec::new(), None);
        loop {
            let page = file_page(root, &rules, after.as_deref(), most).unwrap();
            assert!(page.files.len() <= most && page.unreadable.is_empty());
            found.extend(page.files.into_iter().map(|(path, _)| path.to_str().unwrap().to_owned()));
            match page.next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    }

    #[test]
    fn pages_of_any_length_hold_every_file_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            "a.mp4",
            "b/c.flv",
            "b/d/e.ts",
            "b/d/show.m3u8",
            "b/f.mp4.tmp",
            "b.mp4",
            "z/.hidden/x.mp4",
            "z/.aftercast-x.mp4",
            "z/notes.txt",
            "z/y.mkv",
        ];
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("b"), dir.path().join("link")).unwrap();
        let whole = all(dir.path(), 100);
        let expected = ["a.mp4", "b/c.flv", "b/d/e.ts", "b/d/show.m3u8", "b/f.mp4.tmp", "b.mp4", "z/y.mkv"];
        assert_eq!(whole, expected);
        for most in 1..5 {
            assert_eq!(all(dir.path(), most), expected, "pages of {most}");
        }
        assert!(file_page(&dir.path().join("nothing"), &NameRules::default(), None, 5).is_err());
    }
}
