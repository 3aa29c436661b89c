//! The journal of recordings under way: what was begun, how far it is known to have come, how often it was tried.
//!
//! Assumes that one worker at a time works on a recording. An attempt is written before it starts, so an entry that
//! still says [`Step::Begun`] or [`Step::Splicing`] when the catalogue is opened belongs to an attempt that the process did not survive. Such deaths
//! are counted apart from attempts: an attempt that failed in an orderly way says nothing against the file.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::ended::AttemptId;
use super::entry::JournalEntry;
use super::error::{CatalogError, Result};
use super::index::JournalKey;
use super::known::KnownFile;
use super::listing::{self, Cursor, Listing};
use super::log::Appender;
use super::node::NodeCatalog;
use super::rows::decode;
use super::store::{Tx, TxAbort, stop};
use super::tree::TreeId;
use super::{names, waiting};
use crate::discover::Settled;
use crate::fault::Class;
use crate::recording::journey::{Candidate, Postponed, Stage, Step};
use crate::recording::{Event, Fingerprint, RecordingFacts};

/// After this many deaths of the process a file is not tried again (promise 6).
const DEATHS_ALLOWED: usize = 2;
/// What an attempt that was told to stop says of itself.
const INTERRUPTED: &str = "interrupted";
/// Entries written in one transaction where many are written at once.
const BATCH: usize = 500;

/// What the journal says when a recording is to be worked on.
#[derive(Debug, Clone, PartialEq)]
pub enum BeginOutcome {
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
        entry: Box<JournalEntry>,
    },
    /// The process died during every attempt: quarantine it.
    KillsTheProcess {
        /// The journal's key.
        key: JournalKey,
        /// How often the process died.
        attempts: u32,
        /// Where it stands.
        stage: Stage,
    },
    /// Nothing to do: it has been dealt with.
    Known(KnownFile),
}

impl NodeCatalog {
    /// Journals an attempt on a settled recording. What it returns is durable: only then may the work begin.
    pub fn begin(&self, settled: &Settled, now_ms: i64) -> Result<BeginOutcome> {
        let key = JournalKey::of(settled.path(), &settled.candidate().fingerprint);
        let begun = self.logged(now_ms, |tx, log| begin_in(tx, log, key, settled, now_ms))?;
        if let BeginOutcome::Attempt { .. } = begun {
            self.store().flush("journal begun")?;
        }
        Ok(begun)
    }

