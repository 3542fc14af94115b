//! What all cores share: one immutable view that is replaced as a whole, and counters.

use std::{
    cell::Cell,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use ecow::EcoString;
use http::HeaderValue;
use landbridge_gateway_core::Snapshot;
use landbridge_runtime::{clock::Clock, tls::Identity};
use tokio::sync::mpsc;

use crate::{
    access::AccessLog,
    config::{Connections, Settings},
    crossing::Crossings,
    limiter::Rule,
    metrics::{CONNECTIONS, IN_FLIGHT, TUNNELS_OPEN},
    neighbours::Told,
    tls::Trust,
};

/// Everything a call is treated by, at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) snapshot: Snapshot,
    pub(crate) settings: Arc<Settings>,
    pub(crate) rules: Arc<[Arc<Rule>]>,
    /// Whom endpoints that speak TLS must be, if any may.
    pub(crate) trust: Option<Arc<Trust>>,
    /// Who this gateway is to those of other regions.
    pub(crate) relay: Option<Identity>,
    /// What may leave for other regions.
    pub(crate) crossings: Arc<Crossings>,
}

/// A view as one core sees it: counted on that core, so that calls of different cores do not share a counter.
#[derive(Debug)]
pub(crate) struct Seen(pub(crate) Arc<View>);

impl Deref for Seen {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

/// What the cores of one gateway share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) view: Arc<ArcSwap<View>>,
    pub(crate) clock: Clock,
    pub(crate) connections: Connections,
    pub(crate) threads: usize,
    pub(crate) access: AccessLog,
    /// Where spans of calls go, if anywhere.
    #[cfg(feature = "otel")]
    pub(crate) tracer: Option<crate::access::spans::Tracer>,
    /// Where words of neighbours are heard.
    pub(crate) words: mpsc::Sender<Told>,
    /// Its own name, to know itself in `via`.
    pub(crate) name: EcoString,
    /// What it adds to `via`.
    pub(crate) via: HeaderValue,
    /// Calls in flight, summed over the last reports of all cores.
    pub(crate) in_flight: Sum,
    /// Client connections, likewise.
    pub(crate) connections_open: Sum,
    /// Tunnels, likewise.
    pub(crate) tunnels_open: Sum,
}

impl Shared {
    pub(crate) fn new(
        view: View,
        clock: Clock,
        connections: Connections,
        threads: usize,
        name: &str,
        access: AccessLog,
        words: mpsc::Sender<Told>,
    ) -> Self {
        let via = format!("1.1 {name}");
        Self {
            view: Arc::new(ArcSwap::from_pointee(view)),
            clock,
            connections,
            threads,
            access,
            words,
            #[cfg(feature = "otel")]
            tracer: None,
            name: name.into(),
            via: HeaderValue::try_from(via).expect("a checked name is a header value"),
            in_flight: Sum::default(),
            connections_open: Sum::default(),
            tunnels_open: Sum::default(),
        }
    }

    /// The same with a way for spans of calls.
    #[cfg(feature = "otel")]
    pub(crate) fn traced_by(self, tracer: crate::access::spans::Tracer) -> Self {
        Self { tracer: Some(tracer), ..self }
    }

    /// Tells the recorder what is open.
    pub(crate) fn tell_gauges(&self) {
        metrics::gauge!(IN_FLIGHT).set(self.in_flight.0.load(Relaxed) as f64);
        metrics::gauge!(CONNECTIONS).set(self.connections_open.0.load(Relaxed) as f64);
        metrics::gauge!(TUNNELS_OPEN).set(self.tunnels_open.0.load(Relaxed) as f64);
    }
}

/// A number to which every core adds its part.
#[derive(Debug, Default)]
pub(crate) struct Sum(AtomicU64);

impl Sum {
    /// Replaces the part a core reported before.
    pub(crate) fn replace(&self, part: &Cell<u64>, now: u64) {
        let before = part.replace(now);
        if now >= before {
            self.0.fetch_add(now - before, Relaxed);
        } else {
            self.0.fetch_sub(before - now, Relaxed);
        }
    }
}
