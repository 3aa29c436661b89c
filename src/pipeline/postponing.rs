//! What came too far to begin again and cannot go on yet: behind *publishing* there is only forward.
//!
//! A recording whose finished file has its name, or whose record is in the catalogue, is never finished a second time. The
//! step that failed is tried again by itself, in growing steps; its reason is said once and kept in the journal, which
//! `queue list` shows. What the journal itself could not be told, for lack of room above all, waits here alone; it is begun
//! anew when there is room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{debug, warn};

use super::error::PipelineError;
use super::journaling::Journaling;
use super::outcome::JourneyOutcome;
use super::publishing::stands;
use super::roots;
use crate::catalog::{CatalogError, JournalEntry, JournalKey, next_try_ms};
use crate::discover::Settled;
use crate::fault::{Class, Fault, chain};
use crate::recording::journey::{Postponed, Step};
use crate::recording::name::printable;

/// How often it is looked whether the journal can be written again.
const ROOM_AGAIN_MS: i64 = 5_000;
/// How much later what is being worked on just now is looked at again.
const BUSY_AGAIN_MS: i64 = 1_000;

/// The steps that wait for their next try, by the recording's key.
#[derive(Debug, Default)]
pub struct Postponements(Mutex<BTreeMap<JournalKey, PostponedStep>>);

#[derive(Debug)]
struct PostponedStep {
    settled: Settled,
    why: Postponed,
    /// The file that no scan may take for a recording of its own meanwhile.
    unfinished: Option<PathBuf>,
    /// Whether the journal does not know of it.
    is_unwritten: bool,
}

impl Postponements {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<JournalKey, PostponedStep>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a recording that came to its end; says whether it had waited.
    pub fn end(&self, key: &JournalKey) -> bool {
        self.lock().remove(key).is_some()
    }

    /// Forgets what the journal could not be told, now that it says that an attempt has begun.
    pub fn begun(&self, key: &JournalKey, is_journalled: bool) {
        self.lock().retain(|waiting, w| !(is_journalled && w.is_unwritten && waiting == key));
    }

    /// Whether a file waits here and its time has not come.
    pub fn waits(&self, key: &JournalKey, now_ms: i64) -> bool {
        self.lock().get(key).is_some_and(|waiting| waiting.why.due_ms > now_ms)
    }

    /// Whether anything waits here.
    #[cfg(test)]
    pub fn waits_at_all(&self) -> bool {
        !self.lock().is_empty()
    }

    /// What the journal could not be told.
    pub fn unwritten(&self) -> Vec<(PathBuf, Postponed)> {
        let waiting = self.lock();
        let unwritten = waiting.values().filter(|w| w.is_unwritten);
        unwritten.map(|w| (w.settled.path().to_owned(), w.why.clone())).collect()
    }

    /// Makes everything due now: a person has changed something.
    pub fn bring_forward(&self) {
        self.lock().values_mut().for_each(|waiting| waiting.why.due_ms = i64::MIN);
    }

    /// The recordings whose time has come. Each is handed out again a little later, unless it was tried meanwhile.
    pub fn due(&self, now_ms: i64) -> Vec<Settled> {
        let mut due = Vec::new();
        for waiting in self.lock().values_mut().filter(|waiting| waiting.why.due_ms <= now_ms) {
            waiting.why.due_ms = now_ms.saturating_add(BUSY_AGAIN_MS);
            due.push(waiting.settled.clone());
        }
        due
    }

    /// Has a recording in a shared root asked for until it is given, or another node has finished it.
    pub fn ask_first(&self, key: JournalKey, entry: JournalEntry, now_ms: i64) {
        let unfinished = match &entry.step {
            Step::Publishing { written_path, .. } => Some(written_path.clone()),
            _ => None,
        };
        let message = "interrupted; the fleet database is asked whether it is still this node's".to_owned();
        let tries = entry.postponed.as_ref().map_or(0, |before| before.tries);
        let why = Postponed { class: Class::Environment, message, tries, due_ms: now_ms };
        let waiting = PostponedStep { settled: entry.settled, why, unfinished, is_unwritten: false };
        self.lock().insert(key, waiting);
    }

