//! notify's events in our words. Pure but for one look whether a renamed name is a directory.

use std::io;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, Flag, ModifyKind, RemoveKind, RenameMode};

use super::{WatchCommand, WatchEvent};
use crate::discover::candidate::{NameClass, NameRules};
use crate::discover::error::{DiscoverError, Problem};

/// What one of notify's events comes to.
#[derive(Debug)]
pub(super) enum Translated {
    Event(WatchEvent),
    Order(WatchCommand),
}

/// Translates an event and hands on what it comes to.
pub(super) fn each(rules: &NameRules, event: notify::Event, mut tell: impl FnMut(Translated)) {
    if event.attrs.flag() == Some(Flag::Rescan) {
        return tell(Translated::Order(WatchCommand::Rescan("the kernel's queue overflowed")));
    }
    // A rename inside the roots is told three times: from, to, both. The first two say all.
    if event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both)) {
        return;
    }
    for path in event.paths {
        if let Some(told) = one(rules, event.kind, path) {
            tell(told);
        }
    }
}

fn one(rules: &NameRules, kind: EventKind, path: PathBuf) -> Option<Translated> {
    let matters = || is_interesting(rules, &path);
    Some(match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) if matters() => {
            Translated::Event(WatchEvent::Closed(path))
        }
        EventKind::Create(CreateKind::Folder) => Translated::Order(WatchCommand::Watch(path)),
        // A hard link appears without a close; files that are written are told by their close.
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Metadata(_)) if matters() => {
            Translated::Event(WatchEvent::Changed(path))
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            // The event does not say what was renamed, and a directory may have any name.
            if path.is_dir() {
                Translated::Order(WatchCommand::Watch(path))
            } else if matters() {
                Translated::Event(WatchEvent::Renamed { to: path })
            } else {
                return None;
            }
        }
        EventKind::Remove(RemoveKind::Folder) => Translated::Order(WatchCommand::Forget(path)),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) if !matters() => {
            Translated::Order(WatchCommand::Forget(path))
        }
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) if matters() => {
            Translated::Event(WatchEvent::Removed(path))
        }
        // notify calls a watched directory that is gone a file once its watch is not recursive.
        EventKind::Remove(_) => Translated::Order(WatchCommand::Forget(path)),
        _ => return None,
    })
}

/// Recordings, playlists and manifests. Segments come by the thousand and their playlist is told each time.
fn is_interesting(rules: &NameRules, path: &Path) -> bool {
    let class = path.file_name().map(|name| rules.class(name));
    matches!(class, Some(NameClass::Recording { .. } | NameClass::Playlist(_)))
}

/// An error of notify's in our words; `path` is what was to be watched.
pub(super) fn problem(error: notify::Error, path: &Path) -> Problem {
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;
    let path = error.paths.first().cloned().unwrap_or_else(|| path.to_owned());
    let limit = |path, sysctl| DiscoverError::WatchLimit { path, sysctl };
    match error.kind {
        notify::ErrorKind::MaxFilesWatch => limit(path, "fs.inotify.max_user_watches"),
        notify::ErrorKind::Io(e) => match e.raw_os_error() {
            Some(ENOSPC) => limit(path, "fs.inotify.max_user_watches"),
            // `inotify_init` says EMFILE for its own limit and for the process's open files; the first is far lower.
            Some(EMFILE) => limit(path, "fs.inotify.max_user_instances"),
            _ => DiscoverError::NotWatched { path, source: e },
        },
        notify::ErrorKind::PathNotFound => {
            DiscoverError::NotWatched { path, source: io::Error::from(io::ErrorKind::NotFound) }
        }
        other => DiscoverError::NotWatched { path, source: io::Error::other(notify::Error::new(other)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use notify::event::{DataChange, MetadataKind};

    fn told(kind: EventKind, path: &str) -> Vec<String> {
        let mut all = Vec::new();
        let event = notify::Event::new(kind).add_path(path.into());
        each(&NameRules::default(), event, |told| {
            all.push(match told {
                Translated::Event(event) => format!("{event:?}"),
                Translated::Order(order) => format!("{order:?}"),
            });
        });
        all
    }

    #[test]
    fn events_become_our_own() {
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        assert_eq!(told(close, "/r/x.mp4"), ["Closed(\"/r/x.mp4\")"]);
        assert_eq!(told(close, "/r/x.m3u8"), ["Closed(\"/r/x.m3u8\")"]);
        assert_eq!(told(name(RenameMode::To), "/r/x.mp4"), ["Renamed { to: \"/r/x.mp4\" }"]);
        assert_eq!(told(name(RenameMode::From), "/r/x.mp4.tmp"), ["Removed(\"/r/x.mp4.tmp\")"]);
        assert_eq!(told(EventKind::Remove(RemoveKind::File), "/r/x.mp4"), ["Removed(\"/r/x.mp4\")"]);
        assert_eq!(told(EventKind::Create(CreateKind::File), "/r/x.mp4"), ["Changed(\"/r/x.mp4\")"]);
        assert_eq!(told(EventKind::Create(CreateKind::Folder), "/r/new"), ["Watch(\"/r/new\")"]);
        assert_eq!(told(EventKind::Remove(RemoveKind::Folder), "/r"), ["Forget(\"/r\")"]);
    }

    #[test]
    fn what_is_no_recording_and_every_single_write_is_not_told() {
        let close = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for name in ["/r/.aftercast-x.mp4.partial", "/r/a.m4s", "/r/x.txt", "/r/x.mp4#1", "/r/a.m4s.tmp"] {
            assert!(told(close, name).is_empty(), "{name}");
        }
        assert!(told(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "/r/x.mp4").is_empty());
        assert!(told(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/r/x.mp4").is_empty());
        assert!(told(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/r/x.txt").is_empty());
    }

    #[test]
    fn an_overflow_ends_in_a_rescan() {
        let mut all = Vec::new();
        let event = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        each(&NameRules::default(), event, |told| all.push(told));
        assert!(matches!(all.as_slice(), [Translated::Order(WatchCommand::Rescan(_))]));
    }

    #[test]
    fn a_limit_of_the_kernel_names_its_sysctl() {
        let said = |error| {
            let problem = problem(error, Path::new("/r"));
            format!("{problem} {}", problem.hint().unwrap())
        };
        let watches = said(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        assert!(watches.contains("sysctl -w fs.inotify.max_user_watches="), "{watches}");
        let instances = said(notify::Error::io(io::Error::from_raw_os_error(24)));
        assert!(instances.contains("sysctl -w fs.inotify.max_user_instances="), "{instances}");
        let full = said(notify::Error::io(io::Error::from_raw_os_error(28)));
        assert!(full.contains("max_user_watches"), "{full}");
    }
}
