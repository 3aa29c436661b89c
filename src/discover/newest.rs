//! What finishes now overtakes the backlog: candidates are taken by the time of their last write, the newest first. Pure.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::recording::journey::Candidate;

/// Puts what was written last first.
pub fn newest_first(candidates: &mut [Candidate]) {
    candidates.sort_by(by_age);
}

fn by_age(a: &Candidate, b: &Candidate) -> Ordering {
    let newest = b.fingerprint.mtime_ns.cmp(&a.fingerprint.mtime_ns);
    newest.then_with(|| a.path.cmp(&b.path))
}

/// The newest of many candidates: no more are held than are wanted.
#[derive(Debug)]
pub struct NewestCandidates {
    most: usize,
    held: BinaryHeap<ByAge>,
    is_cut: bool,
}

/// The oldest is the greatest.
#[derive(Debug)]
struct ByAge(Candidate);

impl Ord for ByAge {
    fn cmp(&self, other: &Self) -> Ordering {
        by_age(&self.0, &other.0)
    }
}

impl PartialOrd for ByAge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByAge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByAge {}

impl NewestCandidates {
    /// None yet, of which the newest `most` will be held.
    pub const fn new(most: usize) -> Self {
        Self { most, held: BinaryHeap::new(), is_cut: false }
    }

    /// Holds one more, and lets the oldest go where that is one too many.
    pub fn add(&mut self, candidate: Candidate) {
        self.held.push(ByAge(candidate));
        if self.held.len() > self.most {
            self.held.pop();
            self.is_cut = true;
        }
    }

    /// Whether there were more than are held.
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Those that are held, the newest first.
    pub fn into_sorted(self) -> Vec<Candidate> {
        self.held.into_sorted_vec().into_iter().map(|ByAge(candidate)| candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Fingerprint;
    use crate::recording::journey::NameFacts;

    fn candidate(name: &str, mtime_ns: i64) -> Candidate {
        Candidate {
            path: name.into(),
            root: "/".into(),
            server: "auto".into(),
            is_temporary: false,
            facts: NameFacts::default(),
            fingerprint: Fingerprint { device: 0, inode: 0, size_bytes: 0, mtime_ns },
        }
    }

    #[test]
    fn of_many_the_newest_are_held_in_their_order() {
        let all = [("/a", 3), ("/b", 9), ("/c", 1), ("/d", 9), ("/e", 4)].map(|(name, at)| candidate(name, at));
        for most in 0..=6 {
            let mut newest = NewestCandidates::new(most);
            for candidate in &all {
                newest.add(candidate.clone());
            }
            assert_eq!(newest.is_cut(), most < all.len());
            let mut expected = all.to_vec();
            newest_first(&mut expected);
            expected.truncate(most);
            assert_eq!(newest.into_sorted(), expected);
        }
    }
}
