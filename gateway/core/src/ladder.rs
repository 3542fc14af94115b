//! The order in which places are tried: own zone, own region, other regions by cost, regions whose news is stale last.
//!
//! ```text
//! same zone ─▶ same region (unknown zones too) ─▶ other regions, cheapest first ─▶ stale regions, cheapest first
//! ```
//! Each rung is one or two steps: what a live writer vouches for, then what is unverified. What an operator evacuates
//! stands on steps of its own, last in its rung. A service may have an order of regions that goes before the costs.
//!
//! Invariant: every endpoint of a service stands on exactly one step.

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{Region, Zone};

use crate::{
    evacuation::Evacuation,
    service::{Endpoint, Name},
};

/// Where a call comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The region.
    pub region: Region,
    /// The zone inside it.
    pub zone: Zone,
}

/// What it costs to leave for another region; any unit, only the order counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs(BTreeMap<Region, u32>);

/// The cost of a region that has none configured: after all that have.
pub const COST_UNKNOWN: u32 = u32::MAX;

impl Costs {
    /// Costs by region.
    pub fn new(costs: impl IntoIterator<Item = (Region, u32)>) -> Self {
        Self(costs.into_iter().collect())
    }

    /// The cost of `region`.
    pub fn of(&self, region: &Region) -> u32 {
        self.0.get(region).copied().unwrap_or(COST_UNKNOWN)
    }
}

/// Services whose other regions are tried in an order of their own; regions that are not listed come after, by cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders(BTreeMap<Name, Vec<Region>>);

impl Orders {
    /// Orders by service.
    pub fn new(orders: impl IntoIterator<Item = (Name, Vec<Region>)>) -> Self {
        Self(orders.into_iter().collect())
    }

    /// The order of a service; empty when costs alone decide.
    pub fn of(&self, service: &Name) -> &[Region] {
        self.0.get(service).map_or(&[], Vec::as_slice)
    }
}

/// What a ladder is made by, besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// What other regions cost.
    pub costs: &'a Costs,
    /// Regions that go before the costs.
    pub order: &'a [Region],
    /// Drills that concern the service.
    pub leaving: &'a [Arc<Evacuation>],
}

/// One kind of place, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The caller's own zone.
    SameZone,
    /// The caller's region: another zone, or one that is not known.
    SameRegion,
    /// Another region.
    OtherRegion,
    /// A region whose link is silent: what is known of it may be old.
    StaleRegion,
}

impl Rung {
    /// All rungs, nearest first.
    pub const ALL: [Self; 4] = [Self::SameZone, Self::SameRegion, Self::OtherRegion, Self::StaleRegion];

    /// The name in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SameZone => "same_zone",
            Self::SameRegion => "same_region",
            Self::OtherRegion => "other_region",
            Self::StaleRegion => "stale_region",
        }
    }
}

/// An endpoint on a step, with the running total of weights up to and including it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) endpoint: u32,
    pub(crate) upto: f64,
}

/// The endpoints of one rung and region that are equally trusted.
#[derive(Clone, Debug)]
pub struct Step {
    /// The kind of place.
    pub rung: Rung,
    /// The region it lies in.
    pub region: Region,
    /// False for the unverified part of a rung.
    pub verified: bool,
    /// The drill that calls leave it by.
    pub leaving: Option<Arc<Evacuation>>,
    /// Healthy ones first, so that a prefix serves the calm case and the whole serves panic.
    pub(crate) stands: Box<[Stand]>,
    pub(crate) healthy: usize,
    /// All weights are equal: a place in the list is a fair draw.
    pub(crate) even: bool,
    /// The weight of the whole rung (all its steps), healthy or not.
    pub(crate) rung_weight: f64,
    /// The same without what is evacuated.
    pub(crate) staying_weight: f64,
}

/// What orders places: the rung, the rank in the service's own order, the cost, the region.
type Place<'a> = (Rung, usize, u32, &'a Region);

/// The endpoints of a rung and region that stay, or that leave by one drill.
#[derive(Default)]
struct Group {
    verified: Vec<u32>,
    unverified: Vec<u32>,
}

impl Step {
    /// The endpoints on it, as positions in the service's list.
    pub fn endpoints(&self) -> impl Iterator<Item = u32> + '_ {
        self.stands.iter().map(|stand| stand.endpoint)
    }

    /// The weight of what its registry calls healthy.
    pub fn healthy_weight(&self) -> f64 {
        self.healthy.checked_sub(1).map_or(0.0, |last| self.stands[last].upto)
    }

    /// The weight of all its endpoints.
    pub fn weight(&self) -> f64 {
        self.stands.last().map_or(0.0, |stand| stand.upto)
    }

    /// Puts the endpoints on the step, healthy ones first.
    fn stand(&mut self, mut members: Vec<u32>, endpoints: &[Endpoint]) {
        let of = |endpoint: u32| &endpoints[endpoint as usize];
        members.sort_by_key(|member| !of(*member).healthy);
        self.healthy = members.iter().filter(|member| of(**member).healthy).count();
        self.even = members.windows(2).all(|pair| of(pair[0]).weight == of(pair[1]).weight);
        let mut upto = 0.0;
        let stand = |endpoint| {
            upto += of(endpoint).weight;
            Stand { endpoint, upto }
        };
        self.stands = members.into_iter().map(stand).collect();
    }
}

/// All steps of a service for callers of one place, nearest first.
#[derive(Clone, Debug)]
pub struct Ladder {
    pub(crate) steps: Box<[Step]>,
    /// Its callers stand where the gateway stands: what was learned of the own zone holds for them.
    pub(crate) is_home: bool,
}

