//! What one core owns: its connections, its counts, its way to the shared view. Nobody else ever touches it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};
use landbridge_gateway_core::{Budget, Pace, Service};
use landbridge_model::Moment;
use landbridge_runtime::dice;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::{
    admission::Gates,
    limiter::Limiter,
    line::ROOM_BYTES,
    pool::Pool,
    seat::{Beat, Seats},
    tally::Tally,
    view::{Seen, Shared, View},
};

/// How often a core looks after itself.
pub(crate) const TICK_MS: u64 = 250;

/// Ticks between two reports to the recorder: a second.
const TICKS_PER_REPORT: u64 = 4;

/// Services whose means are kept; past it all start anew (services that are gone leave theirs behind).
const MEANS_MAX: usize = 10_000;

/// Ticks between two forgettings of the ways to buckets: a minute.
const TICKS_PER_FORGET: u64 = 240;

/// What the calls of a service have earned and shown on this core.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) retries: Budget,
    pub(crate) hedges: Budget,
    pub(crate) pace: Pace,
}

/// One core's own things.
pub(crate) struct Local {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) seats: Seats,
    pub(crate) tally: RefCell<Tally>,
    pub(crate) limiter: RefCell<Limiter>,
    pub(crate) gates: Gates,
    pub(crate) beat: Rc<Beat>,
    /// Tries that lost against another and are heard out.
    pub(crate) losers: Rc<Cell<u32>>,
    /// Where the begin of an answer is read before its length is known.
    pub(crate) room: RefCell<Vec<u8>>,
    means: RefCell<FxHashMap<u64, Means>>,
    cache: RefCell<Cache<Arc<ArcSwap<View>>, Arc<View>>>,
    view: RefCell<Rc<Seen>>,
    dice: Cell<u64>,
    /// A throw below this draws a call for the access log; as of the last tick.
    access_below: Cell<u64>,
    /// The same instant on both clocks.
    began: (Instant, u64),
    ticks: Cell<u64>,
    /// What this core added to the sums over all cores.
    reported_in_flight: Cell<u64>,
    reported_open: Cell<u64>,
    reported_tunnels: Cell<u64>,
}

/// The bound of throws that draw this share of calls; 0 draws none.
fn below(share: f64) -> u64 {
    (share * u64::MAX as f64) as u64
}

impl Local {
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let now = shared.clock.now();
        let cache = Cache::new(shared.view.clone());
        let view = shared.view.load_full();
        let access_below = below(view.settings.access_share);
        Rc::new(Self {
            pool: Pool::default(),
            seats: Seats::default(),
            tally: RefCell::new(Tally::new()),
            limiter: RefCell::default(),
            gates: Gates::default(),
            beat: Rc::new(Beat { now: Cell::new(now), ..Beat::default() }),
            losers: Rc::default(),
            room: RefCell::new(vec![0; ROOM_BYTES]),
            means: RefCell::default(),
            cache: RefCell::new(cache),
            view: RefCell::new(Rc::new(Seen(view))),
            dice: Cell::new(dice::seed() | 1),
            access_below: Cell::new(access_below),
            began: (Instant::now(), now),
            ticks: Cell::new(0),
            reported_in_flight: Cell::new(0),
            reported_open: Cell::new(0),
            reported_tunnels: Cell::new(0),
            shared,
        })
    }

    /// The newest view. Counted on this core only, so that calls of different cores share no count.
    pub(crate) fn view(&self) -> Rc<Seen> {
        let mut cache = self.cache.borrow_mut();
        let newest = cache.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(newest, &view.0) {
            if !Arc::ptr_eq(&newest.rules, &view.rules) {
                self.limiter.borrow_mut().forget();
            }
            *view = Rc::new(Seen(newest.clone()));
        }
        view.clone()
    }

    /// The moment of an instant, without asking the clock again.
    pub(crate) fn moment(&self, instant: Instant) -> Moment {
        let (began, began_ms) = self.began;
        Moment(began_ms + instant.saturating_duration_since(began).as_millis() as u64)
    }

    /// A random number (xorshift64*).
    pub(crate) fn throw(&self) -> u64 {
        let mut state = self.dice.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.dice.set(state);
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// True if a call is drawn for the access log.
    pub(crate) fn draws(&self) -> bool {
        let below = self.access_below.get();
        below > 0 && self.throw() <= below
    }

    /// Works on a service's budgets and pace.
    pub(crate) fn with_means<T>(
        &self,
        view: &View,
        service: &Service,
        work: impl FnOnce(&mut Means) -> T,
    ) -> T {
        let mut means = self.means.borrow_mut();
        let fresh = || {
            let now = Moment(self.beat.now.get());
            let budget = |rules| Budget::new(rules, now);
            let (retries, hedges) =
                (budget(&view.settings.retries.budget), budget(&view.settings.hedging.budget));
            Means { retries, hedges, pace: Pace::default() }
        };
        work(means.entry(service.serial()).or_insert_with(fresh))
    }

    /// Learns how long an answer of a service took.
    pub(crate) fn paced(&self, view: &View, service: &Service, latency_us: u32) {
        self.with_means(view, service, |means| means.pace.learn(latency_us));
    }

    /// Looks after limits, idle connections and counts.
    pub(crate) fn tick(&self) {
        let now = self.shared.clock.now();
        self.beat.now.set(now);
        let view = self.view();
        self.access_below.set(below(view.settings.access_share));
        let mut tally = self.tally.borrow_mut();
        self.seats.review(&self.shared.connections, now, |why| tally.cut(why));
        let ticks = self.ticks.get() + 1;
        self.ticks.set(ticks);
        if ticks.is_multiple_of(TICKS_PER_REPORT) {
            self.pool.sweep(&view.settings.upstream, now);
            tally.hand_over();
            self.gates.hand_over();
        }
        if ticks.is_multiple_of(TICKS_PER_FORGET) {
            self.limiter.borrow_mut().forget();
        }
        if self.means.borrow().len() > MEANS_MAX {
            self.means.borrow_mut().clear();
        }
        drop(tally);
        self.shared.tunnels_open.replace(&self.reported_tunnels, u64::from(self.beat.tunnels.get()));
        self.report(u64::from(self.beat.in_flight.get()), self.seats.count() as u64);
    }

    fn report(&self, in_flight: u64, open: u64) {
        self.shared.in_flight.replace(&self.reported_in_flight, in_flight);
        self.shared.connections_open.replace(&self.reported_open, open);
    }

    /// Hands over the last counts of a core that ends.
    pub(crate) fn close(&self) {
        self.tally.borrow_mut().hand_over();
        self.gates.hand_over();
        self.gates.close();
        self.shared.tunnels_open.replace(&self.reported_tunnels, 0);
        self.report(0, 0);
    }
}
