//! The scan: the truth about which recordings and units there are below a root.
//!
//! Reads directories only, by the types that their entries carry; a file is looked at (`stat`) only once its name says
//! that it may be a recording. Assumes that the tree changes meanwhile: what vanishes is left out. It follows no
//! symbolic links and goes on after a directory that cannot be read.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::durable;
use crate::recording::Fingerprint;
use crate::recording::journey::Candidate;

use super::candidate::NameClass;
use super::error::{DiscoverError, Problem};
use super::hls::{self, Collected, Listing, Unit, UnitKind};
use super::lease::{self, Lease};
use super::options::RootOptions;
use super::preset::Namer;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that may be recordings, in no particular order.
    pub candidates: Vec<Candidate>,
    /// HLS and DASH units.
    pub units: Vec<Unit>,
    /// What cannot be judged yet: finished names beside a live temporary of the same name (the server is still writing
    /// them), and what may be a segment beside or below a playlist that cannot be read or is refused.
    pub waiting: Vec<PathBuf>,
    /// Media that nothing is done with, and that no playlist names.
    pub unhandled: Vec<PathBuf>,
    /// What could not be read or is refused.
    pub problems: Vec<Problem>,
    /// Files that were moved aside to be removed (`durable::give_up`).
    pub asides: Vec<PathBuf>,
    /// Number of directory entries that were no directories.
    pub files_seen: u64,
}

/// Where to look and what to leave out.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The root.
    pub root: &'a RootOptions,
    /// Reads the names there.
    pub namer: &'a Namer,
    /// Directories that are not entered: `file://` targets, the state directory. Absolute.
    pub excluded: &'a [PathBuf],
    /// How long an untouched temporary without a writer still counts as live (`Options::orphan_after`).
    pub orphan_after: Duration,
    /// The time, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What one path turned out to be.
#[derive(Debug)]
pub enum Look {
    /// A file that may be a recording.
    Candidate(Box<Candidate>),
    /// A finished name beside a live temporary of the same name.
    Waiting,
    /// The head or a part of a unit: scan its directory.
    Unit,
    /// Media that nothing is done with.
    Unhandled,
    /// Neither, or gone.
    Nothing,
}

/// Puts what was written last first: what finishes now overtakes the backlog.
pub fn newest_first(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| {
        let newest = b.fingerprint.mtime_ns.cmp(&a.fingerprint.mtime_ns);
        newest.then_with(|| a.path.cmp(&b.path))
    });
}

/// What the playlists further up say of what lies below them.
#[derive(Default)]
struct Above {
    /// Files that belong to a unit.
    claimed: HashSet<PathBuf>,
    /// Directories that are still to be read, and whether a playlist above one cannot be read or is refused: it may name files
    /// in there.
    stack: Vec<(PathBuf, bool)>,
}

/// One directory's entries, sorted by what they may be.
#[derive(Default)]
struct Entries {
    recordings: Vec<(OsString, bool)>,
    unhandled: Vec<OsString>,
    listing: Listing,
    directories: Vec<PathBuf>,
}