    /// Why a file must not be taken, if another recording is half finished in it.
    pub fn holds_back(&self, path: &Path, key: &JournalKey) -> Option<JourneyOutcome> {
        let waiting = self.lock();
        let holder = waiting.iter().find(|(holder, w)| *holder != key && w.unfinished.as_deref() == Some(path));
        holder.map(|(_, w)| JourneyOutcome::Postponed {
            vod_id: None,
            class: w.why.class,
            message: w.why.message.clone(),
            hint: None,
        })
    }

    fn tries(&self, key: &JournalKey) -> u32 {
        self.lock().get(key).map_or(0, |waiting| waiting.why.tries)
    }
}

/// Where a recording stands that must not begin again.
struct PostponedState {
    /// What of it is safe and what waits, to be read before the reason.
    words: &'static str,
    vod_id: Option<String>,
    unfinished: Option<PathBuf>,
    hint: Option<String>,
}

impl PostponedState {
    /// `None` where it is proven that nothing has happened yet that beginning again would repeat.
    fn of(ctx: &Journaling, entry: &JournalEntry) -> Option<Self> {
        // Of a root that is not there, or a directory that cannot be read, nothing is proven.
        let may_stand = |path: &Path, expected| stands(path, expected).unwrap_or(true);
        let is_lost = || !roots::is_there(&ctx.roots, &entry.settled.candidate().root);
        match &entry.step {
            Step::Splicing { intent, .. } if !matches!(stands(&intent.path, &intent.before), Ok(true)) => {
                let words = "in-place finish interrupted; it will be completed or rolled back on the next attempt";
                Some(Self { words, vod_id: None, unfinished: Some(intent.path.clone()), hint: None })
            }
            Step::Publishing { written_path, written, record, .. }
                if may_stand(&record.file_path, written) || may_stand(written_path, written) || is_lost() =>
            {
                let words = "the finished file is complete, but not in the catalogue yet";
                Some(Self { words, vod_id: None, unfinished: Some(written_path.clone()), hint: None })
            }
            Step::Catalogued { vod_id, .. } => {
                let words = "finished and catalogued; the source cannot be removed yet";
                Some(Self { words, vod_id: Some(vod_id.clone()), unfinished: None, hint: Some(SOURCE_STAYS.into()) })
            }
            _ => None,
        }
    }
}

const SOURCE_STAYS: &str = "The finished file is safe and nothing is lost. Remove the source yourself, or let the \
     user that runs aftercast remove it: look for a directory with the sticky bit (`ls -ld`), an immutable file \
     (`lsattr`), or a mount on the file. Removal is retried automatically.";

/// Puts off what an error keeps from going on, or tells how a recording ended that was at its end. `None` if it may begin
/// again.
pub fn postpone(ctx: &Journaling, key: &JournalKey, error: &PipelineError) -> Option<JourneyOutcome> {
    let entry = ctx.catalog.entry(key).ok().flatten()?;
    if let Step::Done { vod_id } = &entry.step {
        // Whatever failed came after the last step.
        warn!(path = %printable(entry.settled.path()), error = chain(error), "finished and catalogued, but a later step failed");
        return Some(JourneyOutcome::AlreadyFinished { vod_id: Some(vod_id.clone()) });
    }
    let standing = PostponedState::of(ctx, &entry)?;
    let why = reason(ctx, key, &entry, &standing, error);
    say(&entry, &why);
    if let Err(error) = ctx.catalog.postpone(key, &why) {
        warn!(error = chain(&error), "failure not recorded");
        note_ended(ctx, key, entry.attempts);
    }
    let hint = standing.hint.or_else(|| error.hint());
    let waiting = PostponedStep {
        settled: entry.settled,
        why: why.clone(),
        unfinished: standing.unfinished,
        is_unwritten: false,
    };
    ctx.postponed.lock().insert(*key, waiting);
    Some(JourneyOutcome::Postponed { vod_id: standing.vod_id, class: why.class, message: why.message, hint })
}

