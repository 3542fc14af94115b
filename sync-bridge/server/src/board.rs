//! What operators may read of a bridge: made by the driver once a tick, read without waiting for it.

use std::collections::BTreeMap;

use landbridge_bridge_core::{Links, Plan};
use landbridge_carrier::{Carrier, StreamState, TargetState};
use landbridge_feed::{Holder, Role};
use landbridge_model::{LinkOrder, Region};
use serde::Serialize;

use crate::{guest::GuestRow, metrics::standing_name};

/// Everything the admin pages show.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Board {
    pub status: StatusRow,
    pub regions: Vec<RegionRow>,
    pub links: Vec<LinkRow>,
    pub copies: Vec<CopyRow>,
    /// The guest that is hosted, if any.
    pub guest: Option<GuestRow>,
}

/// What this process is.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StatusRow {
    pub role: &'static str,
    pub region: String,
    /// `ready` as soon as the own region's Raft feed is held.
    pub phase: &'static str,
}

/// One region whose feeds are held.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RegionRow {
    pub region: String,
    pub own: bool,
    pub standing: &'static str,
    pub age_ms: u64,
    pub lag_seqs: u64,
    pub lag_ms: Option<u64>,
    pub feeds: usize,
    pub records: usize,
    pub settling: bool,
    pub raft: String,
}

/// One directed path: `in` brings an origin here, `out` offers the own region to a peer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LinkRow {
    pub peer: String,
    pub direction: &'static str,
    /// Of `in`: live, suspect, frozen, stalled or absent. Of `out`: up or down.
    pub state: &'static str,
    /// What operators of the own region have ordered: open, paused, frozen or evicted.
    pub order: &'static str,
    /// Since when, unix milliseconds.
    pub ordered_ms: Option<u64>,
    /// Of `in`: the bridge of this region that imports; none if none is listed, and all of them do.
    pub importer: Option<String>,
    /// Of `in`: whether that is this one.
    pub imports: Option<bool>,
    pub lag_seqs: Option<u64>,
    pub lag_ms: Option<u64>,
    pub records: Option<usize>,
    pub age_ms: Option<u64>,
    /// Peers' ids with a stream that is up.
    pub streams: Vec<String>,
    /// What is wrong with each address that is dialled in vain.
    pub failures: BTreeMap<String, String>,
}

/// One copy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CopyRow {
    pub feed: String,
    pub position: String,
    /// Whom the view is for and since which policy; none inside the region.
    pub view: Option<String>,
    pub records: usize,
    pub doubted: bool,
    pub unverified: bool,
    pub silent_ticks: u64,
}

impl Board {
    pub fn of(plan: &Plan, holder: &Holder, links: &Links, carrier: &Carrier) -> Self {
        let is_ready = holder.status(&plan.own).is_some();
        let (streams, targets) = (carrier.streams(), carrier.dialled());
        let peers = plan.peers.keys();
        Self {
            status: StatusRow {
                role: "bridge",
                region: plan.own.to_string(),
                phase: if is_ready { "ready" } else { "starting" },
            },
            regions: holder.regions().filter_map(|region| region_row(plan, holder, region)).collect(),
            links: peers
                .flat_map(|peer| link_rows(peer, holder.order(peer), links, (&streams, &targets)))
                .collect(),
            copies: copy_rows(holder),
            guest: None,
        }
    }
}

fn region_row(plan: &Plan, holder: &Holder, region: &Region) -> Option<RegionRow> {
    let status = holder.status(region)?;
    Some(RegionRow {
        region: region.to_string(),
        own: *region == plan.own,
        standing: standing_name(status.standing),
        age_ms: status.age_ms,
        lag_seqs: status.lag_seqs,
        lag_ms: status.lag_ms,
        feeds: status.feeds,
        records: status.records,
        settling: holder.settling(region),
        raft: status.raft.to_string(),
    })
}

fn link_rows(
    peer: &Region,
    order: Option<LinkOrder>,
    links: &Links,
    (streams, targets): (&[StreamState], &[TargetState]),
) -> [LinkRow; 2] {
    let link = links.links().get(peer);
    let up = streams.iter().filter(|stream| stream.peer.region == *peer && stream.peer.role == Role::Bridge);
    let up: Vec<String> = up.map(|stream| stream.peer.id.to_string()).collect();
    let failing = targets.iter().filter(|state| state.target.region == *peer);
    let failures = failing
        .filter_map(|state| Some((state.target.address.clone(), state.failure.clone()?)))
        .collect::<BTreeMap<_, _>>();
    let state = match link {
        None => "absent",
        Some(link) if link.stalled => "stalled",
        Some(link) => standing_name(link.status.standing),
    };
    let row = |direction, state| LinkRow {
        peer: peer.to_string(),
        direction,
        state,
        order: order.map_or("open", |order| order.hold.name()),
        ordered_ms: order.map(|order| order.since_ms),
        importer: None,
        imports: None,
        lag_seqs: None,
        lag_ms: None,
        records: None,
        age_ms: None,
        streams: up.clone(),
        failures: failures.clone(),
    };
    let status = link.map(|link| &link.status);
    let inward = LinkRow {
        importer: links.importer_of(peer).map(ToString::to_string),
        imports: Some(links.imports(peer)),
        lag_seqs: status.map(|status| status.lag_seqs),
        lag_ms: status.and_then(|status| status.lag_ms),
        records: status.map(|status| status.records),
        age_ms: status.map(|status| status.age_ms),
        ..row("in", state)
    };
    [inward, row("out", if up.is_empty() { "down" } else { "up" })]
}

fn copy_rows(holder: &Holder) -> Vec<CopyRow> {
    let copies = holder.copies();
    copies
        .map(|(feed, copy)| CopyRow {
            feed: feed.to_string(),
            position: copy.position().to_string(),
            view: copy.view().peer.as_ref().map(|peer| format!("{peer} since {}", copy.view().policy)),
            records: copy.len(),
            doubted: copy.doubted(),
            unverified: holder.unverified(feed),
            silent_ticks: holder.silent_ticks(feed),
        })
        .collect()
}
