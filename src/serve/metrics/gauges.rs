//! What is read when it is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{ByTarget, Seconds};
use crate::catalog::{Backlog, CatalogError};
use crate::media;
use crate::operations::{Context, OperationError};

/// Entries of the journal that are read at once.
const PAGE: usize = 500;
/// How long counts of the journal and the queue are good for: reading both takes time in proportion to what is there.
const FRESH: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByConsumer {
    consumer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByNode {
    node: String,
}

/// The gauges.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    counted: Option<Instant>,
    recordings: Family<ByState, Gauge>,
    active: Gauge,
    queued: Gauge,
    waiting: Family<ByTarget, Gauge>,
    oldest: Family<ByTarget, Seconds>,
    paused: Family<ByTarget, Gauge>,
    lag: Family<ByConsumer, Gauge>,
    ready: Gauge,
    fleet_connected: Family<ByNode, Gauge>,
    fleet_waiting: Family<ByNode, Gauge>,
}

impl Gauges {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        registry.register_collector(Box::new(Build));
        let help = "Recordings that the journal knows, by state";
        registry.register("recordings", help, gauges.recordings.clone());
        registry.register("recordings_active", "Recordings that are being finished", gauges.active.clone());
        registry.register("recordings_queued", "Recordings that wait to be finished", gauges.queued.clone());
        registry.register("deliveries_waiting", "Deliveries that wait for a target", gauges.waiting.clone());
        let help = "Age of the delivery that waits longest for a target";
        registry.register_with_unit("delivery_oldest", help, Unit::Seconds, gauges.oldest.clone());
        registry.register("target_paused", "1 while a target is paused as a whole", gauges.paused.clone());
        registry.register("event_consumer_lag", "Events that a consumer has not read", gauges.lag.clone());
        registry.register("ready", "1 while recordings are taken", gauges.ready.clone());
        let help = "1 while the fleet database confirms the heartbeats of this node";
        registry.register("fleet_connected", help, gauges.fleet_connected.clone());
        let help = "VoDs whose last change the fleet database has not been told about";
        registry.register("fleet_vods_waiting", help, gauges.fleet_waiting.clone());
        gauges
    }

    /// Reads them.
    pub(super) fn read(&mut self, context: &Context) -> Result<(), OperationError> {
        let ctx = context.pipeline();
        let (active, queued) = context.engine().pool().load();
        self.active.set(of_count(active));
        self.queued.set(of_count(queued));
        self.ready.set(i64::from(context.is_ready() && ctx.catalog.require_works().is_ok()));
        self.paused.clear();
        for target in ctx.targets().names() {
            let of = ByTarget { target: target.to_owned() };
            self.paused.get_or_create(&of).set(i64::from(ctx.delivering.target_waits_until(target).is_some()));
        }
        if let Some(fleet) = &ctx.fleet {
            let health = fleet.health()?;
            let of = ByNode { node: health.name };
            self.fleet_connected.get_or_create(&of).set(i64::from(health.is_connected));
            self.fleet_waiting.get_or_create(&of).set(i64::try_from(health.waiting_vods).unwrap_or(i64::MAX));
        }
        self.lag.clear();
        for consumer in ctx.catalog.shared().event_consumers()? {
            let of = ByConsumer { consumer: consumer.name };
            self.lag.get_or_create(&of).set(i64::try_from(consumer.lag).unwrap_or(i64::MAX));
        }
        let now = ctx.clock.now();
        if self.counted.is_none_or(|at| now.saturating_duration_since(at) >= FRESH) {
            self.count(context)?;
            self.counted = Some(now);
        }
        Ok(())
    }

    fn count(&self, context: &Context) -> Result<(), CatalogError> {
        let (catalog, now_ms) = (&context.pipeline().catalog, context.pipeline().clock.now_ms());
        self.waiting.clear();
        self.oldest.clear();
        let mut backlogs = catalog.backlog()?;
        for target in context.pipeline().targets().names() {
            backlogs.entry(target.to_owned()).or_insert(Backlog { deliveries: 0, oldest_ms: now_ms });
        }
        for (target, backlog) in backlogs {
            let of = ByTarget { target };
            self.waiting.get_or_create(&of).set(i64::try_from(backlog.deliveries).unwrap_or(i64::MAX));
            let age_s = now_ms.saturating_sub(backlog.oldest_ms).max(0) / 1_000;
            self.oldest.get_or_create(&of).set(u32::try_from(age_s).map_or(f64::INFINITY, f64::from));
        }
        let (mut states, mut after) = (BTreeMap::<&'static str, i64>::new(), None);
        loop {
            let page = catalog.entries(after.as_ref(), PAGE)?;
            page.items.iter().for_each(|(_, entry)| *states.entry(entry.step.name()).or_default() += 1);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.recordings.clear();
        for (state, count) in states {
            self.recordings.get_or_create(&ByState { state }).set(count);
        }
        Ok(())
    }
}

fn of_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Said when it is asked for: it loads FFmpeg, which a daemon without recordings does not need.
#[derive(Debug)]
struct Build;

impl Collector for Build {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ffmpeg = media::versions().map(|versions| versions.libraries.join(", ")).unwrap_or_default();
        let info = Info::new(vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("ffmpeg", ffmpeg)]);
        let help = "Version of the program and of the FFmpeg libraries";
        info.encode(encoder.encode_descriptor("build", help, None, info.metric_type())?)
    }
}
