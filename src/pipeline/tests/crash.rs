//! What a disk may have kept of a tape when the power goes after so many of its acts. Pure.
//!
//! Whatever was synced is there. Of the rest, for each file, each directory and the journal apart from one another:
//! all, nothing, any beginning, or all but one; a write also torn at any 512-byte boundary, its head or its tail kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::recording::{Act, Files, Inode, RecordedAct};
use crate::durable::tape::RecordedOp;

/// What a disk writes in one piece, bytes.
const SECTOR_BYTES: usize = 512;

/// What became of the changes to one file, in their order.
pub(super) type Changes = Vec<RecordedOp>;

/// What became of a file of ours that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FillState {
    Whole,
    /// Its length is there and its bytes are not.
    Zeros,
    /// The first half of its bytes is there.
    Half,
    Empty,
}

/// What a file of ours holds: how much of which bytes, and its time in nanoseconds.
pub(super) type FileContent = (FillState, Rc<Vec<u8>>, i64);

/// Changes to the names of a directory, and how many of them are durable.
type NameChanges = (Vec<(usize, NameChange)>, usize);

/// One way in which things may stand after the power went.
#[derive(Debug, Clone)]
pub(super) struct Crash {
    /// After how many acts it was.
    pub(super) at: usize,
    /// For people.
    pub(super) what: String,
    /// Whether everything that was not synced is all there or not at all, file by file.
    pub(super) is_extreme: bool,
    /// Names given or given up that the directories kept, by their place on the tape; a file that changed its
    /// directory has its new name from the first and loses the old one by the second.
    pub(super) names: BTreeSet<(usize, NameChange)>,
    /// Those of them whose directory was synced.
    certain: BTreeSet<(usize, NameChange)>,
    /// Changes that were kept, for each file that was there before.
    pub(super) changes: BTreeMap<Inode, Changes>,
    /// The length of files whose writer never synced them, where what is behind it was lost.
    pub(super) shortened: BTreeMap<Inode, u64>,
    /// What files of ours hold.
    pub(super) fills: BTreeMap<Inode, FileContent>,
    /// The state directory; none where it was lost altogether.
    pub(super) state: Rc<Files>,
}

/// What an act does to the names in one directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NameChange {
    Given,
    GivenUp,
}

/// One possibility for one file, directory or the journal.
#[derive(Clone)]
struct Possibility<T> {
    value: T,
    what: String,
    /// All or nothing: combined with every other; the ones between only with those.
    is_extreme: bool,
}

impl<T> Possibility<T> {
    fn new(value: T, what: impl Into<String>, is_extreme: bool) -> Self {
        Self { value, what: what.into(), is_extreme }
    }
}

/// The state directory before the first act.
pub(super) struct CrashTape<'a> {
    pub(super) log: &'a [RecordedAct],
    pub(super) before: &'a Rc<Files>,
}