    /// Moves a recording from the stage at which the caller knows it to a step that may follow; durable on return. Not so the
    /// beginning, which the next attempt's own entry follows, and the very end, which nothing follows: lost, the next start
    /// comes to them once more. The end of a recording gives back its reserved name.
    ///
    /// Stage and step are compared where they are written: an entry that stands elsewhere, or a step that does not follow, is
    /// an error, and nothing is changed.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a step that is journalled is nobody else's; a transaction that runs twice copies it"
    )]
    pub fn advance(&self, key: &JournalKey, from: Stage, to: Step, now_ms: i64) -> Result<()> {
        let transition = transition(from, to.stage());
        let had_waited = self.logged(now_ms, |tx, log| {
            let entry = entry_in(tx, *key)?;
            let found = entry.stage();
            if found != from {
                return Err(stop(CatalogError::AtAnotherStage { key: *key, expected: from, found }));
            }
            let had_waited = entry.postponed.is_some();
            event_of(*key, &entry, &to).map_or(Ok(()), |event| log.append(&event))?;
            move_in(tx, *key, entry, to.clone(), now_ms).map(|()| had_waited)
        })?;
        // What was said to wait must not be said again by the next command.
        if !had_waited && matches!(to, Step::Begun | Step::Done { .. }) {
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
            let Some(entry) = tx.read::<JournalEntry>(TreeId::Journal, key.stored())? else { return Ok(()) };
            if deaths_in(tx, key.stored())?.is_empty() {
                return forget_in(tx, *key, &[TreeId::Open, TreeId::Journal]);
            }
            move_in(tx, *key, entry, interrupted(now_ms), now_ms)
        })?;
        self.store().flush("journal cancelled")
    }

    /// Whether the process died during an earlier attempt on a file.
    pub fn is_suspect(&self, path: &std::path::Path, fingerprint: &Fingerprint) -> Result<bool> {
        let deaths = self.store().read::<Vec<u32>>(TreeId::Open, JournalKey::of(path, fingerprint).stored())?;
        Ok(deaths.is_some_and(|deaths| !deaths.is_empty()))
    }

    /// The entry of a key.
    pub fn entry(&self, key: &JournalKey) -> Result<Option<JournalEntry>> {
        self.store().read(TreeId::Journal, key.stored())
    }

    /// The entry of a file as it is now.
    pub fn entry_for(&self, path: &std::path::Path, fingerprint: &Fingerprint) -> Result<Option<JournalEntry>> {
        self.entry(&JournalKey::of(path, fingerprint))
    }

    /// What start-up recovery has to continue, without a scan of the whole journal.
    pub fn open_entries(&self) -> Result<Listing<(JournalKey, JournalEntry)>> {
        let mut open = Listing::default();
        for row in self.store().prefix(TreeId::Open, b"")? {
            let (key, _) = row?;
            let entry = self.store().read(TreeId::Journal, &key);
            let entry = entry.map(|entry| entry.filter(|entry: &JournalEntry| entry.step.is_open()));
            open.add(entry.map(|entry| JournalKey::from_stored(&key).zip(entry)));
        }
        Ok(open)
    }

    /// A page of all entries in the order of their keys, which says nothing; from the cursor of the page before on.
    pub fn entries(&self, after: Option<&Cursor>, limit: usize) -> Result<Listing<(JournalKey, JournalEntry)>> {
        let rows = self.store().range(TreeId::Journal, (Cursor::bound(after), Bound::Unbounded))?;
        listing::page(rows, limit, |key, value| {
            let entry = decode(TreeId::Journal, key, value)?;
            Ok(JournalKey::from_stored(key).map(|key| (key, entry)))
        })
    }

    /// Forgets what is known of a file, so that it is taken as if it were new (`--again`). A VoD record stays. Refused for a
    /// recording that is half finished.
    pub fn forget(&self, key: &JournalKey) -> Result<()> {
        self.store().transact(|tx| {
            names::release(tx, *key)?;
            forget_in(tx, *key, &[TreeId::Known, TreeId::Open, TreeId::Journal])
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
                written.sum::<std::result::Result<usize, TxAbort>>()
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
        let keys = self.store().prefix(TreeId::Open, b"")?.map(|row| row.map(|(key, _)| key));
        let mut interrupted = 0;
        for key in keys.collect::<Result<Vec<_>>>()?.iter().filter_map(|key| JournalKey::from_stored(key)) {
            let attempt = self.store().transact(|tx| interrupt_in(tx, key, now_ms))?;
            if let Some((Stage::Splicing, attempt)) = attempt {
                // Its intent stays: what it left half done is mended at the next start.
                let noted = self.note_ended(&key, attempt);
                noted.map_err(|source| CatalogError::StateDirectory {
                    verb: "write",
                    path: self.0.ended.path(),
                    source,
                })?;
            }
            interrupted += usize::from(attempt.is_some());
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
        open.iter().filter(|(_, e)| e.is_attempt()).try_for_each(|(key, entry)| self.note_ended(key, entry.attempts))
    }

    /// Counts the attempts that the last process did not survive, and drops rows that mean nothing any more. Durable no
    /// later than the next attempt; until then the same deaths are counted again.
    ///
    /// What was noted to have ended in order is not counted; notes that mean nothing any more are dropped.
    pub(super) fn count_deaths(&self, noted: &BTreeSet<AttemptId>) -> Result<()> {
        let keys = self.store().prefix(TreeId::Open, b"")?.map(|row| row.map(|(key, _)| key));
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
                "the last process ended while it worked on recordings; they will be resumed"
            );
            crate::durable::step("journal deaths counted");
        }
        Ok(())
    }
}

