//! Checks what a page says of other regions: by which way they are reached, and how often.

use std::collections::BTreeSet;

use landbridge_model::{Address, Region};

use super::{PeerRegion, Relay, page, read::Mistakes};

/// The relay of a page, and the ways to its peers.
pub(super) fn relay(wrong: &mut Mistakes, page: &page::Page) -> (Option<Relay>, Vec<PeerRegion>) {
    let Some(relay) = &page.relay else { return (None, Vec::new()) };
    let mut seen = BTreeSet::new();
    let peers: Vec<_> = relay.peers.iter().filter_map(|peer| one(wrong, peer)).collect();
    for peer in &peers {
        let place = format!("relay.peers.{}", peer.region);
        wrong.require(seen.insert(&peer.region), format!("{place}: this region is listed twice"));
        wrong.require(peer.region.as_str() != page.region, format!("{place}: that is this region"));
    }
    let needed = relay.listen.is_some() || peers.iter().any(|peer| peer.relayed);
    wrong.require(!needed || relay.tls.is_some(), "relay.tls: needed to listen, and to relay");
    let own = relay.tls.clone().map(|tls| Relay { listen: relay.listen, tls });
    (own, peers)
}

fn one(wrong: &mut Mistakes, page: &page::PeerRegion) -> Option<PeerRegion> {
    let place = format!("relay.peers.{}", page.region);
    let way = match page.way.as_str() {
        "relay" => Ok(true),
        "direct" => Ok(false),
        other => Err(format!("way: {other:?} is neither direct nor relay")),
    };
    let gateways = page.gateways.iter().filter_map(|text| wrong.taken(&place, gateway(text))).collect();
    let positive = page.requests_per_second != Some(0) && page.bytes_per_second != Some(0);
    wrong.require(positive, format!("{place}: a quota is at least 1"));
    Some(PeerRegion {
        region: wrong.taken(&place, Region::parse(&page.region))?,
        relayed: wrong.taken(&place, way)?,
        gateways,
        requests_per_second: page.requests_per_second,
        bytes_per_second: page.bytes_per_second,
    })
}

/// Reads `host:port`.
fn gateway(text: &str) -> Result<(Address, u16), String> {
    let wrong = || format!("{text:?} is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((Address::parse(host).map_err(|why| why.to_string())?, port))
}
