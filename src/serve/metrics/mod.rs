//! `/metrics` in the `OpenMetrics` text format (version 1.0.0), for Prometheus.
//!
//! Counters are counted from the event log, gauges are read when they are asked for. Labels are names of the configuration and
//! words of the program; no stream, file or VoD is ever one, so that their number is bounded.

mod counters;
mod disks;
mod gauges;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::warn;

use super::answering::{Service, fault, problem};
use crate::fault::chain;
use crate::operations::{Context, OperationError};
use counters::Counters;
use disks::Disks;
use gauges::Gauges;

/// How often new events are counted and free space is looked at.
const TICK: Duration = Duration::from_secs(5);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;

/// The label of what there is for each target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTarget {
    target: String,
}

/// Everything that is measured.
#[derive(Debug, Clone)]
pub(super) struct Metrics(Arc<Mutex<MetricsState>>);

#[derive(Debug)]
struct MetricsState {
    registry: Registry,
    counters: Counters,
    disks: Disks,
    gauges: Gauges,
}

impl Metrics {
    /// Begins to count what happens from now on, until the process shall end.
    pub(super) fn begin(context: &Context) -> Self {
        let mut registry = Registry::with_prefix("aftercast");
        let counters = Counters::register(&mut registry, context);
        let disks = Disks::register(&mut registry);
        let gauges = Gauges::register(&mut registry);
        let metrics = Self(Arc::new(Mutex::new(MetricsState { registry, counters, disks, gauges })));
        let (following, context) = (metrics.clone(), context.clone());
        context.pipeline().runtime.clone().handle().spawn(async move { following.follow(context).await });
        metrics
    }

    async fn follow(self, context: Context) {
        while !context.stop().is_requested() {
            let (metrics, of) = (self.clone(), context.clone());
            if let Err(error) = tokio::task::spawn_blocking(move || metrics.count(&of)).await {
                warn!(error = chain(&error), "events could not be counted");
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = context.stop().requested() => {}
            }
        }
    }

    fn count(&self, context: &Context) {
        let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        measured.counters.count(context);
        measured.disks.look(context);
    }

    fn text(&self, context: &Context) -> Result<String, OperationError> {
        self.count(context);
        let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        measured.gauges.read(context)?;
        let mut text = String::new();
        encode(&mut text, &measured.registry).map_err(|e| OperationError::internal(chain(&e)))?;
        Ok(text)
    }
}

/// Answers a scrape.
pub(super) async fn answer(service: Service, metrics: Metrics) -> Response {
    let said = tokio::task::spawn_blocking(move || metrics.text(&service.context)).await;
    match said.unwrap_or_else(|_| Err(fault())) {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => problem(&error),
    }
}