/// The name of a transition at the counting seam.
const fn transition(from: Stage, to: Stage) -> &'static str {
    match (from, to) {
        (Stage::Splicing | Stage::Publishing, Stage::Begun) => "journal taken back",
        (_, Stage::Begun) => "journal begun",
        (_, Stage::Splicing) => "journal splicing",
        (_, Stage::Publishing) => "journal publishing",
        (_, Stage::Catalogued) => "journal catalogued",
        (_, Stage::Done) => "source cleared",
        (_, Stage::Quarantined) => "journal quarantined",
        (_, Stage::Failed) => "journal failed",
        (_, Stage::LeftOut) => "journal left out",
    }
}

/// Where an attempt that was told to stop stands.
fn interrupted(now_ms: i64) -> Step {
    Step::Failed { class: Class::Cancelled, message: INTERRUPTED.into(), due_ms: Some(now_ms) }
}

/// What a step tells, if it tells something: that of being catalogued is told with the record.
fn event_of(key: JournalKey, entry: &JournalEntry, to: &Step) -> Option<Event> {
    let recording = || RecordingFacts::of(key.to_string(), entry.settled.candidate());
    match to {
        Step::Quarantined { defects } => Some(Event::Quarantined { recording: recording(), defects: defects.clone() }),
        // What was quarantined and may be tried again has not failed.
        Step::Failed { class, message, due_ms } if entry.stage() != Stage::Quarantined => Some(Event::Failed {
            recording: recording(),
            attempt: entry.attempts,
            class: *class,
            message: message.clone(),
            due_ms: *due_ms,
        }),
        _ => None,
    }
}

fn begin_in(
    tx: &Tx<'_>,
    log: &Appender<'_>,
    key: JournalKey,
    settled: &Settled,
    now_ms: i64,
) -> std::result::Result<BeginOutcome, TxAbort> {
    if is_being_published(tx, key, settled)? {
        return Ok(BeginOutcome::Known(KnownFile::UnderWay));
    }
    let entry = tx.read::<JournalEntry>(TreeId::Journal, key.stored())?;
    match entry {
        Some(entry) if entry.stage().is_open() && entry.stage() != Stage::Begun => {
            Ok(BeginOutcome::Interrupted { key, entry: Box::new(entry) })
        }
        Some(entry) if !entry.stage().may_become(Stage::Begun) => {
            Ok(BeginOutcome::Known(KnownFile::from_step(&entry.step)))
        }
        entry => {
            let row = tx.get(TreeId::Known, key.stored())?;
            match KnownFile::from_row(row.as_deref()) {
                KnownFile::Unknown => attempt_in(tx, log, key, entry.as_ref(), settled, now_ms),
                known => Ok(BeginOutcome::Known(known)),
            }
        }
    }
}

/// Whether a file is the finished one of another recording, that has its final name already and its record not yet: a
/// watcher sees our own renames, too.
fn is_being_published(tx: &Tx<'_>, key: JournalKey, settled: &Settled) -> std::result::Result<bool, TxAbort> {
    let Some(holder) = names::holder(tx, settled.path())?.filter(|holder| *holder != key) else { return Ok(false) };
    let step = tx.read::<JournalEntry>(TreeId::Journal, holder.stored())?.map(|entry| entry.step);
    Ok(matches!(step, Some(Step::Publishing { written, .. }) if written == settled.candidate().fingerprint))
}

