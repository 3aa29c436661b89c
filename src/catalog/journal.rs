//! The journal of recordings under way: what was begun, how far it is known to have come, how often it was tried.
//!
//! Assumes that one worker at a time works on a recording. An attempt is written before it starts, so an entry that
//! still says [`Step::Begun`] or [`Step::Splicing`] when the catalogue is opened belongs to an attempt that the process did not survive. Such deaths
//! are counted apart from attempts: an attempt that failed in an orderly way says nothing against the file.

use std::collections::BTreeSet;

use super::ended::Attempt;
use super::index::JournalKey;
use super::known::Known;
use super::store::{In, Stop, Tx, decode};
use super::vods::Listing;
use super::{Catalog, CatalogError, Result, names};
use crate::fault::Class;
use crate::recording::Fingerprint;
use crate::recording::journey::{Candidate, Entry, Evidence, JOURNAL_VERSION, Postponed, Settled, Step};

/// After this many deaths of the process a file is not tried again (promise 6).
const DEATHS_ALLOWED: usize = 2;
/// What an attempt that was told to stop says of itself.
const INTERRUPTED: &str = "interrupted";
/// Entries written in one transaction where many are written at once.
const BATCH: usize = 500;

/// What the journal says when a recording is to be worked on.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Go on: the attempt is journalled.
    Attempt {
        /// The journal's key, for every further step.
        key: JournalKey,
        /// Number of this attempt, from 1.
        attempt: u32,
        /// Whether the process died during an earlier attempt: work on nothing else meanwhile, so that another death
        /// is not held against files that happened to be under way too.
        is_suspect: bool,
    },
    /// An earlier process came further than the beginning: continue at the entry's step instead.
    Interrupted {
        /// The journal's key.
        key: JournalKey,
        /// The entry with its last durable step.
        entry: Box<Entry>,
    },
    /// The process died during every attempt: quarantine it.
    KillsTheProcess {
        /// The journal's key.
        key: JournalKey,
        /// How often the process died.
        attempts: u32,
    },
    /// Nothing to do: it has been dealt with.
    Known(Known),
}

impl Catalog {
    /// Journals an attempt on a settled recording. What it returns is durable: only then may the work begin.
    pub fn begin(&self, settled: &Settled, now_ms: i64) -> Result<Begun> {
        let key = JournalKey::of(settled.path(), &settled.candidate.fingerprint);
        let begun = self.store().transact(|tx| begin_in(tx, key, settled, now_ms))?;
        if let Begun::Attempt { .. } = begun {
            self.store().flush("journal begun")?;
        }
        Ok(begun)
    }

    /// Journals that a recording has come to a step; durable on return. Not so the beginning, which the next attempt's own
    /// entry follows, and the very end, which nothing follows: lost, the next start comes to them once more. The end of a
    /// recording gives back its reserved name.
    pub fn set_step(&self, key: &JournalKey, step: Step, now_ms: i64) -> Result<()> {
        let transition = transition_to(&step);
        let mut entry = self.entry(key)?.ok_or(CatalogError::NotJournalled { key: *key })?;
        if leads_back(&entry.step, &step) {
            return Err(CatalogError::AlreadyCatalogued { key: *key });
        }
        entry.step = step;
        entry.changed_ms = now_ms;
        // What was said to wait must not be said again by the next command.
        let is_news = entry.postponed.take().is_some();
        self.store().transact(|tx| write_entry(tx, *key, &entry))?;
        if !is_news && matches!(entry.step, Step::Begun | Step::Done { .. }) {
            crate::durable::step(transition);
            return Ok(());
        }
        self.store().flush(transition)
    }

    /// Remembers why a recording that came further than its beginning cannot be carried on yet; durable on return.
    pub fn postpone(&self, key: &JournalKey, why: &Postponed) -> Result<()> {
        self.store().transact(|tx| {
            let mut entry = entry_in(tx, *key)?;
            entry.postponed = Some(why.clone());
            write_entry(tx, *key, &entry)
        })?;
        self.store().flush("journal postponed")
    }

    /// Ends an attempt that was told to stop: the recording may be taken again at once, under any name. Durable on return.
    ///
    /// A file that the process died of before stays a suspect (promise 6).
    pub fn cancel(&self, key: &JournalKey, now_ms: i64) -> Result<()> {
        self.store().transact(|tx| {
            names::release(tx, *key)?;
            if deaths_in(tx, key.stored())?.is_empty() {
                return [In::Open, In::Journal].into_iter().try_for_each(|tree| tx.remove(tree, key.stored()));
            }
            let entry = entry_in(tx, *key)?;
            let step = Step::Failed { class: Class::Cancelled, message: INTERRUPTED.into(), due_ms: Some(now_ms) };
            write_entry(tx, *key, &Entry { step, changed_ms: now_ms, postponed: None, ..entry })
        })?;
        self.store().flush("journal cancelled")
    }

