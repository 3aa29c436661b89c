//! What an endpoint has before it: which events it is not done with, which of them may be tried now, and when the others. Pure.
//!
//! An event waits for every earlier one of its recording. After a failure the endpoint rests, and so does the recording, each by
//! growing steps: an endpoint that is down is asked by one request at a time, and one event that an endpoint does not take holds
//! up no other recording. Sequence numbers are held and no events.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recording::Event;

/// Events that are not done at once; what comes after them is read when there is room.
pub(super) const CAPACITY: usize = 1_024;
/// The first rest after a failure, milliseconds; each further one is twice as long.
const FIRST_REST_MS: i64 = 1_000;
/// The longest rest, milliseconds.
const LONGEST_REST_MS: i64 = 300_000;
/// An event that failed for so long, while the endpoint took others, is given up; milliseconds.
const GIVE_UP_AFTER_MS: i64 = 3 * 24 * 3_600_000;
/// The same for an event that has failed so often and leaves no room for others.
const GIVE_UP_TRIES: u32 = 12;

/// What an event is about: events that share one of these keep their order.
pub(super) fn subjects(event: &Event) -> Vec<String> {
    let recording = event.recording_key().map(|key| format!("r{key}"));
    let vod = event.vod_id().map(|id| format!("v{id}"));
    let asset = event.delivery().filter(|_| vod.is_none()).map(|delivery| format!("a{}", delivery.asset_id));
    let target = event.target().filter(|_| event.stream_id().is_none()).map(|target| format!("t{target}"));
    let all: Vec<_> = [recording, vod, asset, target].into_iter().flatten().collect();
    if all.is_empty() { vec![event.name().to_owned()] } else { all }
}

/// An event that an endpoint is not done with.
#[derive(Debug, Default)]
struct PendingEvent {
    subjects: Vec<String>,
    vod_id: Option<String>,
    at_ms: i64,
    state: EventState,
    failing: Option<FailureStreak>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum EventState {
    #[default]
    Waits,
    Tried,
    Done,
}

/// That attempts fail, and when the next one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailureStreak {
    failures: u32,
    since_ms: i64,
    due_ms: i64,
}

impl FailureStreak {
    fn again(before: Option<Self>, now_ms: i64) -> Self {
        let (failures, since_ms) = before.map_or((0, now_ms), |failing| (failing.failures, failing.since_ms));
        let rest_ms = FIRST_REST_MS.saturating_mul(1 << failures.min(20)).min(LONGEST_REST_MS);
        Self { failures: failures.saturating_add(1), since_ms, due_ms: now_ms.saturating_add(rest_ms) }
    }

    /// Whether it still rests. The clock may have been set back.
    fn rests(&self, now_ms: i64) -> bool {
        self.due_ms > now_ms && self.due_ms.saturating_sub(now_ms) <= LONGEST_REST_MS
    }
}

/// What is remembered between two starts besides the cursor.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WindowMemory {
    failing: Option<FailureStreak>,
    events: BTreeMap<u64, FailureStreak>,
    done: Vec<u64>,
}

/// What came of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// The event is tried again, after this many failures.
    Again { failures: u32, due_ms: i64 },
    /// It is not tried again.
    GivenUp,
    /// Nothing is known of it any more: the endpoint begins elsewhere.
    Forgotten,
}

/// The events before an endpoint.
#[derive(Debug)]
pub(super) struct EventWindow {
    /// Up to where the log was read.
    read_to: u64,
    entries: BTreeMap<u64, PendingEvent>,
    failing: Option<FailureStreak>,
    /// When an attempt succeeded last.
    took_ms: Option<i64>,
    /// What the last process remembered of events that are not read yet.
    memory: WindowMemory,
    /// Where to go on when nothing is under way any more.
    rewinds_to: Option<u64>,
}

impl EventWindow {
    /// As an endpoint left it.
    pub fn new(cursor: u64, memory: Option<Value>) -> Self {
        let mut memory =
            memory.and_then(|memory| serde_json::from_value::<WindowMemory>(memory).ok()).unwrap_or_default();
        let failing = memory.failing.take();
        Self { read_to: cursor, entries: BTreeMap::new(), failing, took_ms: None, memory, rewinds_to: None }
    }