impl Ladder {
    /// Puts every endpoint on its step.
    pub fn new(terms: &Terms<'_>, endpoints: &[Endpoint]) -> Self {
        let mut places: BTreeMap<Place<'_>, BTreeMap<Option<usize>, Group>> = BTreeMap::new();
        for (position, endpoint) in (0..).zip(endpoints) {
            let rung = rung(terms.caller, endpoint);
            let (rank, cost) = match rung {
                Rung::SameZone | Rung::SameRegion => (0, 0),
                Rung::OtherRegion | Rung::StaleRegion => {
                    let listed = terms.order.iter().position(|region| *region == endpoint.region);
                    (listed.unwrap_or(terms.order.len()), terms.costs.of(&endpoint.region))
                }
            };
            let leaving = terms.leaving.iter().position(|drill| drill.covers(endpoint));
            let groups = places.entry((rung, rank, cost, &endpoint.region)).or_default();
            let group = groups.entry(leaving).or_default();
            let half = if endpoint.unverified { &mut group.unverified } else { &mut group.verified };
            half.push(position);
        }
        let mut steps = Vec::with_capacity(places.len());
        for ((rung, _, _, region), groups) in places {
            let weigh = |group: &Group| -> f64 {
                let members = group.verified.iter().chain(&group.unverified);
                members.map(|member| endpoints[*member as usize].weight).sum()
            };
            let rung_weight = groups.values().map(weigh).sum();
            let staying_weight = groups.get(&None).map_or(0.0, weigh);
            for (leaving, group) in groups {
                let leaving = leaving.map(|drill| terms.leaving[drill].clone());
                for (members, verified) in [(group.verified, true), (group.unverified, false)] {
                    if members.is_empty() {
                        continue;
                    }
                    let mut step = Step {
                        rung,
                        region: region.clone(),
                        verified,
                        leaving: leaving.clone(),
                        stands: Box::default(),
                        healthy: 0,
                        even: true,
                        rung_weight,
                        staying_weight,
                    };
                    step.stand(members, endpoints);
                    steps.push(step);
                }
            }
        }
        Self { steps: steps.into(), is_home: false }
    }

    /// The steps in the caller's own region only.
    pub fn near(&self) -> Self {
        let near = self.steps.iter().filter(|step| step.rung <= Rung::SameRegion);
        Self { steps: near.cloned().collect(), ..*self }
    }

    /// The same for callers who stand where the gateway stands, if they do.
    pub(crate) fn of_home(self, is_home: bool) -> Self {
        Self { is_home, ..self }
    }

    /// The steps, nearest first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// The rung of one endpoint for one caller. News of the own region cannot be stale: there is no link to it.
fn rung(caller: &Caller, endpoint: &Endpoint) -> Rung {
    if endpoint.region != caller.region {
        return if endpoint.stale { Rung::StaleRegion } else { Rung::OtherRegion };
    }
    let unknown = endpoint.zone == Zone::unknown();
    if endpoint.zone == caller.zone && !unknown { Rung::SameZone } else { Rung::SameRegion }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{caller, endpoints, region, spec};

    fn laddered(caller: &Caller, costs: &Costs, endpoints: &[Endpoint]) -> Ladder {
        Ladder::new(&Terms { caller, costs, order: &[], leaving: &[] }, endpoints)
    }

    fn described(ladder: &Ladder) -> Vec<String> {
        let one = |step: &Step| {
            let trust = if step.verified { "" } else { " unverified" };
            format!(
                "{} {}{trust} {:?}",
                step.rung.as_str(),
                step.region,
                step.endpoints().collect::<Vec<_>>()
            )
        };
        ladder.steps().iter().map(one).collect()
    }

    #[test]
    fn places_are_ordered_by_nearness_then_cost_and_stale_ones_come_last() {
        let list = endpoints([
            spec("far", "a").stale(),
            spec("dear", "a"),
            spec("cheap", "a"),
            spec("home", "b"),
            spec("home", "unknown"),
            spec("home", "a"),
            spec("nowhere", "a"),
        ]);
        let costs = Costs::new([(region("cheap"), 1), (region("dear"), 9), (region("far"), 0)]);

        let ladder = laddered(&caller("home", "a"), &costs, &list);

        assert_eq!(
            described(&ladder),
            [
                "same_zone home [5]",
                "same_region home [3, 4]",
                "other_region cheap [2]",
                "other_region dear [1]",
                "other_region nowhere [6]",
                "stale_region far [0]",
            ]
        );
    }

    #[test]
    fn unverified_endpoints_come_last_in_their_rung_and_before_the_next() {
        let list = endpoints([spec("home", "a").unverified(), spec("home", "a"), spec("home", "b")]);

        let ladder = laddered(&caller("home", "a"), &Costs::default(), &list);

        assert_eq!(
            described(&ladder),
            ["same_zone home [1]", "same_zone home unverified [0]", "same_region home [2]"]
        );
    }

    #[test]
    fn an_unknown_zone_is_nobodys_own_zone() {
        let list = endpoints([spec("home", "unknown")]);

        let ladder = laddered(&caller("home", "unknown"), &Costs::default(), &list);

        assert_eq!(described(&ladder), ["same_region home [0]"]);
    }

    #[test]
    fn a_services_own_order_of_regions_goes_before_the_costs() {
        let list = endpoints([spec("cheap", "a"), spec("dear", "a"), spec("home", "b"), spec("other", "a")]);
        let costs = Costs::new([(region("cheap"), 1), (region("dear"), 9)]);
        let order = [region("other"), region("dear")];
        let home = caller("home", "a");

        let ladder = Ladder::new(&Terms { caller: &home, costs: &costs, order: &order, leaving: &[] }, &list);

        assert_eq!(
            described(&ladder),
            [
                "same_region home [2]",
                "other_region other [3]",
                "other_region dear [1]",
                "other_region cheap [0]",
            ]
        );
    }
}
