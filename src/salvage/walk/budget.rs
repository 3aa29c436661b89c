//! How much may be looked at for each byte that the walk goes on, so that bytes made to be looked at again and again
//! take no longer than any others.

/// Bytes that may be read ahead before any progress: the damage of a real disk never needs so many.
const FREE_BYTES: u64 = 32 << 20;
/// In a small file no more than so many for each of its bytes.
const FREE_BYTES_PER_BYTE: u64 = 64;
/// Where a hypothesis is only tried: what does not fit is seen soon.
const BRIEF_BYTES_PER_BYTE: u64 = 4;
/// Bytes that may be read ahead for each byte of progress. Sound media needs one or two.
const BYTES_PER_BYTE: u64 = 8;
/// How far a search goes on at once when everything is spent.
const LEAST_STEP_BYTES: u64 = 512;
const MOST_STEP_BYTES: u64 = 64 << 10;

/// What was read ahead, and what may be.
#[derive(Debug, Clone, Copy)]
pub struct ReadBudget {
    start: u64,
    free: u64,
    spent: u64,
    allowed: u64,
}

impl ReadBudget {
    /// That of a walk through so many bytes from a place on.
    pub fn new(start: u64, len: u64) -> Self {
        let free = FREE_BYTES.min(len.saturating_mul(FREE_BYTES_PER_BYTE));
        Self { start, free, spent: 0, allowed: free }
    }

    /// The same of a walk that only tries a hypothesis.
    pub fn brief(start: u64, len: u64) -> Self {
        let free = FREE_BYTES.min(len.saturating_mul(BRIEF_BYTES_PER_BYTE));
        Self { start, free, spent: 0, allowed: free }
    }

    /// What is allowed when the walk has come to a place.
    pub const fn allowed_at(&self, at: u64) -> u64 {
        self.free.saturating_add(at.saturating_sub(self.start).saturating_mul(BYTES_PER_BYTE))
    }

    /// The walk, or a search of it, has come to a place. What was allowed once stays so.
    pub const fn advance(&mut self, at: u64) {
        let allowed = self.allowed_at(at);
        if allowed > self.allowed {
            self.allowed = allowed;
        }
    }

    /// So many bytes were read ahead.
    pub const fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// How many bytes were read ahead.
    pub const fn spent(&self) -> u64 {
        self.spent
    }

    /// Whether a search has to hurry.
    pub const fn is_spent(&self) -> bool {
        self.spent > self.allowed
    }

    /// How far a search at a place has to go on without looking: so far that it pays for what was looked at before.
    pub fn hurry(&mut self, at: u64) -> u64 {
        self.advance(at);
        let debt = self.spent.saturating_sub(self.allowed) / BYTES_PER_BYTE;
        if self.is_spent() { debt.clamp(LEAST_STEP_BYTES, MOST_STEP_BYTES) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_pays_for_looking_ahead() {
        let mut budget = ReadBudget::new(100, 10_000);
        assert_eq!(budget.hurry(100), 0);
        budget.spend(640_000 + 8000);
        assert!(budget.is_spent());
        assert_eq!(budget.hurry(100), 1000);
        budget.advance(1100);
        assert!(!budget.is_spent());
        assert_eq!(budget.hurry(0), 0, "a second search of the same place owes nothing again");
    }
}
