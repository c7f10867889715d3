//! What the server counts, in Prometheus's text format.
//!
//! Each route's counters are looked up once, so that counting a success is an atomic addition and a
//! histogram's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use wasm_exec::EndReason;

use crate::routes::Route;

/// Upper bounds of the durations' buckets, in seconds.
const BUCKETS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0, 10.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    /// `ok`, or the problem's code.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter<u64, AtomicU64>>,
    by_route: Vec<ByRoute>,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: Counter,
    ready_programs: Gauge,
    sessions: Gauge,
    sessions_made: Counter<u64, AtomicU64>,
    sessions_ended: Family<ReasonLabel, Counter<u64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug)]
struct ByRoute {
    ok: Counter<u64, AtomicU64>,
    duration: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("wasm_exec");
        let requests = Family::<Labels, Counter<u64, AtomicU64>>::default();
        let durations =
            Family::<RouteLabel, Histogram, _>::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "request_duration_seconds",
            "From the request's head to its answer",
            durations.clone(),
        );
        let by_route = Route::ALL
            .iter()
            .map(|route| {
                let route = route.as_str();
                ByRoute {
                    ok: requests.get_or_create(&Labels { route, outcome: "ok" }).clone(),
                    duration: durations.get_or_create(&RouteLabel { route }).clone(),
                }
            })
            .collect();
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let refused_connections = Counter::default();
        registry.register(
            "refused_connections",
            "Connections closed at once because there were too many",
            refused_connections.clone(),
        );
        let ready_programs = Gauge::default();
        registry.register(
            "ready_programs",
            "Programs that can be called without loading anything",
            ready_programs.clone(),
        );
        let sessions = Gauge::default();
        registry.register("sessions", "Sessions that live", sessions.clone());
        let sessions_made = Counter::<u64, AtomicU64>::default();
        registry.register("sessions_made", "Sessions made", sessions_made.clone());
        let sessions_ended = Family::<ReasonLabel, Counter<u64, AtomicU64>>::default();
        registry.register("sessions_ended", "Sessions ended", sessions_ended.clone());
        Self {
            registry,
            requests,
            by_route,
            connections,
            refused_connections,
            ready_programs,
            sessions,
            sessions_made,
            sessions_ended,
        }
    }

    /// Counts an answered request; `problem` is the code of its problem, if it has one.
    pub(crate) fn answered(&self, route: Route, problem: Option<&'static str>, took: Duration) {
        let by_route = &self.by_route[route as usize];
        match problem {
            None => by_route.ok.inc(),
            Some(outcome) => {
                self.requests.get_or_create(&Labels { route: route.as_str(), outcome }).inc()
            }
        };
        by_route.duration.observe(took.as_secs_f64());
    }

    /// Everything, as text.
    pub(crate) fn text(&self, statistics: &wasm_exec::Statistics) -> String {
        self.ready_programs.set(i64::try_from(statistics.ready_programs).unwrap_or(i64::MAX));
        let wasm_exec::SessionCounts { now, made, ended } = statistics.sessions;
        self.sessions.set(i64::try_from(now).unwrap_or(i64::MAX));
        // Counted elsewhere, and only copied here.
        self.sessions_made.inner().store(made, Ordering::Relaxed);
        for (reason, count) in EndReason::ALL.iter().zip(ended) {
            let label = ReasonLabel { reason: reason.as_str() };
            let counter = self.sessions_ended.get_or_create(&label);
            counter.inner().store(count, Ordering::Relaxed);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
