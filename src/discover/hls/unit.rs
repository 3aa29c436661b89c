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
    /// Names in this directory that belong to a unit; none of them is a recording.
    pub(in crate::discover) claimed_here: HashSet<String>,
    /// Files in directories below that belong to a unit.
    pub(in crate::discover) claimed_below: HashSet<PathBuf>,
    /// Playlists that could not be read: what they name is not known.
    pub(in crate::discover) problems: Vec<DiscoverError>,
}

impl Collected {
    /// Adds a path relative to the directory.
    fn claim(&mut self, directory: &Path, relative: &str) {
        if relative.contains('/') {
            self.claimed_below.insert(directory.join(relative));
        } else {
            self.claimed_here.insert(relative.to_owned());
        }
    }
}

/// What one playlist and those it names come to; paths are relative to the unit's directory.
#[derive(Debug, Default)]
struct Parts {
    segments: Vec<String>,
    playlists: Vec<String>,
    missing: usize,
    has_live: bool,
    has_media: bool,
    /// Media playlists without an end.
    unended: Vec<String>,
    target_ms: i64,
    changed_ms: i64,
    newest: Option<String>,
    /// Segments that a sliding playlist names no longer or (true) not yet.
    beside: Vec<(String, bool)>,
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
    let mut variants = HashSet::new();
    for (name, kind) in listing.playlists.iter().filter(|(name, _)| !claimed.contains(&directory.join(name))) {
        match reader.read(name, *kind, now_ms) {
            Ok(Some((unit, parts))) => {
                // Once nothing is written any more, a segment that was never named is a recording by itself.
                let beside = parts.beside.iter().filter(|(_, is_coming)| !is_coming || !unit.ready.is_ready());
                let beside = beside.map(|(relative, _)| relative);
                parts.segments.iter().chain(&parts.playlists).chain(beside).for_each(|r| collected.claim(directory, r));
                variants.extend(parts.playlists.into_iter().filter(|p| p != name));
                collected.units.push(Unit { root: root.to_owned(), ..unit });
            }
            Ok(None) => {}
            Err(problem) => collected.problems.push(problem),
        }
    }
    if antmedia {
        collected.claimed_here.extend(antmedia_segments(listing).cloned());
    }
    let variants: HashSet<PathBuf> = variants.iter().map(|relative| directory.join(relative)).collect();
    collected.units.retain(|unit| !variants.contains(&unit.playlist));
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
    fn read(&self, name: &str, kind: UnitKind, now_ms: i64) -> Result<Option<(Unit, Parts)>, DiscoverError> {
        let playlist = self.directory.join(name);
        let Some((text, fingerprint)) = read_playlist(&playlist)? else { return Ok(None) };
        let mut parts = Parts { changed_ms: fingerprint.mtime_ms(), ..Parts::default() };
        match kind {
            UnitKind::Hls => self.add_hls(&text, name, 0, &mut parts)?,
            UnitKind::Dash => self.add_dash(&text, &mut parts),
        }
        // A master playlist whose variants are not there yet has not ended.
        let has_ended = parts.has_media && !parts.has_live;
        let facts = UnitFacts {
            has_ended,
            target_ms: parts.target_ms,
            changed_ms: parts.changed_ms,
            has_writer: !has_ended && self.is_written(name, parts.newest.as_deref()),
        };
        let unit = Unit {
            kind,
            root: PathBuf::new(),
            ready: readiness(facts, now_ms),
            files: self.in_order(&parts, name),
            unended: parts.unended.iter().map(|relative| self.directory.join(relative)).collect(),
            playlist,
            missing: parts.missing,
            fingerprint,
            changed_ms: parts.changed_ms,
        };
        Ok(Some((unit, parts)))
    }

