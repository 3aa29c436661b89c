//! Run-length coded values, one per sample: the form of `stts` and `ctts`.

/// The same value for a number of consecutive samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueRun<T> {
    /// How many samples.
    pub count: u32,
    /// The value of each.
    pub value: T,
}

/// Values in runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValueRuns<T> {
    runs: Vec<ValueRun<T>>,
}

impl<T: Copy + PartialEq> ValueRuns<T> {
    /// Takes runs as they are.
    pub const fn new(runs: Vec<ValueRun<T>>) -> Self {
        Self { runs }
    }

    /// The runs.
    pub fn as_slice(&self) -> &[ValueRun<T>] {
        &self.runs
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|r| u64::from(r.count)).sum()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.runs.iter().all(|r| r.count == 0)
    }

    /// Appends `count` times the same value.
    pub fn push_many(&mut self, value: T, count: u32) {
        match self.runs.last_mut() {
            Some(last) if last.value == value && last.count.checked_add(count).is_some() => last.count += count,
            _ if count > 0 => self.runs.push(ValueRun { count, value }),
            _ => {}
        }
    }

    /// Appends one value.
    pub fn push(&mut self, value: T) {
        self.push_many(value, 1);
    }

    /// Makes the last value, a duration, longer.
    pub fn lengthen_last(&mut self, by: T)
    where
        T: std::ops::Add<Output = T>,
    {
        let Some(last) = self.runs.pop() else { return };
        self.push_many(last.value, last.count - 1);
        self.push(last.value + by);
    }

    /// Takes the last run off.
    pub(in super::super) fn pop_run(&mut self) -> Option<ValueRun<T>> {
        self.runs.pop()
    }

    /// Goes through the values one by one.
    pub fn cursor(&self) -> RunCursor<'_, T> {
        RunCursor { runs: &self.runs, used: 0 }
    }
}

/// A position in [`ValueRuns`].
#[derive(Debug, Clone)]
pub struct RunCursor<'a, T> {
    runs: &'a [ValueRun<T>],
    used: u32,
}

impl<T: Copy> RunCursor<'_, T> {
    /// What is left of the current run: its value and how many more samples have it.
    pub fn current(&mut self) -> Option<ValueRun<T>> {
        loop {
            let first = self.runs.first()?;
            if self.used < first.count {
                return Some(ValueRun { count: first.count - self.used, value: first.value });
            }
            self.runs = &self.runs[1..];
            self.used = 0;
        }
    }

    /// Goes past so many values, run by run; past the end none is left.
    pub fn go_past(&mut self, values: u64) {
        let mut left = values.saturating_add(u64::from(self.used));
        let behind = self.runs.iter().position(|run| {
            let is_here = left < u64::from(run.count);
            left -= if is_here { 0 } else { u64::from(run.count) };
            is_here
        });
        self.runs = &self.runs[behind.unwrap_or(self.runs.len())..];
        self.used = u32::try_from(left).unwrap_or(0);
    }

    /// Goes on by at most what is left of the current run.
    pub fn advance(&mut self, count: u32) {
        self.used = self.used.saturating_add(count);
    }
}

impl<T: Copy> Iterator for RunCursor<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let run = self.current()?;
        self.advance(1);
        Some(run.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_share_a_run_and_come_back_one_by_one() {
        let mut runs = ValueRuns::default();
        for value in [3, 3, 5, 3] {
            runs.push(value);
        }
        assert_eq!(runs.as_slice().len(), 3);
        assert_eq!(runs.count(), 4);
        assert_eq!(runs.cursor().collect::<Vec<_>>(), [3, 3, 5, 3]);
    }

    #[test]
    fn a_run_that_is_full_is_followed_by_another() {
        let mut runs = ValueRuns::new(vec![ValueRun { count: u32::MAX, value: 1u32 }]);
        runs.push(1);
        assert_eq!(runs.count(), u64::from(u32::MAX) + 1);
    }

    #[test]
    fn skipping_values_comes_to_the_same_as_taking_them() {
        let runs = [(2, 7), (0, 9), (1, 4), (3, 7)].map(|(count, value)| ValueRun { count, value });
        let runs = ValueRuns::new(runs.to_vec());
        for (first, then) in (0..8).flat_map(|first| (0..8).map(move |then| (first, then))) {
            let (mut skipped, mut taken) = (runs.cursor(), runs.cursor());
            for count in [first, then] {
                skipped.go_past(count);
                (0..count).for_each(|_| _ = taken.next());
                assert_eq!(skipped.clone().collect::<Vec<_>>(), taken.clone().collect::<Vec<_>>(), "{first}, {then}");
            }
        }
    }

    #[test]
    fn empty_runs_are_stepped_over() {
        let runs = ValueRuns::new(vec![
            ValueRun { count: 0, value: 9 },
            ValueRun { count: 1, value: 4 },
            ValueRun { count: 0, value: 9 },
        ]);
        assert_eq!(runs.cursor().collect::<Vec<_>>(), [4]);
    }
}
