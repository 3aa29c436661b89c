//! The order counts of the last pictures of a sequence: two never have the same, and none is far from the others.

/// So many are remembered: no more pictures wait for one that is shown before them (H.264 §A.3.1, H.265 §A.4.1).
const REMEMBERED: usize = 16;
/// And no further apart in decoding are two that follow each other in output; frames of H.264 count by two.
const FARTHEST: i64 = 34;

/// The last order counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecentOrders {
    orders: [i64; REMEMBERED],
    next: usize,
}

impl Default for RecentOrders {
    fn default() -> Self {
        Self { orders: [i64::MIN; REMEMBERED], next: 0 }
    }
}

impl RecentOrders {
    /// Whether a picture may have this order count; `reference` is that of the last reference picture.
    pub(super) fn may_take(&self, order: i64, reference: i64) -> bool {
        let is_first = self.orders.iter().all(|taken| *taken == i64::MIN);
        is_first || (order - reference).abs() <= FARTHEST && !self.orders.contains(&order)
    }

    /// Remembers one.
    pub(super) const fn take(&mut self, order: i64) {
        self.orders[self.next] = order;
        self.next = (self.next + 1) % REMEMBERED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pictures_have_one_place() {
        let mut recent = RecentOrders::default();
        assert!(recent.may_take(1000, 0), "where nothing came before, any may be the first");
        recent.take(1000);
        assert!(!recent.may_take(1000, 1000) && recent.may_take(1006, 1000) && recent.may_take(998, 1000));
        assert!(!recent.may_take(1040, 1000));
    }
}
