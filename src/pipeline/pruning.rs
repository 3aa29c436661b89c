//! Entries of the journal that are done are kept as long as they prevent something, and dropped then.
//!
//! What an entry that is done prevents is that its source is taken again. It is kept
//!
//! - for [`KEPT_MS`], since a scan or a command that found the source before it was removed may come to it later;
//! - as long as the source is there as it was, under its own name or aside: one that was in use, or touched, or whose removal
//!   was cut stays without any other row that names it;
//! - as long as its root is not there, and nobody can tell.
//!
//! Beyond that it prevents nothing: no file has its path, inode, size and time. The finished file and a kept original are known
//! by rows of their own.

use std::path::Path;

use tracing::warn;

use super::journaling::Journaling;
use super::roots;
use crate::catalog::{CatalogError, JournalEntry, JournalKey};
use crate::durable;
use crate::fault::chain;
use crate::recording::Fingerprint;

/// How long an entry is kept after its end in any case.
const KEPT_MS: i64 = 24 * 3_600 * 1_000;
/// Entries looked at in one go: a journal of any length costs a few milliseconds.
const LOOKED_AT: usize = 1_000;

/// Looks at some entries of the journal and drops those that are done and prevent nothing.
pub(super) fn prune(ctx: &Journaling) {
    // What a catalogue lacks that is an older state of itself may speak of the same files.
    if ctx.catalog.is_behind() || ctx.stop.is_requested() {
        return;
    }
    if let Err(error) = prune_at(ctx, ctx.clock.now_ms()) {
        warn!(error = chain(&error), "journal not pruned");
    }
}

/// Keys are digests: begun at places of no order, looks come to every entry by and by.
fn somewhere(now_ms: i64) -> JournalKey {
    JournalKey::of(Path::new(""), &Fingerprint { device: 0, inode: 0, size_bytes: 0, mtime_ns: now_ms })
}

fn prune_at(ctx: &Journaling, now_ms: i64) -> Result<(), CatalogError> {
    let done = ctx.catalog.done_entries(&somewhere(now_ms), LOOKED_AT)?;
    let spent = done.iter().filter(|(key, entry)| !prevents_something(ctx, key, entry, now_ms));
    let spent: Vec<_> = spent.map(|(key, _)| *key).collect();
    if spent.is_empty() { Ok(()) } else { ctx.catalog.drop_done(&spent) }
}

fn prevents_something(ctx: &Journaling, key: &JournalKey, entry: &JournalEntry, now_ms: i64) -> bool {
    let candidate = entry.settled.candidate();
    // By the key, as a scan would ask: a device number changes with every mount.
    let is_it = |now: Fingerprint| JournalKey::of(&candidate.path, &now) == *key;
    let stands = |path: &Path| durable::fingerprint(path).map_or_else(|error| !error.is_missing(), is_it);
    now_ms.saturating_sub(entry.changed_ms) < KEPT_MS
        || stands(&candidate.path)
        || stands(&durable::aside_path(&candidate.path))
        || !roots::is_there(&ctx.roots, &candidate.root)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::catalog::BeginOutcome;
    use crate::discover::Settled;
    use crate::pipeline::handles::Handles;
    use crate::recording::journey::{Candidate, NameFacts, Stage, Step};

    /// A recording whose source stands in a root, and the pipeline that has finished it.
    fn done(dir: &Path) -> (Journaling, JournalKey, Candidate) {
        let root = dir.join("root");
        fs::create_dir(&root).unwrap();
        let path = root.join("x.ts");
        fs::write(&path, "x").unwrap();
        let fingerprint = durable::fingerprint(&path).unwrap();
        let (server, facts) = ("none".to_owned(), NameFacts::default());
        let candidate = Candidate { path, root, server, is_temporary: false, facts, fingerprint };
        let ctx = Journaling::of(&Handles::for_test(dir));
        let begun = ctx.catalog.begin(&Settled::for_test(candidate.clone()), ctx.clock.now_ms()).unwrap();
        let BeginOutcome::Attempt { key, .. } = begun else { panic!("{begun:?}") };
        ctx.catalog.advance(&key, Stage::Begun, Step::Done { vod_id: "vod".into() }, ctx.clock.now_ms()).unwrap();
        assert!(roots::is_there(&ctx.roots, &candidate.root), "and known from now on");
        (ctx, key, candidate)
    }

    fn is_kept(ctx: &Journaling, key: &JournalKey, after_ms: i64) -> bool {
        prune_at(ctx, ctx.clock.now_ms() + after_ms).unwrap();
        ctx.catalog.entry(key).unwrap().is_some()
    }

    #[test]
    fn an_entry_stays_as_long_as_its_source_could_be_taken_again_and_goes_then() {
        let dir = tempfile::tempdir().unwrap();
        let (ctx, key, source) = done(dir.path());
        let much_later_ms = 400 * KEPT_MS;
        assert!(is_kept(&ctx, &key, much_later_ms), "the source is there");
        let aside = durable::aside_path(&source.path);
        fs::rename(&source.path, &aside).unwrap();
        assert!(is_kept(&ctx, &key, much_later_ms), "it is aside");
        fs::remove_file(&aside).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&source.root, &elsewhere).unwrap();
        assert!(is_kept(&ctx, &key, much_later_ms), "its root is not there");
        fs::rename(&elsewhere, &source.root).unwrap();
        assert!(is_kept(&ctx, &key, 0), "who found the source may still come");
        assert!(!is_kept(&ctx, &key, KEPT_MS));
    }

    #[test]
    fn a_file_that_was_written_again_keeps_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let (ctx, key, source) = done(dir.path());
        fs::write(&source.path, "longer").unwrap();
        assert!(!is_kept(&ctx, &key, KEPT_MS));
    }
}