fn reason(
    ctx: &Journaling,
    key: &JournalKey,
    entry: &JournalEntry,
    standing: &PostponedState,
    error: &PipelineError,
) -> Postponed {
    let earlier = entry.postponed.as_ref().map_or(0, |postponed| postponed.tries);
    let tries = earlier.max(ctx.postponed.tries(key)).saturating_add(1);
    let class = error.class();
    // Whatever it is, only another try shows that it is over.
    let pace = if class == Class::Transient { class } else { Class::Environment };
    let due_ms = next_try_ms(tries, pace, ctx.clock.now_ms(), 0).unwrap_or(i64::MAX);
    Postponed { class, message: format!("{}: {}", standing.words, chain(error)), tries, due_ms }
}

/// Once: a source that cannot be removed for a year is not news every quarter of an hour.
fn say(entry: &JournalEntry, why: &Postponed) {
    let path = printable(entry.settled.path());
    if entry.postponed.as_ref().is_some_and(|before| before.message == why.message) {
        debug!(%path, tries = why.tries, error = why.message, "still postponed");
    } else {
        warn!(%path, class = why.class.name(), error = why.message, "postponed; it will be retried from its last step");
    }
}

/// Keeps a recording that could not even be begun.
pub fn not_begun(ctx: &Journaling, key: &JournalKey, settled: &Settled, error: &CatalogError) {
    if error.class() != Class::Permanent {
        // Where the flush failed, the entry may be written all the same.
        if let Ok(Some(entry)) = ctx.catalog.entry(key) {
            note_ended(ctx, key, entry.attempts);
        }
        wait_for_the_journal(ctx, key, settled, &chain(error));
    }
}

/// Keeps what an attempt came to where the journal could not be told: the message, and why not.
pub fn not_journalled(
    ctx: &Journaling,
    key: &JournalKey,
    attempt: u32,
    settled: &Settled,
    message: &str,
    unwritten: &CatalogError,
) {
    note_ended(ctx, key, attempt);
    let why = chain(unwritten);
    let message = if message == why { why } else { format!("{message}; not journalled: {why}") };
    wait_for_the_journal(ctx, key, settled, &message);
}

fn note_ended(ctx: &Journaling, key: &JournalKey, attempt: u32) {
    if let Err(error) = ctx.catalog.note_ended(key, attempt) {
        warn!(error = chain(&error), "cannot record the end of an attempt; the next start counts it as a crash");
    }
}

fn wait_for_the_journal(ctx: &Journaling, key: &JournalKey, settled: &Settled, message: &str) {
    let mut all = ctx.postponed.lock();
    let before = all.get(key).map(|waiting| &waiting.why);
    if before.is_none_or(|before| before.class != Class::Environment) {
        warn!(path = %printable(settled.path()), error = message, "cannot write the journal; retrying until it can be written");
    }
    let tries = before.map_or(0, |before| before.tries).saturating_add(1);
    let due_ms = ctx.clock.now_ms().saturating_add(ROOM_AGAIN_MS);
    let why = Postponed { class: Class::Environment, message: message.to_owned(), tries, due_ms };
    all.insert(*key, PostponedStep { settled: settled.clone(), why, unfinished: None, is_unwritten: true });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pipeline::handles::Handles;
    use crate::recording::Fingerprint;
    use crate::recording::journey::{Candidate, NameFacts};

    #[test]
    fn what_waits_for_the_journal_is_tried_again_when_its_time_has_come() {
        let dir = tempfile::tempdir().unwrap();
        let handles = Handles::for_test(dir.path());
        let (ctx, clock) = (Journaling::of(&handles), &handles.clock);
        let settled = Settled::for_test(Candidate {
            path: dir.path().join("x.ts"),
            root: dir.path().to_owned(),
            server: "none".into(),
            is_temporary: false,
            facts: NameFacts::default(),
            fingerprint: Fingerprint { device: 1, inode: 2, size_bytes: 3, mtime_ns: 4 },
        });
        let key = JournalKey::of(settled.path(), &settled.candidate().fingerprint);
        wait_for_the_journal(&ctx, &key, &settled, "no room");
        let is_due = || !ctx.postponed.due(clock.now_ms()).is_empty();
        assert!(!is_due());
        clock.advance(Duration::from_millis(ROOM_AGAIN_MS.unsigned_abs() - 1));
        assert!(!is_due());
        clock.advance(Duration::from_millis(1));
        assert!(is_due());
        assert!(!is_due(), "handed out once");
    }
}