    /// Up to where the log was read; what comes next is read from here, if there is room.
    pub const fn read_to(&self) -> u64 {
        self.read_to
    }

    /// How many more events there is room for.
    pub fn room(&self) -> usize {
        if self.rewinds_to.is_some() { 0 } else { CAPACITY.saturating_sub(self.entries.len()) }
    }

    /// Everything up to an event was read, and is not wanted.
    pub fn pass(&mut self, sequence: u64) {
        self.read_to = self.read_to.max(sequence);
    }

    /// An event was read that is wanted.
    pub fn add(&mut self, sequence: u64, at_ms: i64, event: &Event) {
        if sequence <= self.read_to {
            return;
        }
        self.read_to = sequence;
        let state = if self.memory.done.contains(&sequence) { EventState::Done } else { EventState::Waits };
        let failing = self.memory.events.remove(&sequence);
        let (subjects, vod_id) = (subjects(event), event.vod_id().map(str::to_owned));
        self.entries.insert(sequence, PendingEvent { subjects, vod_id, at_ms, state, failing });
        self.drop_done();
    }

    /// The next event that may be tried, if there is one; it is under way from here on.
    pub fn next(&mut self, now_ms: i64) -> Option<u64> {
        if self.is_held() || self.failing.is_some_and(|failing| failing.rests(now_ms)) {
            return None;
        }
        let ready = self.ready().filter(|(_, entry)| !entry.failing.is_some_and(|failing| failing.rests(now_ms)));
        // One that failed more seldom tells sooner whether the endpoint is well.
        let chosen = match self.failing {
            Some(_) => ready.min_by_key(|(_, entry)| entry.failing.map_or(0, |failing| failing.failures)),
            None => { ready }.next(),
        };
        let sequence = chosen.map(|(sequence, _)| sequence)?;
        self.entries.get_mut(&sequence)?.state = EventState::Tried;
        Some(sequence)
    }

    /// Whether nothing is tried before what is under way has ended: whether a failing endpoint takes anything again is asked by
    /// one attempt.
    fn is_held(&self) -> bool {
        self.rewinds_to.is_some() || (self.failing.is_some() && self.is_under_way())
    }

    fn is_under_way(&self) -> bool {
        self.entries.values().any(|entry| entry.state == EventState::Tried)
    }

    /// Events that wait for no earlier one, in order.
    fn ready(&self) -> impl Iterator<Item = (u64, &PendingEvent)> {
        let mut before = HashSet::new();
        self.entries.iter().filter(|(_, entry)| entry.state != EventState::Done).filter_map(move |(sequence, entry)| {
            let is_first = !entry.subjects.iter().any(|subject| before.contains(subject.as_str()));
            before.extend(entry.subjects.iter().map(String::as_str));
            (is_first && entry.state == EventState::Waits).then_some((*sequence, entry))
        })
    }

    /// When the next event is due that only rests, milliseconds since the Unix epoch.
    pub fn due_ms(&self, now_ms: i64) -> Option<i64> {
        if self.is_held() {
            return None;
        }
        let of_endpoint = self.failing.filter(|failing| failing.rests(now_ms)).map(|failing| failing.due_ms);
        let of_events = self.ready().map(|(_, entry)| entry.failing.map_or(now_ms, |failing| failing.due_ms)).min()?;
        Some(of_endpoint.map_or(of_events, |due_ms| due_ms.max(of_events)))
    }

    /// An event was taken. Says whether a failure ended by it.
    pub fn done(&mut self, sequence: u64, now_ms: i64) -> bool {
        self.took_ms = Some(now_ms);
        let had_failed = self.failing.take().is_some();
        self.close(sequence) || had_failed
    }

