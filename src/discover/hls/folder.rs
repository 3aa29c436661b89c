//! The files of a unit's directory and of those below it that its playlists name files in, each directory read once.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::UnitKind;
use super::limits::{LimitExceeded, LimitUsage, MAX_DIRECTORIES_BELOW};
use super::mpd::NamePattern;
use super::sequence::{SequenceWindow, Sequences};

/// The files of one directory.
#[derive(Debug, Default)]
pub(in crate::discover) struct DirectoryListing {
    /// Playlists and manifests.
    pub(in crate::discover) playlists: Vec<(String, UnitKind)>,
    /// Names of recordings and segments.
    pub(in crate::discover) names: HashSet<String>,
    /// Names of all other files. A playlist may name them, too.
    pub(in crate::discover) others: HashSet<String>,
}

impl DirectoryListing {
    fn len(&self) -> usize {
        self.playlists.len() + self.names.len() + self.others.len()
    }
}

/// The names of one directory in order.
#[derive(Debug, Default)]
struct Folder<'a> {
    names: Vec<Cow<'a, str>>,
    sequences: OnceCell<Sequences>,
}

impl<'a> Folder<'a> {
    fn of(names: impl Iterator<Item = Cow<'a, str>>) -> Self {
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        Self { names, sequences: OnceCell::new() }
    }

    fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|known| known.as_ref().cmp(name)).is_ok()
    }

    fn begin_with<'f>(&'f self, beginning: &'f str) -> impl Iterator<Item = &'f str> {
        let first = self.names.partition_point(|name| name.as_ref() < beginning);
        self.names[first..].iter().map(AsRef::as_ref).take_while(move |name: &&str| name.starts_with(beginning))
    }
}

/// Where the playlists of one directory look for what they name.
#[derive(Debug)]
pub(super) struct Folders<'a> {
    directory: &'a Path,
    listing: &'a DirectoryListing,
    playlists: HashSet<&'a str>,
    /// The recordings and segments of the directory itself, once they are asked for.
    own: OnceCell<Folder<'a>>,
    /// All files of directories below, by their path with a slash at its end. One that is not there has none.
    below: HashMap<String, Folder<'static>>,
}

impl<'a> Folders<'a> {
    pub(super) fn new(directory: &'a Path, listing: &'a DirectoryListing, spent: &mut LimitUsage) -> Self {
        spent.add_files(listing.len());
        let playlists = listing.playlists.iter().map(|(name, _)| name.as_str()).collect();
        Self { directory, listing, playlists, own: OnceCell::new(), below: HashMap::new() }
    }

    /// Whether a file is there, reached without a link: a unit must not carry files from elsewhere into the bucket.
    pub(super) fn has(&mut self, relative: &str, spent: &mut LimitUsage) -> Result<bool, LimitExceeded> {
        let Some(slash) = relative.rfind('/') else {
            let DirectoryListing { names, others, .. } = self.listing;
            return Ok(names.contains(relative) || self.playlists.contains(relative) || others.contains(relative));
        };
        let (below, name) = relative.split_at(slash + 1);
        Ok(self.folder(below, spent)?.has(name))
    }

    /// Names that the pattern of a manifest matches, as paths below the directory.
    pub(super) fn matching(
        &mut self,
        pattern: &NamePattern,
        spent: &mut LimitUsage,
    ) -> Result<Vec<String>, LimitExceeded> {
        let below = if pattern.directory.is_empty() { String::new() } else { format!("{}/", pattern.directory) };
        let folder = self.folder(&below, spent)?;
        let mut matching = Vec::new();
        for name in folder.begin_with(&pattern.begins) {
            if pattern.is_match(name) {
                matching.push(format!("{below}{name}"));
            } else {
                spent.look_in_vain(1)?;
            }
        }
        Ok(matching)
    }

    /// Names that belong to the sequence of a playlist which does not name them, as paths below the directory, and whether
    /// each is still to be named.
    pub(super) fn beside(
        &mut self,
        below: &str,
        named: &[String],
        window: SequenceWindow,
        spent: &mut LimitUsage,
    ) -> Result<Vec<(String, bool)>, LimitExceeded> {
        let folder = self.folder(below, spent)?;
        let sequences = folder.sequences.get_or_init(|| Sequences::of(&folder.names));
        let beside = sequences.beside(&folder.names, named, window).into_iter();
        Ok(beside.map(|b| (format!("{below}{}", b.name), b.is_coming)).collect())
    }

    fn folder(&mut self, below: &str, spent: &mut LimitUsage) -> Result<&Folder<'_>, LimitExceeded> {
        if below.is_empty() {
            let own = || Folder::of(self.listing.names.iter().map(|name| Cow::Borrowed(name.as_str())));
            return Ok(self.own.get_or_init(own));
        }
        if !self.below.contains_key(below) {
            if self.below.len() >= MAX_DIRECTORIES_BELOW {
                return Err(LimitExceeded { what: "directories below", limit: MAX_DIRECTORIES_BELOW as u64 });
            }
            let folder = self.read(below);
            spent.add_files(folder.names.len());
            self.below.insert(below.to_owned(), folder);
        }
        Ok(&self.below[below])
    }

    fn read(&self, below: &str) -> Folder<'static> {
        let parents = below.match_indices('/').map(|(slash, _)| &below[..slash]);
        let is_directory = |p: &str| fs::symlink_metadata(self.directory.join(p)).is_ok_and(|m| m.is_dir());
        if !parents.into_iter().all(is_directory) {
            return Folder::default();
        }
        let entries = fs::read_dir(self.directory.join(below)).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        Folder::of(files.filter_map(|entry| entry.file_name().into_string().ok()).map(Cow::Owned))
    }
}
