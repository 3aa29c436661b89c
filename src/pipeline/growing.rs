//! Which recordings are under way at the ingest server: what the daemon has seen, and how those files are now.
//!
//! Without a daemon the roots are scanned. Nothing is journalled and nothing is touched.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::discovering::Discovering;
use super::error::PipelineError;
use super::finding::{Item, RootReader};
use super::roots;
use crate::discover::{self, Growth, Namer, OpenFiles, OpenHere, RootOptions, Server, WaitReason};
use crate::recording::journey::Candidate;

/// Ends of recordings that are remembered; those that no longer count go first.
const MOST_ENDS: usize = 4_096;

/// A recording that is not taken yet.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// As it was seen last.
    pub candidate: Candidate,
    /// What is waited for.
    pub reason: WaitReason,
    /// When it is looked at again, milliseconds since the Unix epoch.
    pub until_ms: i64,
}

/// Recordings that the watching daemon knows and that are not settled, and those that settled a moment ago.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Whether a daemon watches.
    is_watched: bool,
    /// By their paths.
    open: BTreeMap<PathBuf, Open>,
    /// When the last recording of a stream in a root ended, milliseconds since the Unix epoch.
    ends: HashMap<(PathBuf, String), i64>,
    /// When the last recording ended whose end there was no room for; it may be that of any stream.
    forgotten_ms: Option<i64>,
}

/// A recording that may still be written.
#[derive(Debug)]
struct Open {
    /// Root and stream.
    of: (PathBuf, String),
    /// What it is waited for.
    awaited: Option<Awaited>,
}

impl Open {
    fn of(candidate: &Candidate, awaited: Option<Awaited>) -> Self {
        Self { of: (candidate.root.clone(), candidate.facts.stream_id.clone()), awaited }
    }
}

impl Unsettled {
    /// From now on everything that is found is told here.
    pub(super) fn begin(&self) {
        self.lock().is_watched = true;
    }

    /// A recording may still be written.
    pub(super) fn put(&self, candidate: &Candidate) {
        let mut seen = self.lock();
        let awaited = seen.open.remove(&candidate.path).and_then(|open| open.awaited);
        seen.open.insert(candidate.path.clone(), Open::of(candidate, awaited));
    }

    /// It is waited for, or for another reason than before.
    pub(super) fn wait(&self, awaited: Awaited) {
        let (path, open) = (awaited.candidate.path.clone(), Open::of(&awaited.candidate, None));
        self.lock().open.insert(path, Open { awaited: Some(awaited), ..open });
    }

    /// Those that are waited for, so many at most, in the order of their paths, and how many there are.
    pub fn awaited(&self, limit: usize) -> (Vec<Awaited>, usize) {
        let seen = self.lock();
        let all = || seen.open.values().filter_map(|open| open.awaited.as_ref());
        (all().take(limit).cloned().collect(), all().count())
    }

    /// It has settled, perhaps at its first sight.
    pub(super) fn settle(&self, candidate: &Candidate, now_ms: i64) {
        self.put(candidate);
        self.end(&candidate.path, now_ms);
    }

    /// It is not written any more, or not there.
    pub(super) fn end(&self, path: &Path, now_ms: i64) {
        let mut seen = self.lock();
        let Some(Open { of, .. }) = seen.open.remove(path) else { return };
        if seen.ends.len() >= MOST_ENDS {
            seen.ends.retain(|_, end_ms| discover::is_recent(*end_ms, now_ms));
        }
        if seen.ends.len() < MOST_ENDS || seen.ends.contains_key(&of) {
            seen.ends.insert(of, now_ms);
        } else {
            seen.forgotten_ms = Some(now_ms);
        }
    }