    /// Adds what an HLS playlist names, and what those playlists name; its own name is relative to the unit's directory.
    fn add_hls(&self, text: &str, name: &str, depth: usize, parts: &mut Parts) -> Result<(), DiscoverError> {
        let list = m3u8::parse(text);
        let below = &name[..name.rfind('/').map_or(0, |slash| slash + 1)];
        let is_media = list.variants.is_empty();
        parts.has_media |= is_media;
        if is_media && !list.has_ended {
            parts.has_live = true;
            parts.unended.push(name.to_owned());
        }
        parts.target_ms = parts.target_ms.max(list.target_ms);
        self.add_segments(list.segments.iter().map(String::as_str), below, !list.has_ended, parts);
        self.add_beside(&list, below, parts);
        for variant in list.variants.iter().filter(|_| depth < MAX_DEPTH) {
            let Some(relative) = self.resolve(variant, below) else {
                parts.missing += usize::from(!m3u8::readings(variant).is_empty());
                continue;
            };
            if parts.playlists.contains(&relative) {
                continue;
            }
            if let Some((text, fingerprint)) = read_playlist(&self.directory.join(&relative))? {
                parts.changed_ms = parts.changed_ms.max(fingerprint.mtime_ms());
                parts.playlists.push(relative.clone());
                self.add_hls(&text, &relative, depth + 1, parts)?;
            }
        }
        Ok(())
    }

    fn add_beside(&self, list: &m3u8::Playlist, below: &str, parts: &mut Parts) {
        // Some servers count from 1.
        let window = Window { slides: list.media_sequence > 1, is_live: !list.has_ended };
        let elsewhere: HashSet<String>;
        let names = if below.is_empty() || !(window.slides || window.is_live) {
            &self.listing.names
        } else {
            elsewhere = self.names_in(below).into_iter().collect();
            &elsewhere
        };
        let beside = sequence::beside(&list.segments, names.iter(), window);
        parts.beside.extend(beside.into_iter().map(|b| (format!("{below}{}", b.name), b.is_coming)));
    }

    fn add_segments<'n>(&self, names: impl Iterator<Item = &'n str>, below: &str, live: bool, parts: &mut Parts) {
        let first = parts.segments.len();
        for name in names {
            match self.resolve(name, below) {
                Some(relative) => parts.segments.push(relative),
                None => parts.missing += usize::from(!m3u8::readings(name).is_empty()),
            }
        }
        if live {
            let from = first.max(parts.segments.len().saturating_sub(NEWEST_SEGMENTS));
            parts.changed_ms = parts.changed_ms.max(self.newest_change_ms(&parts.segments[from..]));
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
        self.add_segments(names, "", !manifest.has_ended, parts);
    }

    fn names_in(&self, below: &str) -> Vec<String> {
        if below.is_empty() {
            return self.listing.names.iter().cloned().collect();
        }
        let entries = fs::read_dir(self.directory.join(below)).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect()
    }

    /// The path below the unit's directory of a name in a playlist there, if the file exists.
    fn resolve(&self, name: &str, below: &str) -> Option<String> {
        // Nearly every name is that of a file in the same directory, as it is written.
        if below.is_empty() && self.listing.names.contains(name) {
            return Some(name.to_owned());
        }
        m3u8::readings(name).into_iter().map(|r| format!("{below}{r}")).find(|relative| self.exists(relative))
    }

    /// Whether a file is there, reached without a link: a unit must not carry files from elsewhere into the bucket.
    fn exists(&self, relative: &str) -> bool {
        if self.listing.names.contains(relative) || self.listing.playlists.iter().any(|(n, _)| n == relative) {
            return true;
        }
        let parents = relative.match_indices('/').map(|(slash, _)| &relative[..slash]);
        let is_directory = |p: &str| fs::symlink_metadata(self.directory.join(p)).is_ok_and(|m| m.is_dir());
        let is_file = |p: &str| fs::symlink_metadata(self.directory.join(p)).is_ok_and(|m| m.is_file());
        parents.into_iter().all(is_directory) && is_file(relative)
    }

    /// Segments, then variants, the playlist last; each once.
    fn in_order(&self, parts: &Parts, playlist: &str) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let files = parts.segments.iter().chain(&parts.playlists).map(String::as_str).filter(|file| *file != playlist);
        files.chain([playlist]).filter(|file| seen.insert(*file)).map(|file| self.directory.join(file)).collect()
    }

    fn newest_change_ms(&self, files: &[String]) -> i64 {
        let times = files.iter().filter_map(|file| fs::symlink_metadata(self.directory.join(file)).ok());
        times.map(|m| Fingerprint::of(&m).mtime_ms()).max().unwrap_or(i64::MIN)
    }

    fn is_written(&self, playlist: &str, newest: Option<&str>) -> bool {
        let mut files = [Some(playlist), newest].into_iter().flatten();
        files.any(|file| lease::probe(&self.directory.join(file)) == Lease::Held)
    }
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