impl CrashTape<'_> {
    /// Every way in which things may stand after the first `at` acts.
    pub(super) fn crashes(&self, at: usize) -> Vec<Crash> {
        let blank = Crash {
            at,
            what: String::new(),
            is_extreme: true,
            names: BTreeSet::new(),
            certain: BTreeSet::new(),
            changes: BTreeMap::new(),
            shortened: BTreeMap::new(),
            fills: BTreeMap::new(),
            state: Rc::clone(self.before),
        };
        let mut all = vec![blank];
        all = combined(&all, &self.states(at), &|crash, state| crash.state = Rc::clone(state));
        for directory in self.directories(at) {
            all = combined(&all, &self.names(at, &directory), &|crash, (names, certain)| {
                crash.names.extend(names);
                crash.certain.extend(&names[..*certain]);
            });
        }
        for inode in self.changed(at) {
            all = combined(&all, &self.changes(at, inode), &|crash, (changes, shortened)| {
                crash.changes.insert(inode, changes.clone());
                crash.shortened.extend(shortened.map(|len| (inode, len)));
            });
        }
        for inode in self.filled(at) {
            all = combined(&all, &self.fills(at, inode), &|crash, fill| {
                crash.fills.insert(inode, fill.clone());
            });
        }
        all.into_iter().filter(Crash::is_possible).collect()
    }

    fn done(&self, at: usize) -> impl DoubleEndedIterator<Item = (usize, &Act)> {
        self.log[..at].iter().map(|done| &done.act).enumerate()
    }

    /// The state directory: what was written, what is durable, and the database's file torn between the two.
    fn states(&self, at: usize) -> Vec<Possibility<Rc<Files>>> {
        let Some(last) = self.log[..at].last() else {
            return vec![Possibility::new(Rc::clone(self.before), "", true)];
        };
        let (kept, durable) = (&last.state, self.durable_state(at));
        let mut choices = vec![Possibility::new(Rc::clone(kept), "the journal kept", true)];
        if **kept == durable {
            return choices;
        }
        let database = Path::new("catalog/db");
        if let (Some(new), Some(old)) = (kept.get(database), durable.get(database)) {
            let torn = torn(old, new);
            let of = torn.len();
            for (number, (torn, what)) in torn.into_iter().enumerate() {
                let mut files = (**kept).clone();
                files.insert(database.to_owned(), Rc::new(torn));
                // The first and the last are tried even where time is short.
                let is_extreme = number < 2 || number + 2 >= of;
                choices.push(Possibility::new(Rc::new(files), format!("the journal torn {what}"), is_extreme));
            }
        }
        choices.push(Possibility::new(Rc::new(durable), "the journal dropped", true));
        choices
    }

    /// What is durable of the state directory: each file as it was when it was last synced, names with their directory.
    fn durable_state(&self, at: usize) -> Files {
        let mut durable = (**self.before).clone();
        let mut contents = durable.clone();
        for done in &self.log[..at] {
            match &done.act {
                Act::JournalSynced(_) => sync_one(Path::new("catalog/db"), &done.state, &mut contents, &mut durable),
                Act::StateSynced(path) => sync_one(path, &done.state, &mut contents, &mut durable),
                Act::StateDirectorySynced(directory) => {
                    durable.retain(|path, _| path.parent() != Some(directory) || done.state.contains_key(path));
                    for path in done.state.keys().filter(|path| path.parent() == Some(directory)) {
                        let content = contents.get(path).cloned().unwrap_or_default();
                        durable.entry(path.clone()).or_insert(content);
                    }
                }
                _ => {}
            }
        }
        durable
    }

    fn directories(&self, at: usize) -> BTreeSet<PathBuf> {
        self.done(at).flat_map(|(_, act)| name_effects(act)).map(|(directory, _)| directory).collect()
    }

    /// Which changes to the names of a directory were kept: those before its last sync, and any beginning of the rest.
    fn names(&self, at: usize, directory: &Path) -> Vec<Possibility<NameChanges>> {
        let synced = self.done(at).rposition_of(|act| matches!(act, Act::DirectorySynced(path) if path == directory));
        let effects: Vec<(usize, NameChange)> = self
            .done(at)
            .flat_map(|(place, act)| name_effects(act).into_iter().map(move |(d, name)| (place, d, name)))
            .filter(|(_, d, _)| d == directory)
            .map(|(place, _, name)| (place, name))
            .collect();
        let certain = effects.iter().filter(|(place, _)| synced.is_some_and(|synced| *place < synced)).count();
        let what = |kept| format!("{} of {} names in `{}`", kept, effects.len(), directory.display());
        let is_extreme = |kept| kept == certain || kept == effects.len();
        let choice = |kept| Possibility::new((effects[..kept].to_vec(), certain), what(kept), is_extreme(kept));
        (certain..=effects.len()).rev().map(choice).collect()
    }

    fn changed(&self, at: usize) -> BTreeSet<Inode> {
        let of = |(_, act): (usize, &Act)| match act {
            Act::Changed(inode, _) | Act::Grown(inode, _) => Some(*inode),
            _ => None,
        };
        self.done(at).filter_map(of).collect()
    }

    /// Which changes to a file that was there before were kept.
    fn changes(&self, at: usize, inode: Inode) -> Vec<Possibility<(Changes, Option<u64>)>> {
        let synced = self.done(at).rposition_of(|act| *act == Act::Synced(inode));
        let is_certain = |place: usize| synced.is_some_and(|synced| place < synced);
        let mut all = Changes::new();
        let mut certain = 0;
        let mut lost_len = None;
        for (place, act) in self.done(at) {
            match act {
                Act::Grown(of, len) if *of == inode && !is_certain(place) => lost_len = Some(*len),
                Act::Changed(of, change) if *of == inode => {
                    all.push(change.clone());
                    certain += usize::from(is_certain(place));
                }
                _ => {}
            }
        }
        let mut choices: Vec<_> = remains(&all, certain).into_iter().map(|c| c.map(|kept| (kept, None))).collect();
        if let Some(len) = lost_len {
            choices.push(Possibility::new((Changes::new(), Some(len)), "the recording's own end lost", true));
        }
        choices
    }

    fn filled(&self, at: usize) -> BTreeSet<Inode> {
        self.done(at)
            .filter_map(|(_, act)| if let Act::Filled(inode, ..) = act { Some(*inode) } else { None })
            .collect()
    }

    fn fills(&self, at: usize, inode: Inode) -> Vec<Possibility<FileContent>> {
        let mut filled = None;
        let mut is_synced = false;
        for (_, act) in self.done(at) {
            match act {
                Act::Filled(of, bytes, mtime_ns) if *of == inode => {
                    (filled, is_synced) = (Some((Rc::clone(bytes), *mtime_ns)), false);
                }
                Act::Synced(of) if *of == inode => is_synced = filled.is_some(),
                _ => {}
            }
        }
        let Some((bytes, mtime_ns)) = filled else { return Vec::new() };
        let fills: &[FillState] = if is_synced {
            &[FillState::Whole]
        } else {
            &[FillState::Whole, FillState::Zeros, FillState::Half, FillState::Empty]
        };
        let choice = |fill: &FillState| {
            let is_extreme = matches!(fill, FillState::Whole | FillState::Zeros);
            Possibility::new((*fill, Rc::clone(&bytes), mtime_ns), format!("our file {fill:?}"), is_extreme)
        };
        fills.iter().map(choice).collect()
    }
}