    /// Whether the process died during an earlier attempt on a file.
    pub fn is_suspect(&self, path: &std::path::Path, fingerprint: &Fingerprint) -> Result<bool> {
        let deaths = self.store().read::<Vec<u32>>(In::Open, JournalKey::of(path, fingerprint).stored())?;
        Ok(deaths.is_some_and(|deaths| !deaths.is_empty()))
    }

    /// The entry of a key.
    pub fn entry(&self, key: &JournalKey) -> Result<Option<Entry>> {
        self.store().read(In::Journal, key.stored())
    }

    /// The entry of a file as it is now.
    pub fn entry_for(&self, path: &std::path::Path, fingerprint: &Fingerprint) -> Result<Option<Entry>> {
        self.entry(&JournalKey::of(path, fingerprint))
    }

    /// What start-up recovery has to continue, without a scan of the whole journal.
    pub fn open_entries(&self) -> Result<Listing<(JournalKey, Entry)>> {
        let mut open = Listing::default();
        for row in self.store().prefix(In::Open, b"")? {
            let (key, _) = row?;
            let entry = self.store().read(In::Journal, &key);
            let entry = entry.map(|entry| entry.filter(|entry: &Entry| entry.step.is_open()));
            open.add(entry.map(|entry| JournalKey::from_stored(&key).zip(entry)));
        }
        Ok(open)
    }

    /// Every entry, in no useful order.
    pub fn entries(&self) -> Result<Listing<(JournalKey, Entry)>> {
        let mut all = Listing::default();
        for row in self.store().prefix(In::Journal, b"")? {
            let (key, value) = row?;
            let entry = decode(In::Journal, &key, &value);
            all.add(entry.map(|entry| JournalKey::from_stored(&key).map(|key| (key, entry))));
        }
        Ok(all)
    }

    /// Forgets what is known of a file, so that it is taken as if it were new (`--again`). A VoD record stays.
    pub fn forget(&self, key: &JournalKey) -> Result<()> {
        self.store().transact(|tx| {
            names::release(tx, *key)?;
            [In::Known, In::Open, In::Journal].into_iter().try_for_each(|tree| tx.remove(tree, key.stored()))
        })?;
        self.store().flush("journal forgotten")
    }

    /// Remembers files that a first start leaves out (`existing`); those already known stay as they are. Returns how many
    /// were left out.
    pub fn leave_out(&self, candidates: &[Candidate], now_ms: i64) -> Result<usize> {
        let mut left_out = 0;
        for batch in candidates.chunks(BATCH) {
            left_out += self.store().transact(|tx| {
                let written = batch.iter().map(|candidate| leave_out_in(tx, candidate, now_ms));
                written.sum::<std::result::Result<usize, Stop>>()
            })?;
        }
        if left_out > 0 {
            self.store().flush("journal left out")?;
        }
        Ok(left_out)
    }

    /// Ends the attempts under way because a person wants the process to end at once: they are no deaths of the process, and
    /// the recordings may be taken again right away. Returns how many; durable on return. The process must end next.
    pub fn interrupt_attempts(&self, now_ms: i64) -> Result<usize> {
        self.try_interrupt(now_ms).inspect_err(|error| {
            let noted = self.note_all_ended();
            tracing::warn!(error = crate::fault::chain(error), is_noted = noted.is_ok(), "interruption not journalled");
        })
    }

    fn try_interrupt(&self, now_ms: i64) -> Result<usize> {
        let keys = self.store().prefix(In::Open, b"")?.map(|row| row.map(|(key, _)| key));
        let mut interrupted = 0;
        for key in keys.collect::<Result<Vec<_>>>()?.iter().filter_map(|key| JournalKey::from_stored(key)) {
            interrupted += usize::from(self.store().transact(|tx| interrupt_in(tx, key, now_ms))?);
        }
        self.store().flush("journal interrupted")?;
        Ok(interrupted)
    }

    /// Remembers beside the journal, which cannot be written now, that an attempt ended in order: it will not be counted as a
    /// death of the process. Durable on return, also where no room is left.
    pub fn note_ended(&self, key: &JournalKey, attempt: u32) -> std::io::Result<()> {
        self.0.ended.note((*key, attempt))
    }

    /// The same for every attempt under way, because a person wants the process to end at once.
    fn note_all_ended(&self) -> std::io::Result<()> {
        let open = self.open_entries().map(|open| open.items).unwrap_or_default();
        let is_attempt = |entry: &Entry| matches!(entry.step, Step::Begun | Step::Splicing { .. });
        open.iter().filter(|(_, e)| is_attempt(e)).try_for_each(|(key, entry)| self.note_ended(key, entry.attempts))
    }

