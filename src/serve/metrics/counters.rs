//! What is counted from the event log.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing::warn;

use super::ByTarget;
use crate::fault::chain;
use crate::operations::Context;
use crate::recording::{Defect, Event};

/// Events that are read at once.
const PAGE: usize = 1_000;
/// Recordings and deliveries whose beginning is remembered; more than can be under way.
const MOST_BEGUN: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClass {
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTargetAndClass {
    target: String,
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStage {
    stage: &'static str,
}

/// The counters, and how far the log was counted.
#[derive(Debug)]
pub(super) struct Counters {
    counted: u64,
    /// When an attempt began, milliseconds since the Unix epoch.
    begun: HashMap<String, i64>,
    finished: Family<ByOutcome, Counter>,
    finished_bytes: Counter,
    quarantined: Counter,
    failed: Family<ByClass, Counter>,
    defects: Family<ByKind, Counter>,
    attempts: Family<ByTarget, Counter>,
    delivered: Family<ByTarget, Counter>,
    delivered_bytes: Family<ByTarget, Counter>,
    delivery_failures: Family<ByTargetAndClass, Counter>,
    freed: Counter,
    freed_bytes: Counter,
    deleted: Counter,
    lost: Counter,
    seconds: Family<ByStage, Histogram>,
}

/// The name of a defect in JSON.
fn kind_of(defect: &Defect) -> String {
    let json = serde_json::to_value(defect).unwrap_or_default();
    json.get("kind").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
}

/// From 10 ms to 3 hours.
fn stage_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 4.0, 11))
}

impl Counters {
    /// Counts what is written to the log from now on.
    pub(super) fn register(registry: &mut Registry, context: &Context) -> Self {
        let counters = Self {
            counted: context.pipeline().catalog.shared().last_event().unwrap_or_default(),
            begun: HashMap::new(),
            finished: Family::default(),
            finished_bytes: Counter::default(),
            quarantined: Counter::default(),
            failed: Family::default(),
            defects: Family::default(),
            attempts: Family::default(),
            delivered: Family::default(),
            delivered_bytes: Family::default(),
            delivery_failures: Family::default(),
            freed: Counter::default(),
            freed_bytes: Counter::default(),
            deleted: Counter::default(),
            lost: Counter::default(),
            seconds: Family::new_with_constructor(stage_histogram),
        };
        counters.register_recordings(registry);
        counters.register_deliveries(registry);
        registry.register_with_unit(
            "stage_duration",
            "From the beginning of an attempt to its success: finish or deliver",
            Unit::Seconds,
            counters.seconds.clone(),
        );
        registry.register("events_lost", "Events that were dropped before they were counted", counters.lost.clone());
        counters
    }

    fn register_recordings(&self, registry: &mut Registry) {
        registry.register("recordings_finished", "Recordings that became a VoD, by how", self.finished.clone());
        let help = "Size of the files that recordings became";
        registry.register_with_unit("recordings_finished", help, Unit::Bytes, self.finished_bytes.clone());
        registry.register("recordings_quarantined", "Recordings that cannot be finished", self.quarantined.clone());
        registry.register("recordings_failed", "Attempts to finish a recording that failed", self.failed.clone());
        registry.register("defects", "Defects of finished and quarantined recordings", self.defects.clone());
        registry.register("local_freed", "Local files that were freed", self.freed.clone());
        registry.register_with_unit("local_freed", "Size of the freed files", Unit::Bytes, self.freed_bytes.clone());
        registry.register("vods_deleted", "VoDs that were deleted", self.deleted.clone());
    }

    fn register_deliveries(&self, registry: &mut Registry) {
        registry.register("delivery_attempts", "Attempts to deliver", self.attempts.clone());
        registry.register("deliveries", "Deliveries that the store has confirmed", self.delivered.clone());
        registry.register_with_unit("deliveries", "Bytes delivered", Unit::Bytes, self.delivered_bytes.clone());
        registry.register("delivery_failures", "Attempts to deliver that failed", self.delivery_failures.clone());
    }

    /// Counts what is new.
    pub(super) fn count(&mut self, context: &Context) {
        loop {
            let page = match context.pipeline().catalog.shared().events(self.counted, PAGE) {
                Ok(page) => page,
                Err(error) => return warn!(error = chain(&error), "events could not be counted"),
            };
            self.lost.inc_by(page.lost);
            page.events.iter().for_each(|logged| self.add(&logged.event, logged.at_ms));
            if page.next == self.counted {
                return;
            }
            self.counted = page.next;
        }
    }

    fn add(&mut self, event: &Event, at_ms: i64) {
        match event {
            Event::Begun { recording, .. } => self.begin(&recording.key, at_ms),
            Event::Finished { recording, vod, outcome, defects } => {
                self.finish(outcome.name(), vod.size_bytes, defects);
                self.end(&recording.key, "finish", at_ms);
            }
            Event::Salvaged { recording, vod, defects } => {
                self.finish("salvaged", vod.size_bytes, defects);
                self.end(&recording.key, "finish", at_ms);
            }
            Event::Quarantined { defects, .. } => {
                self.quarantined.inc();
                self.note(defects);
            }
            Event::Failed { class, .. } => {
                self.failed.get_or_create(&ByClass { class: class.name().to_owned() }).inc();
            }
            Event::Freed { vod } => {
                self.freed.inc();
                self.freed_bytes.inc_by(vod.size_bytes);
            }
            Event::Deleted { .. } => drop(self.deleted.inc()),
            other => self.add_delivery(other, at_ms),
        }
    }

    fn add_delivery(&mut self, event: &Event, at_ms: i64) {
        match event {
            Event::DeliveryStarted { delivery, .. } => {
                self.attempts.get_or_create(&ByTarget { target: delivery.target.clone() }).inc();
                self.begin(&format!("{}@{}", delivery.asset_id, delivery.target), at_ms);
            }
            Event::Delivered { delivery, .. } => {
                let of = ByTarget { target: delivery.target.clone() };
                self.delivered.get_or_create(&of).inc();
                self.delivered_bytes.get_or_create(&of).inc_by(delivery.size_bytes);
                self.end(&format!("{}@{}", delivery.asset_id, delivery.target), "deliver", at_ms);
            }
            Event::DeliveryFailed { delivery, class, .. } => {
                let of = ByTargetAndClass { target: delivery.target.clone(), class: class.name().to_owned() };
                self.delivery_failures.get_or_create(&of).inc();
            }
            _ => {}
        }
    }

    fn finish(&self, outcome: &str, size_bytes: u64, defects: &[Defect]) {
        self.finished.get_or_create(&ByOutcome { outcome: outcome.to_owned() }).inc();
        self.finished_bytes.inc_by(size_bytes);
        self.note(defects);
    }

    fn note(&self, defects: &[Defect]) {
        for defect in defects {
            self.defects.get_or_create(&ByKind { kind: kind_of(defect) }).inc();
        }
    }

    fn begin(&mut self, what: &str, at_ms: i64) {
        if self.begun.len() >= MOST_BEGUN {
            // What never ended is forgotten with the rest: a few durations are not counted.
            self.begun.clear();
        }
        self.begun.insert(what.to_owned(), at_ms);
    }

    fn end(&mut self, what: &str, stage: &'static str, at_ms: i64) {
        if let Some(begun_ms) = self.begun.remove(what) {
            let ms = u32::try_from(at_ms.saturating_sub(begun_ms)).unwrap_or_default();
            self.seconds.get_or_create(&ByStage { stage }).observe(f64::from(ms) / 1_000.0);
        }
    }
}