impl<T> Possibility<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Possibility<U> {
        Possibility { value: change(self.value), what: self.what, is_extreme: self.is_extreme }
    }
}

impl Crash {
    /// By itself a disk gives up an old name only for the new one; made to by a sync, it may keep neither.
    fn is_possible(&self) -> bool {
        let is_kept = |place| self.names.contains(&(place, NameChange::Given));
        self.names
            .iter()
            .all(|effect| effect.1 == NameChange::Given || is_kept(effect.0) || self.certain.contains(effect))
    }

    /// The same for cuts that leave the same; also of different moments, but for the last, when all was promised.
    pub(super) fn key(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        hash.update(self.disk_key().as_bytes());
        for (path, bytes) in &*self.state {
            hash.update(path.as_os_str().as_encoded_bytes()).update(blake3::hash(bytes).as_bytes());
        }
        hash.finalize()
    }

    /// The same for cuts that leave the same recordings, whatever the journal.
    pub(super) fn disk_key(&self) -> blake3::Hash {
        let fills = self.fills.iter().map(|(inode, (fill, ..))| (inode, fill)).collect::<Vec<_>>();
        blake3::hash(format!("{:?}{:?}{:?}{fills:?}", self.names, self.changes, self.shortened).as_bytes())
    }
}

/// Every crash with every choice; of those between all and nothing at most one at a time.
fn combined<T>(crashes: &[Crash], choices: &[Possibility<T>], apply: &dyn Fn(&mut Crash, &T)) -> Vec<Crash> {
    let mut all = Vec::new();
    for choice in choices {
        for crash in crashes.iter().filter(|crash| crash.is_extreme || choice.is_extreme) {
            let mut crash = crash.clone();
            apply(&mut crash, &choice.value);
            if choices.len() > 1 {
                crash.what = format!("{}; {}", crash.what, choice.what);
            }
            crash.is_extreme &= choice.is_extreme;
            all.push(crash);
        }
    }
    all
}

fn sync_one(path: &Path, now: &Files, contents: &mut Files, durable: &mut Files) {
    let Some(bytes) = now.get(path) else { return };
    contents.insert(path.to_owned(), Rc::clone(bytes));
    if let Some(durable) = durable.get_mut(path) {
        *durable = Rc::clone(bytes);
    }
}