    /// Counts the attempts that the last process did not survive, and drops rows that mean nothing any more. Durable no
    /// later than the next attempt; until then the same deaths are counted again.
    ///
    /// What was noted to have ended in order is not counted; notes that mean nothing any more are dropped.
    pub(super) fn count_deaths(&self, noted: &BTreeSet<Attempt>) -> Result<()> {
        let keys = self.store().prefix(In::Open, b"")?.map(|row| row.map(|(key, _)| key));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let mut died = 0;
        let mut kept = BTreeSet::new();
        for key in &keys {
            let attempt = self.store().transact(|tx| attempt_under_way_in(tx, key))?;
            match attempt.filter(|attempt| noted.contains(attempt)) {
                Some(ended) => drop(kept.insert(ended)),
                None => died += usize::from(self.store().transact(|tx| count_death_in(tx, key))?),
            }
        }
        if kept.len() < noted.len() {
            self.0.ended.keep(&kept)?;
        }
        if died > 0 {
            tracing::warn!(
                recordings = died,
                "The last process ended while it worked on recordings; they are taken up again."
            );
            crate::durable::step("journal deaths counted");
        }
        Ok(())
    }
}

/// The name of a transition at the counting seam.
const fn transition_to(step: &Step) -> &'static str {
    match step {
        Step::Begun => "journal begun",
        Step::Splicing { .. } => "journal splicing",
        Step::Publishing { .. } => "journal publishing",
        Step::Catalogued { .. } => "journal catalogued",
        Step::Done { .. } => "source cleared",
        Step::Quarantined { .. } => "journal quarantined",
        Step::Failed { .. } => "journal failed",
        Step::LeftOut => "journal left out",
    }
}

fn begin_in(tx: &Tx<'_>, key: JournalKey, settled: &Settled, now_ms: i64) -> std::result::Result<Begun, Stop> {
    if is_being_published(tx, key, settled)? {
        return Ok(Begun::Known(Known::UnderWay));
    }
    let entry = tx.read::<Entry>(In::Journal, key.stored())?;
    match entry.as_ref().map(|entry| &entry.step) {
        Some(Step::Splicing { .. } | Step::Publishing { .. } | Step::Catalogued { .. }) => {
            Ok(entry.map_or(Begun::Known(Known::UnderWay), |entry| Begun::Interrupted { key, entry: Box::new(entry) }))
        }
        None | Some(Step::Begun | Step::Failed { .. }) => {
            let row = tx.get(In::Known, key.stored())?;
            match Known::from_row(row.as_deref()) {
                Known::Unknown => attempt_in(tx, key, entry.map_or(0, |entry| entry.attempts), settled, now_ms),
                known => Ok(Begun::Known(known)),
            }
        }
        Some(step) => Ok(Begun::Known(Known::from_step(step))),
    }
}

/// Whether a file is the finished one of another recording, that has its final name already and its record not yet: a
/// watcher sees our own renames, too.
fn is_being_published(tx: &Tx<'_>, key: JournalKey, settled: &Settled) -> std::result::Result<bool, Stop> {
    let Some(holder) = names::holder(tx, settled.path())?.filter(|holder| *holder != key) else { return Ok(false) };
    let step = tx.read::<Entry>(In::Journal, holder.stored())?.map(|entry| entry.step);
    Ok(matches!(step, Some(Step::Publishing { written, .. }) if written == settled.candidate.fingerprint))
}

fn attempt_in(
    tx: &Tx<'_>,
    key: JournalKey,
    attempts: u32,
    settled: &Settled,
    now_ms: i64,
) -> std::result::Result<Begun, Stop> {
    let deaths = deaths_in(tx, key.stored())?;
    if deaths.len() >= DEATHS_ALLOWED {
        return Ok(Begun::KillsTheProcess { key, attempts: u32::try_from(deaths.len()).unwrap_or(u32::MAX) });
    }
    let attempt = attempts.saturating_add(1);
    let entry = Entry {
        version: JOURNAL_VERSION,
        settled: settled.clone(),
        step: Step::Begun,
        attempts: attempt,
        changed_ms: now_ms,
        postponed: None,
    };
    write_entry(tx, key, &entry)?;
    Ok(Begun::Attempt { key, attempt, is_suspect: !deaths.is_empty() })
}

fn leave_out_in(tx: &Tx<'_>, candidate: &Candidate, now_ms: i64) -> std::result::Result<usize, Stop> {
    let key = JournalKey::of(&candidate.path, &candidate.fingerprint);
    if tx.get(In::Journal, key.stored())?.is_some() || tx.get(In::Known, key.stored())?.is_some() {
        return Ok(0);
    }
    let settled = Settled { candidate: candidate.clone(), evidence: Evidence::Unchanged { for_s: 0 } };
    let step = Step::LeftOut;
    let entry = Entry { version: JOURNAL_VERSION, settled, step, attempts: 0, changed_ms: now_ms, postponed: None };
    write_entry(tx, key, &entry)?;
    Ok(1)
}