impl Search<'_> {
    /// Scans the whole root.
    pub fn scan(&self) -> Scan {
        self.scan_below(&self.root.path)
    }

    /// Scans a directory of the root and everything below it, as after the directory was created.
    pub fn scan_below(&self, directory: &Path) -> Scan {
        let mut scan = Scan::default();
        let mut above = self.look_above(directory, &mut scan);
        // Parents come before their children, so that what a playlist claims further down is known there.
        while let Some((directory, is_doubtful)) = above.stack.pop() {
            crate::stop::look();
            self.scan_into(&directory, is_doubtful, &mut above, &mut scan);
        }
        scan
    }

    /// Scans one directory and nothing below it.
    pub fn scan_directory(&self, directory: &Path) -> Scan {
        let mut scan = Scan::default();
        let mut above = self.look_above(directory, &mut scan);
        let is_doubtful = above.stack.pop().is_some_and(|(_, is_doubtful)| is_doubtful);
        self.scan_into(directory, is_doubtful, &mut above, &mut scan);
        scan
    }

    /// What playlists in the directories above claim in this one, which is the next; their units are found with it.
    fn look_above(&self, directory: &Path, scan: &mut Scan) -> Above {
        let (mut claimed, mut is_doubtful) = (HashSet::new(), false);
        let above: Vec<_> = directory.ancestors().skip(1).take_while(|d| d.starts_with(&self.root.path)).collect();
        for parent in above.into_iter().rev() {
            let Some(entries) = self.read(parent, &mut Scan::default()) else { continue };
            let found = self.collect(parent, &entries.listing, &claimed);
            let reaches = |unit: &Unit| unit.files.iter().any(|file| file.starts_with(directory));
            scan.units.extend(found.units.into_iter().filter(reaches));
            claimed.extend(found.claimed_below);
            is_doubtful |= !found.problems.is_empty();
        }
        Above { claimed, stack: vec![(directory.to_owned(), is_doubtful)] }
    }

    fn collect(&self, directory: &Path, listing: &Listing, claimed: &HashSet<PathBuf>) -> Collected {
        if listing.playlists.is_empty() {
            return Collected::default();
        }
        let antmedia = self.namer.has_antmedia_segments();
        hls::collect(directory, &self.root.path, listing, claimed, antmedia, self.now_ms)
    }

    /// Looks at one path, as an event names it.
    ///
    /// # Errors
    /// A path that cannot be read or is refused (not UTF-8, a link that leads out).
    pub fn look_at(&self, path: &Path) -> Result<Look, Problem> {
        let Some(name) = path.file_name() else { return Ok(Look::Nothing) };
        if self.is_excluded(path) || self.is_hidden(path) {
            return Ok(Look::Nothing);
        }
        let is_temporary = match self.namer.rules().class(name) {
            NameClass::Never => return Ok(Look::Nothing),
            NameClass::Unhandled => return Ok(Look::Unhandled),
            NameClass::Playlist(_) | NameClass::Segment => return Ok(Look::Unit),
            NameClass::Recording { is_temporary } => is_temporary,
        };
        let antmedia = self.namer.has_antmedia_segments();
        let rules = self.namer.rules();
        if !is_temporary && hls::is_claimed(path, &self.root.path, rules, antmedia, self.now_ms) {
            return Ok(Look::Unit);
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => self.leads_out(path).map_or(Ok(Look::Nothing), Err),
            Ok(found) if found.is_file() => self.candidate(path.to_owned(), is_temporary, &found),
            Ok(_) => Ok(Look::Nothing),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Look::Nothing),
            Err(source) => Err(DiscoverError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn scan_into(&self, directory: &Path, is_doubtful: bool, above: &mut Above, scan: &mut Scan) {
        let Some(entries) = self.read(directory, scan) else { return };
        let found = self.collect(directory, &entries.listing, &above.claimed);
        let is_doubtful = is_doubtful || !found.problems.is_empty();
        for (name, is_temporary) in entries.recordings {
            if name.to_str().is_some_and(|name| found.claimed_here.contains(name)) {
                continue;
            }
            let path = directory.join(name);
            if is_doubtful && hls::may_be_segment(&path) {
                // What such a playlist names is not known: a segment must not be taken for a recording.
                scan.waiting.push(path);
            } else if above.claimed.is_empty() || !above.claimed.contains(&path) {
                self.take(path, is_temporary, scan);
            }
        }
        let is_here = |name: &OsString| name.to_str().is_some_and(|name| found.claimed_here.contains(name));
        let unhandled = entries.unhandled.iter().filter(|name| !is_here(name)).map(|name| directory.join(name));
        scan.unhandled.extend(unhandled.filter(|path| !above.claimed.contains(path)));
        above.claimed.extend(found.claimed_below);
        above.stack.extend(entries.directories.into_iter().map(|below| (below, is_doubtful)));
        scan.units.extend(found.units);
        scan.problems.extend(found.problems);
    }

    fn take(&self, path: PathBuf, is_temporary: bool, scan: &mut Scan) {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => found,
            Ok(_) => return,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(source) => return scan.problems.push(DiscoverError::Unreadable { path, source }),
        };
        match self.candidate(path.clone(), is_temporary, &found) {
            Ok(Look::Candidate(candidate)) => scan.candidates.push(*candidate),
            Ok(Look::Waiting) => scan.waiting.push(path),
            Ok(_) => {}
            Err(problem) => scan.problems.push(problem),
        }
    }

    fn candidate(&self, path: PathBuf, is_temporary: bool, found: &Metadata) -> Result<Look, Problem> {
        if path.to_str().is_none() {
            return Err(DiscoverError::NotUtf8 { path });
        }
        if !is_temporary && self.has_live_temporary(&path) {
            return Ok(Look::Waiting);
        }
        let relative = path.strip_prefix(&self.root.path).unwrap_or(&path);
        let reading = self.namer.read(relative);
        Ok(Look::Candidate(Box::new(Candidate {
            root: self.root.path.clone(),
            server: reading.server,
            is_temporary: is_temporary || reading.is_temporary,
            facts: reading.facts,
            fingerprint: Fingerprint::of(found),
            path,
        })))
    }

    /// Whether `x.mp4.tmp_extension` (or another temporary name of it) stands beside `x.mp4` and is in use.
    fn has_live_temporary(&self, path: &Path) -> bool {
        let orphan_after_ms = i64::try_from(self.orphan_after.as_millis()).unwrap_or(i64::MAX);
        temporaries_of(path, self.namer.rules().suffixes()).any(|(temporary, changed_ms)| {
            self.now_ms.saturating_sub(changed_ms) < orphan_after_ms || lease::probe(&temporary) == Lease::Held
        })
    }

    fn read(&self, directory: &Path, scan: &mut Scan) -> Option<Entries> {
        let unreadable = |source| DiscoverError::Unreadable { path: directory.to_owned(), source };
        let found = match fs::read_dir(directory) {
            Ok(found) => found,
            // A directory below the root that vanished is no problem; a root that is not there is one.
            Err(e) if e.kind() == io::ErrorKind::NotFound && directory != self.root.path => return None,
            Err(e) => {
                scan.problems.push(unreadable(e));
                return None;
            }
        };
        let mut entries = Entries::default();
        for entry in found {
            match entry {
                Ok(entry) => self.sort(&entry, directory, &mut entries, scan),
                Err(e) => {
                    scan.problems.push(unreadable(e));
                    break;
                }
            }
        }
        Some(entries)
    }

    fn sort(&self, entry: &DirEntry, directory: &Path, entries: &mut Entries, scan: &mut Scan) {
        let Ok(kind) = entry.file_type() else { return };
        let name = entry.file_name();
        if kind.is_dir() {
            return self.sort_directory(&name, directory, entries);
        }
        scan.files_seen += 1;
        let class = self.namer.rules().class(&name);
        if kind.is_symlink() {
            return self.refuse_link(&directory.join(&name), class, scan);
        }
        if kind.is_file() && durable::is_aside(&name) {
            scan.asides.push(directory.join(&name));
        } else if kind.is_file() {
            sort_file(name, class, entries);
        }
    }

    fn sort_directory(&self, name: &OsString, directory: &Path, entries: &mut Entries) {
        let path = directory.join(name);
        if !is_hidden_name(name) && name != "lost+found" && !self.is_excluded(&path) {
            entries.directories.push(path);
        }
    }

    /// A link is never followed: what it names inside the root is found by itself.
    fn refuse_link(&self, path: &Path, class: NameClass, scan: &mut Scan) {
        let may_matter = match class {
            NameClass::Recording { .. } => true,
            NameClass::Never => !is_hidden_name(path.file_name().unwrap_or_default()) && path.is_dir(),
            NameClass::Playlist(_) | NameClass::Segment | NameClass::Unhandled => false,
        };
        if may_matter {
            scan.problems.extend(self.leads_out(path));
        }
    }

    fn leads_out(&self, link: &Path) -> Option<Problem> {
        let target = link.canonicalize().ok()?;
        let root = self.root.path.canonicalize().ok()?;
        let excluded = || self.excluded.iter().any(|e| target.starts_with(e));
        (!target.starts_with(root) && !excluded()).then(|| DiscoverError::LeadsOut { path: link.to_owned(), target })
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.excluded.iter().any(|excluded| path.starts_with(excluded))
    }

    /// Whether a directory between root and path is one that a scan does not enter.
    fn is_hidden(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.root.path).unwrap_or(path);
        let mut parents = below.parent().into_iter().flat_map(Path::components);
        parents.any(|c| is_hidden_name(c.as_os_str()) || c.as_os_str() == "lost+found")
    }
}

