//! Commands that this node has taken: those that wait for a thread, and those whose answers are to be written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use super::commands::FleetCommand;

/// Commands that are taken and not answered at most.
const MOST: usize = 16;

/// What was taken.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Whether somebody does what is taken.
    is_served: AtomicBool,
    state: Mutex<InboxState>,
    came: Condvar,
    /// Told when there is an answer.
    pub answered: Arc<Notify>,
}

#[derive(Debug, Default)]
struct InboxState {
    waiting: VecDeque<FleetCommand>,
    /// Every command that is taken, with its answer once there is one.
    taken: BTreeMap<String, Option<Value>>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on somebody does what is taken.
    pub fn serve(&self) {
        self.is_served.store(true, Ordering::SeqCst);
    }

    /// Whether somebody does.
    pub fn is_served(&self) -> bool {
        self.is_served.load(Ordering::SeqCst)
    }

    /// How many more may be taken.
    pub fn room(&self) -> usize {
        MOST.saturating_sub(self.lock().taken.len())
    }

    /// Takes in what was taken; what is here already is not taken in again.
    pub fn put(&self, commands: Vec<FleetCommand>) {
        let mut state = self.lock();
        for command in commands {
            if !state.taken.contains_key(&command.id) {
                state.taken.insert(command.id.clone(), None);
                state.waiting.push_back(command);
            }
        }
        drop(state);
        self.came.notify_all();
    }

    /// The next one that is to be done, if one comes in time.
    pub fn next(&self, patience: Duration) -> Option<FleetCommand> {
        let waited = self.came.wait_timeout_while(self.lock(), patience, |state| state.waiting.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting.pop_front()
    }

    /// One is done.
    pub fn answer(&self, id: &str, answer: Value) {
        if let Some(place) = self.lock().taken.get_mut(id) {
            *place = Some(answer);
        }
        self.answered.notify_one();
    }

    /// The answers that are to be written.
    pub fn answers(&self) -> Vec<(String, Value)> {
        let state = self.lock();
        state.taken.iter().filter_map(|(id, answer)| Some((id.clone(), answer.clone()?))).collect()
    }

    /// The answer is written.
    pub fn forget(&self, id: &str) {
        self.lock().taken.remove(id);
    }

    /// Takes back those that nobody has begun.
    pub fn unbegun(&self) -> Vec<String> {
        let mut state = self.lock();
        let ids: Vec<_> = state.waiting.drain(..).map(|command| command.id).collect();
        for id in &ids {
            state.taken.remove(id);
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: &str) -> FleetCommand {
        FleetCommand {
            id: id.to_owned(),
            kind: None,
            vod_id: String::new(),
            arguments: Value::Null,
            asked_by: String::new(),
        }
    }

    #[test]
    fn a_command_is_begun_once_and_its_answer_stays_until_it_is_written() {
        let inbox = Inbox::default();
        inbox.put(vec![command("a"), command("b")]);
        inbox.put(vec![command("a")]);
        assert_eq!(inbox.next(Duration::ZERO).unwrap().id, "a");
        inbox.put(vec![command("a")]);
        inbox.answer("a", Value::Bool(true));
        assert_eq!(inbox.answers(), [("a".to_owned(), Value::Bool(true))]);
        assert_eq!(inbox.answers().len(), 1, "it is still to be written");
        inbox.forget("a");
        assert!(inbox.answers().is_empty());
        assert_eq!(inbox.unbegun(), ["b"]);
        assert_eq!((inbox.next(Duration::ZERO), inbox.room()), (None, MOST));
    }
}