/// The attempts on a recording that ended in the death of the process.
fn deaths_in(tx: &Tx<'_>, key: impl AsRef<[u8]>) -> std::result::Result<Vec<u32>, Stop> {
    Ok(tx.read(In::Open, key)?.unwrap_or_default())
}

/// The attempt that a row of `open` speaks of, if it did not come to its end.
fn attempt_under_way_in(tx: &Tx<'_>, key: &[u8]) -> std::result::Result<Option<Attempt>, Stop> {
    let entry = match tx.read::<Entry>(In::Journal, key) {
        Err(Stop::Abort(CatalogError::Unreadable { .. })) => None,
        other => other?,
    };
    let entry = entry.filter(|entry| matches!(entry.step, Step::Begun | Step::Splicing { .. }));
    Ok(JournalKey::from_stored(key).zip(entry).map(|(key, entry)| (key, entry.attempts)))
}

fn count_death_in(tx: &Tx<'_>, key: &[u8]) -> std::result::Result<bool, Stop> {
    let entry = match tx.read::<Entry>(In::Journal, key) {
        Ok(entry) => entry,
        // Said when it is listed; it must not keep the catalogue from opening.
        Err(Stop::Abort(CatalogError::Unreadable { .. })) => return Ok(false),
        Err(other) => return Err(other),
    };
    match entry {
        // What was put off ended in order.
        Some(entry) if matches!(entry.step, Step::Begun | Step::Splicing { .. }) && entry.postponed.is_none() => {
            let mut deaths = deaths_in(tx, key)?;
            if deaths.contains(&entry.attempts) {
                return Ok(false);
            }
            deaths.push(entry.attempts);
            tx.write(In::Open, key, &deaths)?;
            Ok(true)
        }
        Some(entry) if entry.step.is_open() => Ok(false),
        Some(entry) => forget_deaths(tx, key, &entry.step).map(|()| false),
        None => tx.remove(In::Open, key).map(|()| false),
    }
}

fn interrupt_in(tx: &Tx<'_>, key: JournalKey, now_ms: i64) -> std::result::Result<bool, Stop> {
    let mut entry = entry_in(tx, key)?;
    if !matches!(entry.step, Step::Begun) {
        return Ok(false);
    }
    entry.step = Step::Failed { class: Class::Cancelled, message: INTERRUPTED.into(), due_ms: Some(now_ms) };
    entry.changed_ms = now_ms;
    write_entry(tx, key, &entry).map(|()| true)
}

/// The entry of a key that must be there.
pub(super) fn entry_in(tx: &Tx<'_>, key: JournalKey) -> std::result::Result<Entry, Stop> {
    let entry = tx.read(In::Journal, key.stored())?;
    entry.ok_or_else(|| super::store::stop(CatalogError::NotJournalled { key }))
}

/// Removes the row of an entry that is not open. A failed one keeps it while it counts deaths: a file that is tried again is
/// still the one that the process died of.
fn forget_deaths(tx: &Tx<'_>, key: &[u8], step: &Step) -> std::result::Result<(), Stop> {
    if matches!(step, Step::Failed { .. }) && !deaths_in(tx, key)?.is_empty() {
        return Ok(());
    }
    tx.remove(In::Open, key)
}

/// Whether a step would undo a record: what is catalogued is never finished again, only [`Catalog::forget`] leads back.
const fn leads_back(from: &Step, to: &Step) -> bool {
    matches!(from, Step::Catalogued { .. } | Step::Done { .. })
        && !matches!(to, Step::Catalogued { .. } | Step::Done { .. })
}

/// Writes an entry and whether it is open; gives back the reserved name once it is not needed any more.
pub(super) fn write_entry(tx: &Tx<'_>, key: JournalKey, entry: &Entry) -> std::result::Result<(), Stop> {
    tx.write(In::Journal, key.stored(), entry)?;
    if !entry.step.is_open() {
        forget_deaths(tx, key.stored().as_bytes(), &entry.step)?;
    } else if tx.get(In::Open, key.stored())?.is_none() {
        tx.write(In::Open, key.stored(), &[0_u32; 0])?;
    }
    match entry.step {
        Step::Catalogued { .. } | Step::Done { .. } | Step::Quarantined { .. } | Step::LeftOut => {
            names::release(tx, key)
        }
        Step::Begun | Step::Splicing { .. } | Step::Publishing { .. } | Step::Failed { .. } => Ok(()),
    }
}
