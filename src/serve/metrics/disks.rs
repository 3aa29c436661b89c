//! Free space below the roots, and how long it lasts.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Seconds;
use crate::durable;
use crate::operations::Context;

/// Looks that the rate is taken over: ten minutes at one each five seconds.
const LOOKS: usize = 120;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoot {
    root: String,
}

/// What was seen of late.
#[derive(Debug)]
pub(super) struct Disks {
    seen: HashMap<PathBuf, VecDeque<(Instant, u64)>>,
    free: Family<ByRoot, Gauge>,
    lasts: Family<ByRoot, Seconds>,
}

impl Disks {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let disks = Self { seen: HashMap::new(), free: Family::default(), lasts: Family::default() };
        let help = "Free space on the file system of a root";
        registry.register_with_unit("disk_free", help, Unit::Bytes, disks.free.clone());
        let help = "Time until that is full at the rate of the last minutes; absent while it does not fill";
        registry.register_with_unit("disk_full_in", help, Unit::Seconds, disks.lasts.clone());
        disks
    }

    /// Looks at every root.
    pub(super) fn look(&mut self, context: &Context) {
        let settings = context.pipeline().settings();
        let roots: Vec<_> = settings.watch.roots.iter().map(|root| root.path.clone()).collect();
        self.seen.retain(|root, _| roots.contains(root));
        for root in roots {
            let of = ByRoot { root: root.to_string_lossy().into_owned() };
            let Ok(free_bytes) = durable::free_bytes(&root) else {
                self.free.remove(&of);
                self.lasts.remove(&of);
                continue;
            };
            let seen = self.seen.entry(root).or_default();
            seen.push_back((Instant::now(), free_bytes));
            if seen.len() > LOOKS {
                seen.pop_front();
            }
            let full_in = full_in(seen);
            self.free.get_or_create(&of).set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
            match full_in {
                Some(seconds) => drop(self.lasts.get_or_create(&of).set(seconds)),
                None => drop(self.lasts.remove(&of)),
            }
        }
    }
}

/// Seconds until nothing is free at the mean rate between the first and the last look; `None` if it does not become less.
fn full_in(seen: &VecDeque<(Instant, u64)>) -> Option<f64> {
    let ((first, before), (last, now)) = (seen.front()?, seen.back()?);
    let used = before.checked_sub(*now).filter(|used| *used > 0)?;
    let seconds = last.duration_since(*first).as_secs_f64();
    (seconds > 0.0).then(|| seconds * as_f64(*now) / as_f64(used))
}

#[expect(clippy::cast_precision_loss, reason = "a prediction needs no more digits")]
const fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_disk_that_loses_a_tenth_of_its_room_in_a_minute_is_full_in_nine() {
        let begin = Instant::now();
        let mut seen = VecDeque::from([(begin, 1_000)]);
        assert_eq!(full_in(&seen), None, "one look tells no rate");
        seen.push_back((begin + Duration::from_secs(60), 900));
        assert_eq!(full_in(&seen), Some(540.0));
        seen.push_back((begin + Duration::from_secs(61), 1_001));
        assert_eq!(full_in(&seen), None, "it became more");
    }
}
