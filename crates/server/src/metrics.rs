//! What the server counts, in Prometheus's text format.
//!
//! Each route's counters are looked up once, so that counting a success is an atomic addition and a
//! histogram's.

mod network;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use wasm_exec::{EndReason, NetworkStatus, Occupancy, Statistics};

use crate::routes::Route;
use network::NetworkMetrics;

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
struct OutcomeLabel {
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
    remembered_failures: Counter<u64, AtomicU64>,
    batches: Gauge,
    batch_lines: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    sessions: Gauge,
    sessions_made: Counter<u64, AtomicU64>,
    sessions_ended: Family<ReasonLabel, Counter<u64, AtomicU64>>,
    in_use: InUse,
    /// `None` on a server that is not a node of a network.
    network: Option<NetworkMetrics>,
}

/// A batch that runs.
#[derive(Debug)]
pub(crate) struct RunningBatch(Gauge);

impl Drop for RunningBatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What is in use; all of it is zero on a server that has nothing to do.
#[derive(Debug, Default)]
struct InUse {
    running_calls: Gauge,
    waiting_calls: Gauge,
    running_compilations: Gauge,
    waiting_compilations: Gauge,
    guest_memory_bytes: Gauge,
    body_bytes: Gauge,
    answer_bytes: Gauge,
}

impl InUse {
    fn registered(registry: &mut Registry) -> Self {
        let this = Self::default();
        for (name, help, gauge) in [
            ("running_calls", "Calls that run", &this.running_calls),
            ("waiting_calls", "Calls that wait for a place", &this.waiting_calls),
            ("running_compilations", "Modules being compiled", &this.running_compilations),
            (
                "waiting_compilations",
                "Compilations that wait for a place",
                &this.waiting_compilations,
            ),
            (
                "guest_memory_bytes",
                "Memory of all calls, without what each has without asking",
                &this.guest_memory_bytes,
            ),
            ("body_bytes", "Memory of large requests' bodies", &this.body_bytes),
            ("answer_bytes", "Memory of large answers", &this.answer_bytes),
        ] {
            registry.register(name, help, gauge.clone());
        }
        this
    }

    fn set(&self, occupancy: &Occupancy, held: Held) {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let Occupancy {
            running_calls,
            waiting_calls,
            running_compilations,
            waiting_compilations,
            guest_memory_bytes,
        } = *occupancy;
        set(&self.running_calls, running_calls);
        set(&self.waiting_calls, waiting_calls);
        set(&self.running_compilations, running_compilations);
        set(&self.waiting_compilations, waiting_compilations);
        set(&self.guest_memory_bytes, guest_memory_bytes);
        set(&self.body_bytes, usize::try_from(held.body_bytes).unwrap_or(usize::MAX));
        set(&self.answer_bytes, usize::try_from(held.answer_bytes).unwrap_or(usize::MAX));
    }
}

/// Memory that requests and answers take, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) body_bytes: u64,
    pub(crate) answer_bytes: u64,
}

#[derive(Debug)]
struct ByRoute {
    ok: Counter<u64, AtomicU64>,
    duration: Histogram,
}

impl Metrics {
    /// `is_networked` says whether the server is a node of a network.
    pub(crate) fn new(is_networked: bool) -> Self {
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
        let remembered_failures = Counter::<u64, AtomicU64>::default();
        registry.register(
            "remembered_failures",
            "Modules and programs refused because they had failed before, without trying again",
            remembered_failures.clone(),
        );
        let batches = Gauge::default();
        registry.register("batches", "Batches that run", batches.clone());
        let batch_lines = Family::<OutcomeLabel, Counter<u64, AtomicU64>>::default();
        registry.register("batch_lines", "Lines of batches answered", batch_lines.clone());
        let sessions = Gauge::default();
        registry.register("sessions", "Sessions that live", sessions.clone());
        let sessions_made = Counter::<u64, AtomicU64>::default();
        registry.register("sessions_made", "Sessions made", sessions_made.clone());
        let sessions_ended = Family::<ReasonLabel, Counter<u64, AtomicU64>>::default();
        registry.register("sessions_ended", "Sessions ended", sessions_ended.clone());
        let in_use = InUse::registered(&mut registry);
        let network = is_networked.then(|| NetworkMetrics::registered(&mut registry));
        Self {
            registry,
            requests,
            by_route,
            connections,
            refused_connections,
            ready_programs,
            remembered_failures,
            batches,
            batch_lines,
            sessions,
            sessions_made,
            sessions_ended,
            in_use,
            network,
        }
    }

    /// Counts a batch as running until it is dropped.
    pub(crate) fn begin_batch(&self) -> RunningBatch {
        self.batches.inc();
        RunningBatch(self.batches.clone())
    }

    /// Counts lines of a batch that ended so: `ok`, or the code of their problem.
    pub(crate) fn answered_lines(&self, outcome: &'static str, lines: u64) {
        self.batch_lines.get_or_create(&OutcomeLabel { outcome }).inc_by(lines);
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
    pub(crate) fn text(
        &self,
        statistics: &Statistics,
        held: Held,
        network: Option<&NetworkStatus>,
    ) -> String {
        if let (Some(metrics), Some(status)) = (&self.network, network) {
            metrics.set(status);
        }
        self.in_use.set(&statistics.occupancy, held);
        self.ready_programs.set(i64::try_from(statistics.ready_programs).unwrap_or(i64::MAX));
        let wasm_exec::SessionCounts { now, made, ended } = statistics.sessions;
        self.sessions.set(i64::try_from(now).unwrap_or(i64::MAX));
        // Counted elsewhere, and only copied here.
        let remembered = statistics.remembered_failures;
        self.remembered_failures.inner().store(remembered, Ordering::Relaxed);
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