/// The directories whose names an act changes.
fn name_effects(act: &Act) -> Vec<(PathBuf, NameChange)> {
    let parent = |path: &Path| path.parent().unwrap().to_owned();
    match act {
        Act::Created(path, _) | Act::DirectoryCreated(path) | Act::Linked(_, path) | Act::Removed(path) => {
            vec![(parent(path), NameChange::Given)]
        }
        Act::Renamed(from, to) if from.parent() == to.parent() => vec![(parent(to), NameChange::Given)],
        Act::Renamed(from, to) => vec![(parent(to), NameChange::Given), (parent(from), NameChange::GivenUp)],
        _ => Vec::new(),
    }
}

/// What may be left of changes of which the first so many are durable.
fn remains(all: &[RecordedOp], certain: usize) -> Vec<Possibility<Changes>> {
    let of = all.len();
    let kept = |n: usize| Possibility::new(all[..n].to_vec(), format!("{n} of {of} changes"), n == certain || n == of);
    let mut remains: Vec<_> = (certain..=of).rev().map(kept).collect();
    // A later one that came to the disk before an earlier one; not into blocks that were never inserted.
    for lost in (certain..of.saturating_sub(1)).filter(|lost| !matches!(all[*lost], RecordedOp::Insert(..))) {
        let left = [&all[..lost], &all[lost + 1..]].concat();
        remains.push(Possibility::new(left, format!("all of {of} changes but number {lost}"), false));
    }
    for (at, change) in all.iter().enumerate().skip(certain) {
        let RecordedOp::Write(offset, bytes) = change else { continue };
        for torn in (SECTOR_BYTES..bytes.len()).step_by(SECTOR_BYTES) {
            let head = RecordedOp::Write(*offset, bytes[..torn].to_vec());
            let tail = RecordedOp::Write(offset + torn as u64, bytes[torn..].to_vec());
            for (part, name) in [(head, "head"), (tail, "tail")] {
                for rest in [&all[at + 1..], &[]] {
                    let left = [&all[..at], std::slice::from_ref(&part), rest].concat();
                    let what = format!("the {name} of change {at} torn at {torn}, then {}", rest.len());
                    remains.push(Possibility::new(left, what, false));
                }
            }
        }
    }
    remains
}

/// A file between two states: some first or last of the sectors in which they differ are the new ones.
fn torn(old: &[u8], new: &[u8]) -> Vec<(Vec<u8>, String)> {
    let sector = |bytes: &[u8], n: usize| {
        let at = n * SECTOR_BYTES;
        bytes.get(at..bytes.len().min(at + SECTOR_BYTES)).unwrap_or_default().to_vec()
    };
    let sectors = old.len().max(new.len()).div_ceil(SECTOR_BYTES);
    let differing: Vec<usize> = (0..sectors).filter(|n| sector(old, *n) != sector(new, *n)).collect();
    let mixed = |is_new: &dyn Fn(usize) -> bool| {
        let mut mixed = new.to_vec();
        for n in differing.iter().enumerate().filter(|(place, _)| !is_new(*place)).map(|(_, n)| *n) {
            let (at, was) = (n * SECTOR_BYTES, sector(old, n));
            let end = mixed.len().min(at + SECTOR_BYTES);
            // Where the file was shorter, nothing was ever written.
            mixed[at..end].fill(0);
            let until = end.min(at + was.len());
            mixed[at..until].copy_from_slice(&was[..until - at]);
        }
        mixed
    };
    let of = differing.len();
    let mut all = Vec::new();
    for kept in 1..of {
        all.push((mixed(&|place| place < kept), format!("after {kept} of {of} sectors")));
        all.push((mixed(&|place| place >= kept), format!("without the first {kept} of {of} sectors")));
    }
    all
}

/// The place of the last act of a kind.
trait LastPlace {
    fn rposition_of(self, is: impl Fn(&Act) -> bool) -> Option<usize>;
}

impl<'a, I: DoubleEndedIterator<Item = (usize, &'a Act)>> LastPlace for I {
    fn rposition_of(mut self, is: impl Fn(&Act) -> bool) -> Option<usize> {
        self.rfind(|(_, act)| is(act)).map(|(place, _)| place)
    }
}
