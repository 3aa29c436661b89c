//! Whether one file belongs to a unit, asked for a single path as an event names it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::discover::candidate::{NameClass, NameRules};

use super::folder::DirectoryListing;
use super::may_be_segment;
use super::unit::{antmedia_playlist, collect};

/// Whether a playlist in the file's directory, or in one above it up to the root, claims the file.
pub(in crate::discover) fn is_claimed(
    path: &Path,
    root: &Path,
    rules: &NameRules,
    antmedia: bool,
    now_ms: i64,
) -> bool {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return false;
    };
    let segment_of = antmedia_playlist(name).filter(|_| antmedia);
    if segment_of.is_some_and(|playlist| directory.join(format!("{playlist}.m3u8")).is_file()) {
        return true;
    }
    let mut above = directory.ancestors().take_while(|d| d.starts_with(root));
    above.any(|directory| {
        let listing = listing(directory, rules);
        if listing.playlists.is_empty() {
            return false;
        }
        let found = collect(directory, root, &listing, &HashSet::new(), antmedia, now_ms);
        let is_here = path.parent() == Some(directory);
        // What an unreadable playlist names is not known: a segment must not be taken for a recording.
        (is_here && found.claimed_here.contains(name))
            || found.claimed_below.contains(path)
            || (!found.problems.is_empty() && may_be_segment(path))
    })
}

/// The names of a directory that matter to its units. One that cannot be read has none: the scan says so.
fn listing(directory: &Path, rules: &NameRules) -> DirectoryListing {
    let mut listing = DirectoryListing::default();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let class = rules.class(&name);
        if !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        let Ok(name) = name.into_string() else { continue };
        match class {
            NameClass::Playlist(kind) => listing.playlists.push((name, kind)),
            NameClass::Never | NameClass::Unhandled => drop(listing.others.insert(name)),
            _ => drop(listing.names.insert(name)),
        }
    }
    listing
}
