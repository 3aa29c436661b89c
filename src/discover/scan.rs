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
use super::hls::{self, Collected, DirectoryListing, Unit, UnitKind};
use super::lease::{self, LeaseState};
use super::options::RootOptions;
use super::preset::Namer;

/// One thing that a scan found.
#[derive(Debug)]
pub enum Finding {
    /// A file that may be a recording.
    Candidate(Box<Candidate>),
    /// An HLS or DASH unit.
    Unit(Box<Unit>),
    /// A finished name beside a live temporary of the same name: the server is still writing it, unless it is a finished file whose
    /// original is kept under the temporary name.
    Beside(Box<Candidate>),
    /// What cannot be judged yet: what may be a segment beside or below a playlist that cannot be read or is refused.
    Waiting(PathBuf),
    /// Media that nothing is done with, and that no playlist names.
    Unhandled(PathBuf),
    /// What could not be read or is refused.
    Problem(Problem),
    /// A file that was moved aside to be removed (`durable::give_up`).
    Aside(PathBuf),
}

/// All that a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files that may be recordings, in no particular order.
    pub candidates: Vec<Candidate>,
    /// HLS and DASH units.
    pub units: Vec<Unit>,
    /// What cannot be judged yet.
    pub waiting: Vec<PathBuf>,
    /// Media that nothing is done with, and that no playlist names.
    pub unhandled: Vec<PathBuf>,
    /// What could not be read or is refused.
    pub problems: Vec<Problem>,
    /// Files that were moved aside to be removed.
    pub asides: Vec<PathBuf>,
    /// Number of directory entries that were no directories.
    pub files_seen: u64,
}

impl Scan {
    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Candidate(candidate) => self.candidates.push(*candidate),
            Finding::Unit(unit) => self.units.push(*unit),
            Finding::Beside(candidate) => self.waiting.push(candidate.path),
            Finding::Waiting(path) => self.waiting.push(path),
            Finding::Unhandled(path) => self.unhandled.push(path),
            Finding::Problem(problem) => self.problems.push(problem),
            Finding::Aside(path) => self.asides.push(path),
        }
    }

    /// What a search hands out one by one.
    fn of(search: impl FnOnce(&mut FindingSink<'_>)) -> Self {
        let mut scan = Self::default();
        let mut hear = |finding| scan.add(finding);
        let mut sink = FindingSink { hear: &mut hear, files_seen: 0 };
        search(&mut sink);
        let files_seen = sink.files_seen;
        Self { files_seen, ..scan }
    }
}

/// Who is told what a scan finds, as it finds it: nothing that was told is held.
struct FindingSink<'a> {
    hear: &'a mut dyn FnMut(Finding),
    files_seen: u64,
}

impl FindingSink<'_> {
    fn tell(&mut self, finding: Finding) {
        (self.hear)(finding);
    }
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
pub enum PathClass {
    /// A file that may be a recording.
    Candidate(Box<Candidate>),
    /// A finished name beside a live temporary of the same name.
    Beside(Box<Candidate>),
    /// The head or a part of a unit: scan its directory.
    Unit,
    /// Media that nothing is done with.
    Unhandled,
    /// Neither, or gone.
    Nothing,
}

/// What the playlists further up say of what lies below them.
#[derive(Default)]
struct ParentPlaylists {
    /// Files that belong to a unit.
    claimed: HashSet<PathBuf>,
    /// Directories that are still to be read, and whether a playlist above one cannot be read or is refused: it may name files
    /// in there.
    stack: Vec<(PathBuf, bool)>,
}

/// Names of one directory that are held, to be judged by what lies beside them. Of a directory with more none is held, unless it
/// has a playlist: then each may be a segment of it.
const MOST_HELD: usize = 10_000;

impl ParentPlaylists {
    fn claims(&self, path: &Path) -> bool {
        !self.claimed.is_empty() && self.claimed.contains(path)
    }

    /// Media that nothing is done with, unless a playlist further up names it.
    fn pass_over(&self, path: PathBuf, sink: &mut FindingSink<'_>) {
        if !self.claims(&path) {
            sink.tell(Finding::Unhandled(path));
        }
    }
}

