//! How much may be looked at for each byte that the walk goes on, so that bytes made to be looked at again and again
//! take no longer than any others.

/// Bytes that may be read ahead before any progress: the damage of a real disk never needs so many.
const FREE_BYTES: u64 = 256 << 20;
/// Bytes that may be read ahead for each byte of progress.
const BYTES_PER_BYTE: u64 = 24;
/// How far a search goes on at once when everything is spent.
pub const COARSE_BYTES: u64 = 512;

/// What was read ahead, and what may be.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    spent: u64,
    allowed: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { spent: 0, allowed: FREE_BYTES }
    }
}

impl Budget {
    /// So many bytes lie behind the walk now.
    pub const fn advance(&mut self, bytes: u64) {
        self.allowed = FREE_BYTES.saturating_add(bytes.saturating_mul(BYTES_PER_BYTE));
    }

    /// So many bytes were read ahead.
    pub const fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Whether a search has to hurry.
    pub const fn is_spent(&self) -> bool {
        self.spent > self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_pays_for_looking_ahead() {
        let mut budget = Budget::default();
        budget.spend(FREE_BYTES + 1);
        assert!(budget.is_spent());
        budget.advance(1);
        assert!(!budget.is_spent());
    }
}
