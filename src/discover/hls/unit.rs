//! Building units from the playlists of one directory.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::discover::error::DiscoverError;
use crate::discover::lease::{self, Lease};
use crate::recording::Fingerprint;

use super::sequence::{self, Window};
use super::{Unit, UnitFacts, UnitKind, m3u8, mpd, readiness};

/// Largest playlist that is read: a day of one-second segments stays far below.
const MAX_PLAYLIST_BYTES: u64 = 32 << 20;

/// Newest segments whose times are looked at; older ones do not change any more.
const NEWEST_SEGMENTS: usize = 8;

/// Depth to which playlists name playlists. RFC 8216 knows two.
const MAX_DEPTH: usize = 4;

/// The files of one directory that matter to its units.
#[derive(Debug, Default)]
pub(in crate::discover) struct Listing {
    /// Playlists and manifests.
    pub(in crate::discover) playlists: Vec<(String, UnitKind)>,
    /// Names of recordings and segments.
    pub(in crate::discover) names: HashSet<String>,
}

/// The units of a directory, what they claim, and what could not be read.
#[derive(Debug, Default)]
pub(in crate::discover) struct Collected {
    pub(in crate::discover) units: Vec<Unit>,
    /// Every file that belongs to a unit; none of them is a recording.
    pub(in crate::discover) claimed: HashSet<PathBuf>,
    pub(in crate::discover) problems: Vec<DiscoverError>,
}

/// What one playlist and those it names come to.
#[derive(Debug, Default)]
struct Parts {
    segments: Vec<PathBuf>,
    playlists: Vec<PathBuf>,
    missing: usize,
    has_live: bool,
    has_media: bool,
    target_ms: i64,
    changed_ms: i64,
    newest: Option<PathBuf>,
    /// Segments that a sliding playlist names no longer or not yet.
    beside: Vec<(PathBuf, bool)>,
}

struct Reader<'a> {
    directory: &'a Path,
    listing: &'a Listing,
}

/// Builds the units of a directory. Playlists in `claimed` already belong to a master playlist further up.
///
/// With `antmedia`, files named `<playlist name>%09d.ts` are claimed although the playlist no longer names them.
pub(in crate::discover) fn collect(
    directory: &Path,
    root: &Path,
    listing: &Listing,
    claimed: &HashSet<PathBuf>,
    antmedia: bool,
    now_ms: i64,
) -> Collected {
    let reader = Reader { directory, listing };
    let mut collected = Collected::default();
    let (mut found, mut beside) = (Vec::new(), Vec::new());
    for (name, kind) in listing.playlists.iter().filter(|(name, _)| !claimed.contains(&directory.join(name))) {
        match reader.read(name, *kind, now_ms) {
            Ok(Some((unit, more))) => {
                found.push(Unit { root: root.to_owned(), ..unit });
                beside.extend(more);
            }
            Ok(None) => {}
            Err(problem) => collected.problems.push(problem),
        }
    }
    collected.claimed = found.iter().flat_map(|u| u.files.iter().cloned()).chain(beside).collect();
    if antmedia {
        collected.claimed.extend(antmedia_segments(listing).map(|name| directory.join(name)));
    }
    let variants: HashSet<PathBuf> =
        found.iter().flat_map(|u| u.files.iter().filter(|f| **f != u.playlist).cloned()).collect();
    collected.units = found.into_iter().filter(|u| !variants.contains(&u.playlist)).collect();
    collected.units.sort_by(|a, b| a.playlist.cmp(&b.playlist));
    collected
}

/// Names of the form `<playlist name>` and exactly nine digits, `.ts` or `.fmp4`, whose playlist is there.
fn antmedia_segments(listing: &Listing) -> impl Iterator<Item = &String> {
    let playlists: HashSet<&str> = listing.playlists.iter().filter_map(|(n, _)| n.strip_suffix(".m3u8")).collect();
    listing.names.iter().filter(move |name| antmedia_playlist(name).is_some_and(|p| playlists.contains(p)))
}

/// The playlist (without extension) whose segment a name would be: `room1000000042.ts` is `room1`'s.
pub(in crate::discover) fn antmedia_playlist(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".ts").or_else(|| name.strip_suffix(".fmp4"))?;
    let at = stem.len().checked_sub(9).filter(|at| *at > 0)?;
    (stem.is_char_boundary(at) && stem[at..].bytes().all(|b| b.is_ascii_digit())).then(|| &stem[..at])
}