    /// An attempt failed.
    pub fn failed(&mut self, sequence: u64, now_ms: i64) -> RetryDecision {
        self.failing = Some(FailureStreak::again(self.failing, now_ms));
        let (is_full, took_ms) = (self.entries.len() >= CAPACITY, self.took_ms);
        let Some(entry) = self.entries.get_mut(&sequence).filter(|entry| entry.state == EventState::Tried) else {
            return RetryDecision::Forgotten;
        };
        let failing = FailureStreak::again(entry.failing, now_ms);
        (entry.failing, entry.state) = (Some(failing), EventState::Waits);
        let others_went = took_ms.is_some_and(|took_ms| took_ms > failing.since_ms);
        let is_old = now_ms.saturating_sub(failing.since_ms) >= GIVE_UP_AFTER_MS;
        if others_went && (is_old || (is_full && failing.failures >= GIVE_UP_TRIES)) {
            self.close(sequence);
            return RetryDecision::GivenUp;
        }
        RetryDecision::Again { failures: failing.failures, due_ms: failing.due_ms }
    }

    /// An attempt was cut by the end of the program: it counts for nothing.
    pub fn cut(&mut self, sequence: u64) {
        if let Some(entry) = self.entries.get_mut(&sequence).filter(|entry| entry.state == EventState::Tried) {
            entry.state = EventState::Waits;
        }
    }

    /// There is nothing more to do for an event. Says whether it had failed before.
    fn close(&mut self, sequence: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&sequence) else { return false };
        entry.state = EventState::Done;
        let had_failed = entry.failing.take().is_some();
        self.drop_done();
        had_failed
    }

    fn drop_done(&mut self) {
        while let Some(first) = self.entries.first_entry().filter(|first| first.get().state == EventState::Done) {
            first.remove();
        }
    }

    /// Goes on after an event, earlier or later, as soon as nothing is under way.
    pub fn rewind(&mut self, cursor: u64) {
        self.rewinds_to = Some(cursor);
    }

    /// Does so, if nothing is under way; says whether it did.
    pub fn apply_rewind(&mut self) -> bool {
        if self.is_under_way() {
            return false;
        }
        let Some(cursor) = self.rewinds_to.take() else { return false };
        *self = Self { took_ms: self.took_ms, ..Self::new(cursor, None) };
        true
    }

    /// Forgets that attempts failed: the endpoint was changed.
    pub fn forgive(&mut self) {
        self.failing = None;
        self.memory.events.clear();
        self.entries.values_mut().for_each(|entry| entry.failing = None);
    }

    /// Up to where everything is done, and what else is to be remembered, if anything.
    pub fn to_note(&self) -> (u64, Option<Value>) {
        let cursor = self.entries.first_key_value().map_or(self.read_to, |(first, _)| first.saturating_sub(1));
        let failing = self.entries.iter().filter_map(|(sequence, entry)| Some((*sequence, entry.failing?)));
        let unread = self.memory.events.iter().map(|(sequence, failing)| (*sequence, *failing));
        let done =
            self.entries.iter().filter(|(_, entry)| entry.state == EventState::Done).map(|(sequence, _)| *sequence);
        let unread_done = self.memory.done.iter().copied().filter(|sequence| *sequence > self.read_to);
        let memory = WindowMemory {
            failing: self.failing,
            events: unread.chain(failing).collect(),
            done: done.chain(unread_done).collect(),
        };
        let is_empty = memory.failing.is_none() && memory.events.is_empty() && memory.done.is_empty();
        (cursor, if is_empty { None } else { serde_json::to_value(memory).ok() })
    }

    /// When the oldest event of a VoD was written that is not done.
    pub fn oldest_of(&self, vod_id: &str) -> Option<i64> {
        let of_vod = self.entries.values().filter(|entry| entry.vod_id.as_deref() == Some(vod_id));
        of_vod.filter(|entry| entry.state != EventState::Done).map(|entry| entry.at_ms).min()
    }

    /// Whether nothing can be done now: there is nothing, or all of it rests.
    pub fn is_idle(&self, now_ms: i64) -> bool {
        !self.is_under_way() && self.due_ms(now_ms).is_none_or(|due_ms| due_ms > now_ms)
    }

    /// Events that are not done, and failures in a row.
    pub fn load(&self) -> (usize, u32) {
        let open = self.entries.values().filter(|entry| entry.state != EventState::Done).count();
        (open, self.failing.map_or(0, |failing| failing.failures))
    }
}

#[cfg(test)]
mod tests;
