//! Answers that are the same until a VoD or the configuration changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;

use crate::config::Config;

/// Bytes that are kept at most, targets of requests included.
const MOST_BYTES: usize = 4 << 20;
/// A longer target is not worth keeping.
const LONGEST_TARGET: usize = 1 << 10;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct AnswerCache(Mutex<CachedAnswers>);

#[derive(Debug, Default)]
struct CachedAnswers {
    changes: u64,
    config: Option<Arc<Config>>,
    by_target: HashMap<Box<str>, Bytes>,
    bytes: usize,
}

impl CachedAnswers {
    fn are_of(&self, config: &Arc<Config>, changes: u64) -> bool {
        self.changes == changes && self.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, config))
    }
}

impl AnswerCache {
    /// The answer to the same request, if nothing has changed since.
    pub(super) fn get(&self, target: &str, config: &Arc<Config>, changes: u64) -> Option<Bytes> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.are_of(config, changes) { answers.by_target.get(target).cloned() } else { None }
    }

    /// Keeps an answer; `changes` is from before it was made.
    pub(super) fn put(&self, target: &str, config: &Arc<Config>, changes: u64, body: &Bytes) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = target.len() + body.len();
        if target.len() > LONGEST_TARGET || bytes > MOST_BYTES {
            return;
        }
        if !answers.are_of(config, changes) || answers.bytes + bytes > MOST_BYTES {
            *answers = CachedAnswers { changes, config: Some(Arc::clone(config)), ..CachedAnswers::default() };
        }
        answers.bytes += bytes;
        if let Some(before) = answers.by_target.insert(target.into(), body.clone()) {
            answers.bytes -= target.len() + before.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_until_something_changes() {
        let (kept, config, other) = (AnswerCache::default(), Arc::new(Config::default()), Arc::new(Config::default()));
        kept.put("/a", &config, 1, &"x".into());
        assert_eq!(kept.get("/a", &config, 1), Some("x".into()));
        assert_eq!(kept.get("/b", &config, 1), None);
        assert_eq!(kept.get("/a", &config, 2), None);
        assert_eq!(kept.get("/a", &other, 1), None);
        kept.put("/b", &config, 2, &"y".into());
        assert_eq!((kept.get("/a", &config, 1), kept.get("/a", &config, 2)), (None, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (kept, config) = (AnswerCache::default(), Arc::new(Config::default()));
        let body = Bytes::from(vec![0; 100 << 10]);
        for n in 0..200 {
            kept.put(&format!("/{n}"), &config, 1, &body);
            assert!(kept.0.lock().unwrap().bytes <= MOST_BYTES);
        }
        assert_eq!(kept.get("/199", &config, 1), Some(body));
        kept.put(&"x".repeat(LONGEST_TARGET + 1), &config, 1, &"y".into());
        kept.put("/long", &config, 1, &Bytes::from(vec![0; MOST_BYTES]));
        assert_eq!(
            (kept.get(&"x".repeat(LONGEST_TARGET + 1), &config, 1), kept.get("/long", &config, 1)),
            (None, None)
        );
    }
}
