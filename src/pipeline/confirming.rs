//! Asks the stores once more right before a local file is freed: days may lie between a proof and the freeing.
//!
//! A store that does not answer is not asked again for a while: the local file stays, and neither a run over thousands of
//! files nor a courier waits for it more than once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::delivering::Delivering;
use super::redelivering;
use crate::deliver::{DeliverError, ProofCheck};
use crate::durable;
use crate::fault::{Class, Fault, chain};
use crate::recording::RemoteObject;
use crate::retain::{ANSWER_MAX_AGE_MS, Confirmation, ConfirmationRequest};

/// How long a target is left alone after it did not answer.
const SILENCE: Duration = Duration::from_secs(50);

/// What the stores have answered in this process, and which of them do not answer.
#[derive(Debug, Default)]
pub struct ConfirmationCache(Mutex<ConfirmationState>);

#[derive(Debug, Default)]
struct ConfirmationState {
    /// When each object was confirmed, and whether more than its size was compared.
    confirmed: HashMap<(String, String), (Instant, bool)>,
    /// Since when a target does not answer.
    silent: HashMap<String, Instant>,
    /// Targets that were said to be silent.
    told: HashSet<String>,
}

impl ConfirmationCache {
    /// Remembers that the store confirmed an object, no earlier than it was asked.
    pub fn note(&self, object: &RemoteObject, asked_at: Instant, now: Instant, beyond_size: bool) {
        let mut held = self.lock();
        held.confirmed.retain(|_, (at, _)| age_ms(*at, now) <= ANSWER_MAX_AGE_MS);
        held.confirmed.insert((object.target.clone(), object.key.clone()), (asked_at, beyond_size));
    }

    /// The answers about these objects.
    pub fn about<'a>(&self, objects: impl IntoIterator<Item = &'a RemoteObject>, now: Instant) -> Vec<Confirmation> {
        let held = self.lock();
        let answer = |object: &RemoteObject| {
            let (at, beyond_size) = *held.confirmed.get(&(object.target.clone(), object.key.clone()))?;
            let (target, key) = (object.target.clone(), object.key.clone());
            Some(Confirmation { target, key, age_ms: age_ms(at, now), beyond_size })
        };
        objects.into_iter().filter_map(answer).collect()
    }

    pub(super) fn is_silent(&self, target: &str, now: Instant) -> bool {
        self.lock().silent.get(target).is_some_and(|since| now.saturating_duration_since(*since) < SILENCE)
    }

    /// Whether that is news.
    fn silence(&self, target: &str, now: Instant) -> bool {
        let mut held = self.lock();
        held.silent.insert(target.to_owned(), now);
        held.told.insert(target.to_owned())
    }

    /// Whether it was said to be silent.
    fn end_silence(&self, target: &str) -> bool {
        let mut held = self.lock();
        held.silent.remove(target);
        held.told.remove(target)
    }

    fn lock(&self) -> MutexGuard<'_, ConfirmationState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much older than now a moment is.
pub(super) fn age_ms(at: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX)
}

/// Asks the stores for what a permit needs. Ends with the first answer that keeps the finished file.
pub(super) fn ask(ctx: &Delivering, vod_id: &str, questions: &[ConfirmationRequest]) {
    for question in questions {
        let may_go_on = ask_one(ctx, vod_id, question);
        if question.is_finished && !may_go_on {
            return;
        }
    }
}

/// Whether the store confirmed the object.
fn ask_one(ctx: &Delivering, vod_id: &str, question: &ConfirmationRequest) -> bool {
    let object = &on_its_device(ctx, vod_id, &question.object);
    let waits =
        ctx.target_waits_until(&object.target).is_some() || ctx.answers.is_silent(&object.target, ctx.clock.now());
    if waits || ctx.stop.is_requested() {
        return false;
    }
    let asked_at = ctx.clock.now();
    match ctx.config.targets().ask(object, &ctx.stop) {
        Ok(ProofCheck::AsProven { beyond_size }) => {
            if ctx.answers.end_silence(&object.target) {
                info!(target_name = object.target, "target answers again; local files are freed again");
            }
            ctx.answers.note(object, asked_at, ctx.clock.now(), beyond_size);
            true
        }
        Ok(ProofCheck::Differs(difference)) => {
            ctx.answers.end_silence(&object.target);
            warn!(vod_id, url = object.url, difference.words, "remote copy differs from its proof; local file kept");
            if let Err(error) = redelivering::note_difference(ctx, vod_id, question, difference) {
                warn!(vod_id, error = chain(&error), "cannot record the difference");
            }
            false
        }
        Err(error) => {
            note_silence(ctx, &object.target, &error);
            false
        }
    }
}

/// An object with the number that the device of its source has now: by that, a target is told from the recording itself.
fn on_its_device(ctx: &Delivering, vod_id: &str, object: &RemoteObject) -> RemoteObject {
    let now = || durable::fingerprint(&ctx.catalog.shared().vod(vod_id).ok()??.file_path).ok();
    let source = now().filter(|now| *now == object.source).unwrap_or(object.source);
    RemoteObject { source, ..object.clone() }
}

/// Says once that a target does not answer, and leaves it alone for a while.
pub(super) fn note_silence(ctx: &Delivering, target: &str, error: &DeliverError) {
    if error.class() != Class::Cancelled && ctx.answers.silence(target, ctx.clock.now()) {
        warn!(target_name = target, error = chain(error), "nothing is freed: the target does not confirm its copies");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Fingerprint;

    fn object(key: &str) -> RemoteObject {
        RemoteObject {
            target: "a".into(),
            key: key.into(),
            url: String::new(),
            size_bytes: 1,
            etag: None,
            version: None,
            checksum: None,
            checksum_compared: false,
            verified_ms: 0,
            source: Fingerprint { device: 1, inode: 2, size_bytes: 1, mtime_ns: 0 },
            source_changed_ns: None,
            differs: None,
            differs_when_read: false,
            is_progressive_copy: false,
        }
    }

    #[test]
    fn an_answer_has_the_age_of_its_question_and_old_ones_are_dropped() {
        let answers = ConfirmationCache::default();
        let long_ago = Instant::now();
        let now = long_ago + Duration::from_millis(ANSWER_MAX_AGE_MS + 1);
        answers.note(&object("old"), long_ago, long_ago, true);
        assert_eq!(answers.about([&object("old")], now)[0].age_ms, ANSWER_MAX_AGE_MS + 1);
        answers.note(&object("new"), now, now, false);
        assert_eq!(answers.about([&object("old")], now), [], "what is too old for anything is not kept");
        let about = answers.about([&object("new"), &object("other")], now);
        assert_eq!(about.iter().map(|a| (a.key.as_str(), a.beyond_size)).collect::<Vec<_>>(), [("new", false)]);
    }

    #[test]
    fn a_target_that_is_silent_is_left_alone_and_said_once() {
        let (answers, now) = (ConfirmationCache::default(), Instant::now());
        assert!(!answers.is_silent("a", now));
        assert!(answers.silence("a", now), "news");
        assert!(!answers.silence("a", now));
        assert!(answers.is_silent("a", now) && !answers.is_silent("b", now));
        assert!(!answers.is_silent("a", now + SILENCE), "it is asked again");
        assert!(!answers.silence("a", now + SILENCE), "and that it is still silent is no news");
        assert!(answers.end_silence("a") && !answers.end_silence("a"));
        assert!(!answers.is_silent("a", now));
    }
}