fn attempt_in(
    tx: &Tx<'_>,
    log: &Appender<'_>,
    key: JournalKey,
    before: Option<&JournalEntry>,
    settled: &Settled,
    now_ms: i64,
) -> std::result::Result<BeginOutcome, TxAbort> {
    let deaths = deaths_in(tx, key.stored())?;
    if let Some(entry) = before.filter(|_| deaths.len() >= DEATHS_ALLOWED) {
        let attempts = u32::try_from(deaths.len()).unwrap_or(u32::MAX);
        return Ok(BeginOutcome::KillsTheProcess { key, attempts, stage: entry.stage() });
    }
    let attempt = before.map_or(0, |entry| entry.attempts).saturating_add(1);
    place_in(
        tx,
        key,
        before.map(JournalEntry::stage),
        &JournalEntry::first(settled.clone(), Step::Begun, attempt, now_ms),
    )?;
    let candidate = settled.candidate();
    let recording = RecordingFacts::of(key.to_string(), candidate);
    if before.is_none() {
        let (size_bytes, server) = (candidate.fingerprint.size_bytes, candidate.server.clone());
        log.append(&Event::Seen { recording: recording.clone(), size_bytes, server })?;
    }
    log.append(&Event::Begun { recording, attempt })?;
    Ok(BeginOutcome::Attempt { key, attempt, is_suspect: !deaths.is_empty() })
}

fn leave_out_in(tx: &Tx<'_>, candidate: &Candidate, now_ms: i64) -> std::result::Result<usize, TxAbort> {
    let key = JournalKey::of(&candidate.path, &candidate.fingerprint);
    if tx.get(TreeId::Journal, key.stored())?.is_some() || tx.get(TreeId::Known, key.stored())?.is_some() {
        return Ok(0);
    }
    let entry = JournalEntry::first(Settled::as_given(candidate.clone()), Step::LeftOut, 0, now_ms);
    place_in(tx, key, None, &entry).map(|()| 1)
}

/// The attempts on a recording that ended in the death of the process.
fn deaths_in(tx: &Tx<'_>, key: impl AsRef<[u8]>) -> std::result::Result<Vec<u32>, TxAbort> {
    Ok(tx.read(TreeId::Open, key)?.unwrap_or_default())
}

/// The attempt that a row of `open` speaks of, if it did not come to its end.
fn attempt_under_way_in(tx: &Tx<'_>, key: &[u8]) -> std::result::Result<Option<AttemptId>, TxAbort> {
    let entry = match tx.read::<JournalEntry>(TreeId::Journal, key) {
        Err(TxAbort::Abort(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. })) => None,
        other => other?,
    };
    let entry = entry.filter(JournalEntry::is_attempt);
    Ok(JournalKey::from_stored(key).zip(entry).map(|(key, entry)| (key, entry.attempts)))
}

fn count_death_in(tx: &Tx<'_>, key: &[u8]) -> std::result::Result<bool, TxAbort> {
    let entry = match tx.read::<JournalEntry>(TreeId::Journal, key) {
        Ok(entry) => entry,
        // Said when it is listed; it must not keep the catalogue from opening.
        Err(TxAbort::Abort(CatalogError::Unreadable { .. } | CatalogError::NewerRow { .. })) => return Ok(false),
        Err(other) => return Err(other),
    };
    match entry {
        // What was put off ended in order.
        Some(entry) if entry.is_attempt() && entry.postponed.is_none() => {
            let mut deaths = deaths_in(tx, key)?;
            if deaths.contains(&entry.attempts) {
                return Ok(false);
            }
            deaths.push(entry.attempts);
            tx.write(TreeId::Open, key, &deaths)?;
            Ok(true)
        }
        Some(entry) if entry.step.is_open() => Ok(false),
        Some(entry) => forget_deaths(tx, key, &entry.step).map(|()| false),
        None => tx.remove(TreeId::Open, key).map(|()| false),
    }
}