/// One directory's entries, sorted by what they may be.
#[derive(Default)]
struct DirectoryEntries {
    recordings: Vec<(OsString, bool)>,
    unhandled: Vec<OsString>,
    listing: DirectoryListing,
    directories: Vec<PathBuf>,
    held: usize,
    /// Whether there are more than are held.
    is_cut: bool,
}

impl DirectoryEntries {
    /// Lets go of all names, if they are too many and nothing there speaks of them.
    fn hold_one_more(&mut self, most: usize) {
        self.held += 1;
        if self.held > most {
            (self.recordings, self.unhandled) = (Vec::new(), Vec::new());
            (self.listing.names, self.listing.others) = Default::default();
            self.is_cut = true;
        }
    }
}

impl Search<'_> {
    /// Scans the whole root.
    pub fn scan(&self) -> Scan {
        self.scan_below(&self.root.path)
    }

    /// Scans a directory of the root and everything below it, as after the directory was created.
    pub fn scan_below(&self, directory: &Path) -> Scan {
        Scan::of(|sink| self.search_below(directory, sink))
    }

    /// The same, and tells what it finds as it finds it. Holds the names of a directory at a time, and of a large one none.
    pub fn visit_below(&self, directory: &Path, hear: &mut dyn FnMut(Finding)) {
        self.search_below(directory, &mut FindingSink { hear, files_seen: 0 });
    }

    fn search_below(&self, directory: &Path, sink: &mut FindingSink<'_>) {
        let mut above = self.look_above(directory, sink);
        // Parents come before their children, so that what a playlist claims further down is known there.
        while let Some((directory, is_doubtful)) = above.stack.pop() {
            crate::stop::check();
            self.scan_into(&directory, is_doubtful, &mut above, sink);
        }
    }

    /// Scans one directory and nothing below it.
    pub fn scan_directory(&self, directory: &Path) -> Scan {
        Scan::of(|sink| {
            let mut above = self.look_above(directory, sink);
            let is_doubtful = above.stack.pop().is_some_and(|(_, is_doubtful)| is_doubtful);
            self.scan_into(directory, is_doubtful, &mut above, sink);
        })
    }

    /// What playlists in the directories above claim in this one, which is the next; their units are found with it.
    fn look_above(&self, directory: &Path, sink: &mut FindingSink<'_>) -> ParentPlaylists {
        let (mut claimed, mut is_doubtful) = (HashSet::new(), false);
        let above: Vec<_> = directory.ancestors().skip(1).take_while(|d| d.starts_with(&self.root.path)).collect();
        for parent in above.into_iter().rev() {
            let mut ignored = FindingSink { hear: &mut drop, files_seen: 0 };
            let Some(entries) = self.read(parent, &mut ignored) else { continue };
            let found = self.collect(parent, &entries.listing, &claimed);
            let reaches = |unit: &Unit| unit.files.iter().any(|file| file.starts_with(directory));
            found.units.into_iter().filter(reaches).for_each(|unit| sink.tell(Finding::Unit(unit.into())));
            claimed.extend(found.claimed_below);
            is_doubtful |= !found.problems.is_empty();
        }
        ParentPlaylists { claimed, stack: vec![(directory.to_owned(), is_doubtful)] }
    }

    fn collect(&self, directory: &Path, listing: &DirectoryListing, claimed: &HashSet<PathBuf>) -> Collected {
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
    pub fn look_at(&self, path: &Path) -> Result<PathClass, Problem> {
        let Some(name) = path.file_name() else { return Ok(PathClass::Nothing) };
        if self.is_excluded(path) || self.is_hidden(path) {
            return Ok(PathClass::Nothing);
        }
        let is_temporary = match self.namer.rules().class(name) {
            NameClass::Never => return Ok(PathClass::Nothing),
            NameClass::Unhandled => return Ok(PathClass::Unhandled),
            NameClass::Playlist(_) | NameClass::Segment => return Ok(PathClass::Unit),
            NameClass::Recording { is_temporary } => is_temporary,
        };
        let antmedia = self.namer.has_antmedia_segments();
        let rules = self.namer.rules();
        if !is_temporary && hls::is_claimed(path, &self.root.path, rules, antmedia, self.now_ms) {
            return Ok(PathClass::Unit);
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => self.leads_out(path).map_or(Ok(PathClass::Nothing), Err),
            Ok(found) if found.is_file() => self.candidate(path.to_owned(), is_temporary, &found),
            Ok(_) => Ok(PathClass::Nothing),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(PathClass::Nothing),
            Err(source) => Err(DiscoverError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn scan_into(&self, directory: &Path, is_doubtful: bool, above: &mut ParentPlaylists, sink: &mut FindingSink<'_>) {
        let Some(entries) = self.read(directory, sink) else { return };
        let found = self.collect(directory, &entries.listing, &above.claimed);
        let is_doubtful = is_doubtful || !found.problems.is_empty();
        let is_here = |name: &OsString| name.to_str().is_some_and(|name| found.claimed_here.contains(name));
        if entries.is_cut {
            self.judge_each(directory, is_doubtful, above, sink);
        }
        for (name, is_temporary) in entries.recordings.into_iter().filter(|(name, _)| !is_here(name)) {
            self.judge(directory.join(name), is_temporary, is_doubtful, above, sink);
        }
        for name in entries.unhandled.iter().filter(|name| !is_here(name)) {
            above.pass_over(directory.join(name), sink);
        }
        above.claimed.extend(found.claimed_below);
        above.stack.extend(entries.directories.into_iter().map(|below| (below, is_doubtful)));
        found.units.into_iter().for_each(|unit| sink.tell(Finding::Unit(unit.into())));
        found.problems.into_iter().for_each(|problem| sink.tell(Finding::Problem(problem)));
    }

    /// Reads a large directory without a playlist once more, and judges each of its files at once.
    fn judge_each(&self, directory: &Path, is_doubtful: bool, above: &ParentPlaylists, sink: &mut FindingSink<'_>) {
        // What cannot be read was told when it was read for the first time.
        for entry in fs::read_dir(directory).into_iter().flatten().map_while(Result::ok) {
            let name = entry.file_name();
            if !entry.file_type().is_ok_and(|kind| kind.is_file()) || durable::is_aside(&name) {
                continue;
            }
            match self.namer.rules().class(&name) {
                NameClass::Recording { is_temporary } => {
                    self.judge(directory.join(name), is_temporary, is_doubtful, above, sink);
                }
                NameClass::Unhandled => above.pass_over(directory.join(name), sink),
                NameClass::Never | NameClass::Segment | NameClass::Playlist(_) => {}
            }
        }
    }

    fn judge(
        &self,
        path: PathBuf,
        is_temporary: bool,
        is_doubtful: bool,
        above: &ParentPlaylists,
        sink: &mut FindingSink<'_>,
    ) {
        if is_doubtful && hls::may_be_segment(&path) {
            // What such a playlist names is not known: a segment must not be taken for a recording.
            sink.tell(Finding::Waiting(path));
        } else if !above.claims(&path) {
            self.take(path, is_temporary, sink);
        }
    }

    fn take(&self, path: PathBuf, is_temporary: bool, sink: &mut FindingSink<'_>) {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => found,
            Ok(_) => return,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(source) => return sink.tell(Finding::Problem(DiscoverError::Unreadable { path, source })),
        };
        match self.candidate(path.clone(), is_temporary, &found) {
            Ok(PathClass::Candidate(candidate)) => sink.tell(Finding::Candidate(candidate)),
            Ok(PathClass::Beside(candidate)) => sink.tell(Finding::Beside(candidate)),
            Ok(_) => {}
            Err(problem) => sink.tell(Finding::Problem(problem)),
        }
    }

    fn candidate(&self, path: PathBuf, is_temporary: bool, found: &Metadata) -> Result<PathClass, Problem> {
        if path.to_str().is_none() {
            return Err(DiscoverError::NotUtf8 { path });
        }
        let relative = path.strip_prefix(&self.root.path).unwrap_or(&path);
        let reading = self.namer.read(relative);
        let candidate = Box::new(Candidate {
            root: self.root.path.clone(),
            server: reading.server,
            is_temporary: is_temporary || reading.is_temporary,
            facts: reading.facts,
            fingerprint: Fingerprint::of(found),
            path,
        });
        let is_beside = !is_temporary && self.has_live_temporary(&candidate.path);
        Ok(if is_beside { PathClass::Beside(candidate) } else { PathClass::Candidate(candidate) })
    }

    /// Whether `x.mp4.tmp_extension` (or another temporary name of it) stands beside `x.mp4` and is in use.
    fn has_live_temporary(&self, path: &Path) -> bool {
        let orphan_after_ms = i64::try_from(self.orphan_after.as_millis()).unwrap_or(i64::MAX);
        temporaries_of(path, self.namer.rules().suffixes()).any(|(temporary, changed_ms)| {
            self.now_ms.saturating_sub(changed_ms) < orphan_after_ms || lease::probe(&temporary) == LeaseState::Held
        })
    }

    fn read(&self, directory: &Path, sink: &mut FindingSink<'_>) -> Option<DirectoryEntries> {
        let entries = self.read_some(directory, MOST_HELD, sink)?;
        if !entries.is_cut || entries.listing.playlists.is_empty() {
            return Some(entries);
        }
        // Told the first time.
        self.read_some(directory, usize::MAX, &mut FindingSink { hear: &mut drop, files_seen: 0 })
    }

    fn read_some(&self, directory: &Path, most: usize, sink: &mut FindingSink<'_>) -> Option<DirectoryEntries> {
        let unreadable = |source| Finding::Problem(DiscoverError::Unreadable { path: directory.to_owned(), source });
        let found = match fs::read_dir(directory) {
            Ok(found) => found,
            // A directory below the root that vanished is no problem; a root that is not there is one.
            Err(e) if e.kind() == io::ErrorKind::NotFound && directory != self.root.path => return None,
            Err(e) => {
                sink.tell(unreadable(e));
                return None;
            }
        };
        let mut entries = DirectoryEntries::default();
        for entry in found {
            match entry {
                Ok(entry) => self.sort(&entry, directory, &mut entries, most, sink),
                Err(e) => {
                    sink.tell(unreadable(e));
                    break;
                }
            }
        }
        Some(entries)
    }

    fn sort(
        &self,
        entry: &DirEntry,
        directory: &Path,
        entries: &mut DirectoryEntries,
        most: usize,
        sink: &mut FindingSink<'_>,
    ) {
        let Ok(kind) = entry.file_type() else { return };
        let name = entry.file_name();
        if kind.is_dir() {
            return self.sort_directory(&name, directory, entries);
        }
        sink.files_seen += 1;
        let class = self.namer.rules().class(&name);
        if kind.is_symlink() {
            return self.refuse_link(&directory.join(&name), class, sink);
        }
        if kind.is_file() && durable::is_aside(&name) {
            sink.tell(Finding::Aside(directory.join(&name)));
        } else if kind.is_file() {
            if !entries.is_cut || matches!(class, NameClass::Playlist(_)) {
                sort_file(name, class, entries);
            }
            entries.hold_one_more(most);
        }
    }

    fn sort_directory(&self, name: &OsString, directory: &Path, entries: &mut DirectoryEntries) {
        let path = directory.join(name);
        if !is_hidden_name(name) && name != "lost+found" && !self.is_excluded(&path) {
            entries.directories.push(path);
        }
    }

    /// A link is never followed: what it names inside the root is found by itself.
    fn refuse_link(&self, path: &Path, class: NameClass, sink: &mut FindingSink<'_>) {
        let may_matter = match class {
            NameClass::Recording { .. } => true,
            NameClass::Never => !is_hidden_name(path.file_name().unwrap_or_default()) && path.is_dir(),
            NameClass::Playlist(_) | NameClass::Segment | NameClass::Unhandled => false,
        };
        if may_matter {
            self.leads_out(path).into_iter().for_each(|problem| sink.tell(Finding::Problem(problem)));
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

fn sort_file(name: OsString, class: NameClass, entries: &mut DirectoryEntries) {
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