fn sort_file(name: OsString, class: NameClass, entries: &mut Entries) {
    match class {
        NameClass::Never => entries.listing.others.extend(name.into_string()),
        NameClass::Unhandled => {
            entries.listing.others.extend(name.to_str().map(str::to_owned));
            entries.unhandled.push(name);
        }
        NameClass::Recording { is_temporary } => {
            entries.listing.names.extend(name.to_str().map(str::to_owned));
            entries.recordings.push((name, is_temporary));
        }
        NameClass::Segment => entries.listing.names.extend(name.into_string()),
        NameClass::Playlist(kind) => entries.listing.playlists.extend(playlist(name, kind)),
    }
}

fn playlist(name: OsString, kind: UnitKind) -> Option<(String, UnitKind)> {
    name.into_string().ok().map(|name| (name, kind))
}

fn is_hidden_name(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Temporary names of a finished one that are there, with the time of their last change.
pub(super) fn temporaries_of<'a>(
    path: &'a Path,
    suffixes: impl Iterator<Item = &'a str> + 'a,
) -> impl Iterator<Item = (PathBuf, i64)> + 'a {
    suffixes.filter_map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let found = fs::symlink_metadata(&name).ok().filter(Metadata::is_file)?;
        Some((PathBuf::from(name), Fingerprint::of(&found).mtime_ms()))
    })
}

#[cfg(test)]
mod tests;