/// Ends an attempt of which nothing is done yet; says where it stood and its number, if one is under way at all.
fn interrupt_in(tx: &Tx<'_>, key: JournalKey, now_ms: i64) -> std::result::Result<Option<(Stage, u32)>, TxAbort> {
    let entry = entry_in(tx, key)?;
    let attempt = entry.is_attempt().then_some((entry.stage(), entry.attempts));
    if entry.stage() == Stage::Begun {
        move_in(tx, key, entry, interrupted(now_ms), now_ms)?;
    }
    Ok(attempt)
}

/// The entry of a key that must be there.
pub(super) fn entry_in(tx: &Tx<'_>, key: JournalKey) -> std::result::Result<JournalEntry, TxAbort> {
    let entry = tx.read(TreeId::Journal, key.stored())?;
    entry.ok_or_else(|| stop(CatalogError::NotJournalled { key }))
}

/// Gives an entry another step, if the journey leads there.
pub(super) fn move_in(
    tx: &Tx<'_>,
    key: JournalKey,
    entry: JournalEntry,
    to: Step,
    now_ms: i64,
) -> std::result::Result<(), TxAbort> {
    let from = entry.stage();
    place_in(tx, key, Some(from), &entry.at(to, now_ms))
}

/// Writes an entry that stands at another step than the one before, or is the first of its recording.
fn place_in(
    tx: &Tx<'_>,
    key: JournalKey,
    from: Option<Stage>,
    entry: &JournalEntry,
) -> std::result::Result<(), TxAbort> {
    let to = entry.stage();
    match from {
        None if to.may_be_first() => write_entry(tx, key, entry),
        Some(from) if from.may_become(to) => write_entry(tx, key, entry),
        _ => Err(stop(CatalogError::NoWay { key, from, to: Some(to) })),
    }
}

/// Removes the rows of a recording that nothing would be left half done of. One that cannot be read may always go.
fn forget_in(tx: &Tx<'_>, key: JournalKey, trees: &[TreeId]) -> std::result::Result<(), TxAbort> {
    let entry = match tx.read::<JournalEntry>(TreeId::Journal, key.stored()) {
        Err(TxAbort::Abort(CatalogError::Unreadable { .. })) => None,
        other => other?,
    };
    if let Some(entry) = &entry {
        waiting::forget_in(tx, key, entry)?;
    }
    match entry.map(|entry| entry.stage()).filter(|stage| !stage.may_be_forgotten()) {
        Some(stage) => Err(stop(CatalogError::NoWay { key, from: Some(stage), to: None })),
        None => trees.iter().try_for_each(|tree| tx.remove(*tree, key.stored())),
    }
}

/// Removes the row of an entry that is not open. A failed one keeps it while it counts deaths: a file that is tried again is
/// still the one that the process died of.
fn forget_deaths(tx: &Tx<'_>, key: &[u8], step: &Step) -> std::result::Result<(), TxAbort> {
    if matches!(step, Step::Failed { .. }) && !deaths_in(tx, key)?.is_empty() {
        return Ok(());
    }
    tx.remove(TreeId::Open, key)
}

/// Writes an entry and whether it is open; gives back the reserved name once it is not needed any more.
fn write_entry(tx: &Tx<'_>, key: JournalKey, entry: &JournalEntry) -> std::result::Result<(), TxAbort> {
    tx.write(TreeId::Journal, key.stored(), entry)?;
    waiting::note_in(tx, key, entry)?;
    if !entry.step.is_open() {
        forget_deaths(tx, key.stored().as_bytes(), &entry.step)?;
    } else if tx.get(TreeId::Open, key.stored())?.is_none() {
        tx.write(TreeId::Open, key.stored(), &[0_u32; 0])?;
    }
    match entry.step {
        Step::Catalogued { .. } | Step::Done { .. } | Step::Quarantined { .. } | Step::LeftOut => {
            names::release(tx, key)
        }
        Step::Begun | Step::Splicing { .. } | Step::Publishing { .. } | Step::Failed { .. } => Ok(()),
    }
}
