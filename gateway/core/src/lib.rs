//! Which endpoint answers a call, and whether to try at all: pure functions over an immutable snapshot and atomics.
//!
//! Invariant: nothing here waits, reads a clock or throws a die; time and chance are arguments.
//! Invariant: a pick never names a worse rung while a better one has enough and is not slow.

pub mod endpoint;
pub mod evacuation;
pub mod ladder;
mod record;
pub mod service;
mod slowness;
pub mod speech;

mod dice;
pub mod explanation;
pub mod pick;

pub mod admission;
pub mod budget;
pub mod hedge;
pub mod protect;
pub mod sharing;

mod leavers;
pub mod route;
mod shelves;
pub mod snapshot;

pub use admission::{Criticality, Entry, Gate, Ticket};
pub use budget::{Budget, BudgetRules};
pub use endpoint::{Breaker, EndpointState, HealthRules, Outcome, Turn};
pub use evacuation::Evacuation;
pub use explanation::{Compared, Explanation, Weighed};
pub use hedge::{Haste, HedgeRules, NEAR_TRIES_MAX, Next, Pace, Waiting};
pub use ladder::{Caller, Costs, Ladder, Orders, Rung, Step, Terms};
pub use pick::{Choice, Decision, PickRules, explain, overtake, pick, spread};
pub use protect::{Guard, GuardRules};
pub use route::{
    Asked, HostMatch, Looked, Matched, Misfit, Policy, Positions, Route, RouteTable, Routed, Rule, Target,
};
pub use service::{Endpoint, EndpointSpec, Name, Service};
pub use sharing::{Demands, Sharing, Word};
pub use snapshot::{Book, Snapshot};
pub use speech::{Protocol, Speech};