impl Reader<'_> {
    fn read(&self, name: &str, kind: UnitKind, now_ms: i64) -> Result<Option<(Unit, Vec<PathBuf>)>, DiscoverError> {
        let playlist = self.directory.join(name);
        let Some((text, fingerprint)) = read_playlist(&playlist)? else { return Ok(None) };
        let mut parts = Parts { changed_ms: fingerprint.mtime_ms(), ..Parts::default() };
        match kind {
            UnitKind::Hls => self.add_hls(&text, Path::new(""), 0, &mut parts)?,
            UnitKind::Dash => self.add_dash(&text, &mut parts),
        }
        // A master playlist whose variants are not there yet has not ended.
        let has_ended = parts.has_media && !parts.has_live;
        let facts = UnitFacts {
            has_ended,
            target_ms: parts.target_ms,
            changed_ms: parts.changed_ms,
            has_writer: !has_ended && is_written(&playlist, parts.newest.as_deref()),
        };
        let ready = readiness(facts, now_ms);
        let unit = Unit {
            kind,
            root: PathBuf::new(),
            ready,
            files: in_order(parts.segments, parts.playlists, &playlist),
            playlist,
            missing: parts.missing,
            fingerprint,
            changed_ms: parts.changed_ms,
        };
        // Once nothing is written any more, a segment that was never named is a recording by itself.
        let beside = parts.beside.into_iter().filter(|(_, is_coming)| !is_coming || !ready.is_ready());
        Ok(Some((unit, beside.map(|(path, _)| path).collect())))
    }

    /// Adds what an HLS playlist in the directory `below` names, and what those playlists name.
    fn add_hls(&self, text: &str, below: &Path, depth: usize, parts: &mut Parts) -> Result<(), DiscoverError> {
        let list = m3u8::parse(text);
        let is_media = list.variants.is_empty();
        parts.has_media |= is_media;
        parts.has_live |= is_media && !list.has_ended;
        parts.target_ms = parts.target_ms.max(list.target_ms);
        self.add_segments(list.segments.iter().map(String::as_str), below, !list.has_ended, parts);
        // Some servers count from 1.
        let window = Window { slides: list.media_sequence > 1, is_live: !list.has_ended };
        let elsewhere;
        let names = if below.as_os_str().is_empty() {
            &self.listing.names
        } else {
            elsewhere = self.names_in(&below.to_string_lossy()).into_iter().collect();
            &elsewhere
        };
        let beside = sequence::beside(&list.segments, names.iter(), window);
        parts.beside.extend(beside.into_iter().map(|b| (self.directory.join(below).join(b.name), b.is_coming)));
        for variant in list.variants.iter().filter(|_| depth < MAX_DEPTH) {
            let Some(relative) = self.resolve(variant, below) else {
                parts.missing += usize::from(!m3u8::readings(variant).is_empty());
                continue;
            };
            let path = self.directory.join(&relative);
            if parts.playlists.contains(&path) {
                continue;
            }
            if let Some((text, fingerprint)) = read_playlist(&path)? {
                parts.changed_ms = parts.changed_ms.max(fingerprint.mtime_ms());
                parts.playlists.push(path);
                self.add_hls(&text, relative.parent().unwrap_or(Path::new("")), depth + 1, parts)?;
            }
        }
        Ok(())
    }

    fn add_segments<'n>(&self, names: impl Iterator<Item = &'n str>, below: &Path, live: bool, parts: &mut Parts) {
        let first = parts.segments.len();
        for name in names {
            match self.resolve(name, below) {
                Some(relative) => parts.segments.push(self.directory.join(relative)),
                None => parts.missing += usize::from(!m3u8::readings(name).is_empty()),
            }
        }
        if live {
            let from = first.max(parts.segments.len().saturating_sub(NEWEST_SEGMENTS));
            parts.changed_ms = parts.changed_ms.max(newest_change_ms(&parts.segments[from..]));
            parts.newest = parts.segments.last().cloned();
        }
    }

    fn add_dash(&self, text: &str, parts: &mut Parts) {
        let manifest = mpd::parse(text);
        (parts.has_media, parts.has_live) = (true, !manifest.has_ended);
        parts.target_ms = manifest.target_ms;
        let mut matching: Vec<String> = Vec::new();
        for pattern in &manifest.patterns {
            let names = self.names_in(&pattern.directory);
            let prefix = if pattern.directory.is_empty() { String::new() } else { format!("{}/", pattern.directory) };
            matching.extend(names.iter().filter(|n| pattern.name.is_match(n)).map(|n| format!("{prefix}{n}")));
        }
        matching.sort();
        matching.dedup();
        let names = manifest.names.iter().chain(&matching).map(String::as_str);
        self.add_segments(names, Path::new(""), !manifest.has_ended, parts);
    }

    fn names_in(&self, below: &str) -> Vec<String> {
        if below.is_empty() {
            return self.listing.names.iter().cloned().collect();
        }
        let entries = fs::read_dir(self.directory.join(below)).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect()
    }

    /// The path below the unit's directory of a name in a playlist there, if the file exists.
    fn resolve(&self, name: &str, below: &Path) -> Option<PathBuf> {
        m3u8::readings(name).into_iter().map(|r| below.join(r)).find(|relative| self.exists(relative))
    }

    fn exists(&self, relative: &Path) -> bool {
        let listed = relative.to_str().is_some_and(|name| {
            self.listing.names.contains(name) || self.listing.playlists.iter().any(|(n, _)| n == name)
        });
        // Neither a link nor a directory: a unit must not carry files from elsewhere into the bucket.
        listed || fs::symlink_metadata(self.directory.join(relative)).is_ok_and(|m| m.is_file())
    }
}

fn in_order(segments: Vec<PathBuf>, playlists: Vec<PathBuf>, playlist: &Path) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let last = std::iter::once(playlist.to_owned());
    let all = segments.into_iter().chain(playlists.into_iter().filter(|p| p != playlist)).chain(last);
    all.filter(|file| seen.insert(file.clone())).collect()
}

/// Reads a playlist with its fingerprint; `None` if it vanished or is no playlist by its size or type.
fn read_playlist(path: &Path) -> Result<Option<(String, Fingerprint)>, DiscoverError> {
    let unreadable = |source| DiscoverError::Unreadable { path: path.to_owned(), source };
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(unreadable)?,
    };
    if !metadata.is_file() || metadata.len() > MAX_PLAYLIST_BYTES {
        return Ok(None);
    }
    match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(e)),
        Ok(bytes) => Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), Fingerprint::of(&metadata)))),
    }
}

fn newest_change_ms(files: &[PathBuf]) -> i64 {
    let times = files.iter().filter_map(|f| fs::symlink_metadata(f).ok());
    times.map(|m| Fingerprint::of(&m).mtime_ms()).max().unwrap_or(i64::MIN)
}

fn is_written(playlist: &Path, newest: Option<&Path>) -> bool {
    [Some(playlist), newest].into_iter().flatten().any(|path| lease::probe(path) == Lease::Held)
}