    /// The paths of a stream in a root that are not settled, and when the last one that is ended, or may have. `None` where nobody watches.
    fn of(&self, root: &Path, stream: &str) -> Option<(Vec<PathBuf>, Option<i64>)> {
        let seen = self.lock();
        if !seen.is_watched {
            return None;
        }
        let is_it = |of: &(PathBuf, String)| of.0 == root && of.1 == stream;
        let paths = seen.open.iter().filter(|(_, open)| is_it(&open.of)).map(|(path, _)| path.clone());
        let end_ms = seen.ends.get(&(root.to_owned(), stream.to_owned())).copied();
        Some((paths.collect(), end_ms.max(seen.forgotten_ms)))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be seen of a stream's recording in one root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Growing {
    /// Its files that are not settled, in the order of their names.
    pub files: Vec<Growth>,
    /// Whether some of them is growing.
    pub is_growing: bool,
    /// Whether it is certain that none is being written.
    pub is_none_certain: bool,
}

/// Looks at the files of a stream in a root.
pub fn growing(ctx: &Discovering, root: &RootOptions, stream: &str) -> Result<Growing, PipelineError> {
    if !roots::is_there(&ctx.roots, &root.path) {
        return Ok(Growing::default());
    }
    let now_ms = ctx.clock.now_ms();
    let (mut paths, last_end_ms) = match ctx.unsettled.of(&root.path, stream) {
        Some(seen) => seen,
        None => (scanned(ctx, root, stream)?, None),
    };
    let processes = ctx.config.settler().open_files();
    let open = open_here(ctx, &processes, root, stream)?;
    paths.extend(open.files);
    paths.sort();
    paths.dedup();
    let files: Vec<_> = paths.iter().filter_map(|path| Growth::of(path, &processes)).collect();
    let is_growing = files.iter().any(|file| file.is_growing(now_ms));
    // Servers close one part before they open the next, at a keyframe or when enough is gathered.
    let mut last_writes = files.iter().map(|file| file.grown_ms).chain(last_end_ms);
    let is_quiet = files.iter().all(|file| file.writer == discover::OpenFor::Nobody)
        && !last_writes.any(|write_ms| discover::is_recent(write_ms, now_ms));
    Ok(Growing { files, is_growing, is_none_certain: open.is_certain && is_quiet })
}

/// What the process list says. Without a server's name there is nothing to be certain of, and the names need not be read.
fn open_here(
    ctx: &Discovering,
    processes: &OpenFiles,
    root: &RootOptions,
    stream: &str,
) -> Result<OpenHere, PipelineError> {
    if root.server == Server::Auto || root.template.is_some() {
        return Ok(OpenHere::default());
    }
    let settings = ctx.config.settings();
    let namer = Namer::new(root, &settings.watch.temporary_suffixes, settings.finish.time_zone.clone())?;
    Ok(discover::open_here(processes, &root.path, root.server, &namer, stream))
}

/// Files of the stream that the catalogue does not know.
fn scanned(ctx: &Discovering, root: &RootOptions, stream: &str) -> Result<Vec<PathBuf>, PipelineError> {
    let reader = RootReader::new(&ctx.config.settings(), root)?;
    let (mut found, mut failed) = (Vec::new(), None);
    reader.visit(ctx, &root.path, &mut |item| {
        if let Item::Candidate(candidate) = item
            && candidate.facts.stream_id == stream
        {
            match ctx.catalog.knows(&candidate.path, &candidate.fingerprint) {
                Ok(known) if known.may_be_taken(ctx.clock.now_ms()) => found.push(candidate.path),
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
    });
    failed.map_or(Ok(found), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::GROWS_WITHIN;
    use crate::recording::Fingerprint;
    use crate::recording::journey::NameFacts;

    fn candidate(path: &str, stream: &str) -> Candidate {
        Candidate {
            path: Path::new("/rec").join(path),
            root: "/rec".into(),
            server: "srs".into(),
            is_temporary: true,
            facts: NameFacts {
                stream_id: stream.into(),
                stem: stream.into(),
                start_ms: None,
                rendition: None,
                part: None,
            },
            fingerprint: Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 },
        }
    }

    #[test]
    fn what_is_not_settled_is_known_by_root_and_stream_until_it_ends() {
        let unsettled = Unsettled::default();
        let root = Path::new("/rec");
        assert_eq!(unsettled.of(root, "room1"), None, "nobody watches");
        unsettled.begin();
        unsettled.put(&candidate("room1.flv.tmp", "room1"));
        unsettled.put(&candidate("room2.flv.tmp", "room2"));
        let open = |stream: &str| unsettled.of(root, stream).unwrap();
        assert_eq!(open("room1"), (vec![root.join("room1.flv.tmp")], None));
        assert_eq!(unsettled.of(Path::new("/other"), "room1").unwrap(), (vec![], None));
        unsettled.end(&root.join("room1.flv.tmp"), 7);
        unsettled.end(&root.join("nothing"), 8);
        assert_eq!(open("room1"), (vec![], Some(7)));
        unsettled.settle(&candidate("new.flv", "room2"), 9);
        assert_eq!(open("room2"), (vec![root.join("room2.flv.tmp")], Some(9)));
    }

    #[test]
    fn what_is_remembered_of_ends_is_bounded_and_the_old_ones_go() {
        let unsettled = Unsettled::default();
        unsettled.begin();
        let later_ms = i64::try_from(GROWS_WITHIN.as_millis()).unwrap() + 1;
        for n in 0..=MOST_ENDS {
            let name = format!("s{n}");
            unsettled.put(&candidate(&name, &name));
            unsettled.end(&Path::new("/rec").join(&name), if n == MOST_ENDS { later_ms } else { 0 });
        }
        assert_eq!(unsettled.lock().ends.len(), 1);
    }

    #[test]
    fn an_end_that_there_is_no_room_for_may_be_that_of_any_stream() {
        let unsettled = Unsettled::default();
        unsettled.begin();
        let end = |name: &str, now_ms: i64| {
            unsettled.put(&candidate(name, name));
            unsettled.end(&Path::new("/rec").join(name), now_ms);
        };
        let last_end = |stream: &str| unsettled.of(Path::new("/rec"), stream).unwrap().1;
        for n in 0..MOST_ENDS {
            end(&format!("s{n}"), 0);
        }
        assert_eq!(last_end("one more"), None);
        end("one more", 1);
        assert_eq!(last_end("one more"), Some(1));
        end("s0", 2);
        assert_eq!((last_end("s0"), last_end("s1")), (Some(2), Some(1)), "that of a known stream has room");
    }
}
