//! Values by key, the last used first, bounded by what they take in memory.

use crate::memory;

/// Parts of this process's memory that values of one kind are kept in.
const MEMORY_PARTS: u64 = 32;
const MOST_KEPT_BYTES: u64 = 128 << 20;

#[derive(Debug)]
pub(super) struct LruCache<K, V> {
    rows: Vec<(K, V, u64)>,
    limit_bytes: u64,
}

impl<K, V> Default for LruCache<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new(), limit_bytes: memory::share(MEMORY_PARTS, MOST_KEPT_BYTES) }
    }
}

impl<K: Eq, V: Clone> LruCache<K, V> {
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        let at = self.rows.iter().position(|(known, ..)| known == key)?;
        self.rows[..=at].rotate_right(1);
        self.rows.first().map(|(_, value, _)| value.clone())
    }

    /// Keeps a value; what was not used for the longest time goes if there is too much. One that is too large by itself is not kept.
    pub(super) fn put(&mut self, key: K, value: V, bytes: u64) {
        if bytes > self.limit_bytes {
            return;
        }
        self.remove(&key);
        self.rows.insert(0, (key, value, bytes.max(1 << 10)));
        while self.rows.iter().map(|(.., bytes)| bytes).sum::<u64>() > self.limit_bytes {
            self.rows.pop();
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.rows.retain(|(known, ..)| known != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_the_longest_time_goes() {
        let mut kept = LruCache { rows: Vec::new(), limit_bytes: 10 << 10 };
        for key in 0..3 {
            kept.put(key, key, 4 << 10);
        }
        assert_eq!([0, 1, 2].map(|key| kept.get(&key)), [None, Some(1), Some(2)]);
        assert_eq!(kept.get(&1), Some(1));
        kept.put(3, 3, 4 << 10);
        assert_eq!([1, 2, 3].map(|key| kept.get(&key)), [Some(1), None, Some(3)]);
        kept.put(4, 4, 11 << 10);
        assert_eq!((kept.get(&4), kept.get(&3)), (None, Some(3)));
    }
}
