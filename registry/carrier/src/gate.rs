//! Decides whether a peer may hold a stream with us: its Hello against its certificate and against what we expect.

use std::{collections::BTreeSet, fmt};

use landbridge_feed::{Peer, Role};
use landbridge_model::{MemberId, Region};
use landbridge_runtime::tls::{PeerName, PeerRole};
use landbridge_wire::feeds::{Hello, PROTOCOL_PACKED};

/// Why a stream does not come to be, named by who can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No connection came to be: nobody there, or no way to it.
    Unreachable(String),
    /// The TLS handshake or the first words of HTTP/2 failed: a certificate that is not trusted, or a wrong port.
    Handshake(String),
    /// No Hello came in time, or something else came.
    NoHello(String),
    /// The peer belongs to another deployment.
    Deployment(String),
    /// The peer is of a region that has no business here, or not of the one that was dialled.
    Region(String),
    /// The peer's role has no business here.
    Role(String),
    /// The Hello says something else than the certificate.
    Certificate(String),
    /// The protocol ranges do not meet: one side is too old.
    Protocol(String),
    /// An operator of this side has paused the exchange with the peer's region.
    Paused(String),
    /// It is this process itself.
    Myself,
    /// The pair has a stream already, and that one stays.
    Duplicate,
    /// The other side said no.
    ByPeer(String),
}

impl Refusal {
    /// The label under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Handshake(_) => "handshake",
            Self::NoHello(_) => "no_hello",
            Self::Deployment(_) => "deployment",
            Self::Region(_) => "region",
            Self::Role(_) => "role",
            Self::Certificate(_) => "certificate",
            Self::Protocol(_) => "protocol",
            Self::Paused(_) => "paused",
            Self::Myself => "myself",
            Self::Duplicate => "duplicate",
            Self::ByPeer(_) => "by_peer",
        }
    }

    /// Whether it is part of normal life and no operator need look.
    pub fn is_expected(&self) -> bool {
        match self {
            Self::Myself | Self::Duplicate | Self::Paused(_) => true,
            Self::Unreachable(_)
            | Self::Handshake(_)
            | Self::NoHello(_)
            | Self::Deployment(_)
            | Self::Region(_)
            | Self::Role(_)
            | Self::Certificate(_)
            | Self::Protocol(_)
            | Self::ByPeer(_) => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why)
            | Self::Handshake(why)
            | Self::NoHello(why)
            | Self::Deployment(why)
            | Self::Region(why)
            | Self::Role(why)
            | Self::Certificate(why)
            | Self::Protocol(why)
            | Self::Paused(why) => f.write_str(why),
            Self::Myself => f.write_str("this is the process itself"),
            Self::Duplicate => f.write_str("the pair has a stream already"),
            Self::ByPeer(why) => write!(f, "the peer says: {why}"),
        }
    }
}

/// Who we are and whom we let in.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// What we say ourselves.
    pub hello: Hello,
    /// Other regions whose bridges may hold a stream with us; only a bridge has any.
    pub neighbours: BTreeSet<Region>,
}

impl Gate {
    /// Judges a peer by its certificate alone, before anything is said; `wanted` is the region that was dialled.
    pub fn admit_certificate(&self, name: &PeerName, wanted: Option<&Region>) -> Result<(), Refusal> {
        let own = &self.hello;
        if name.deployment != own.deployment.as_str() {
            let why = format!("{name} is of deployment {}, this is {}", name.deployment, own.deployment);
            return Err(Refusal::Deployment(why));
        }
        if wanted.is_some_and(|wanted| wanted.as_str() != name.region) {
            let wanted = wanted.map(Region::as_str).unwrap_or_default();
            return Err(Refusal::Region(format!("{name} answered where region {wanted} was dialled")));
        }
        if name.region == own.peer.region.as_str() {
            return Ok(());
        }
        if !self.neighbours.iter().any(|region| region.as_str() == name.region) {
            let why = format!("{name} is of a region that region {} does not exchange with", own.peer.region);
            return Err(Refusal::Region(why));
        }
        if own.peer.role != Role::Bridge || name.role != PeerRole::Bridge {
            return Err(Refusal::Role(format!("only bridges speak across regions, and {name} came")));
        }
        Ok(())
    }

    /// Judges what the peer says of itself.
    pub fn admit(&self, name: &PeerName, wanted: Option<&Region>, hello: &Hello) -> Result<Peer, Refusal> {
        self.admit_certificate(name, wanted)?;
        let peer = &hello.peer;
        if hello.deployment.as_str() != name.deployment || !is_named(peer, name) {
            let said = format!("{}/{}/{:?}/{}", hello.deployment, peer.region, peer.role, peer.id);
            return Err(Refusal::Certificate(format!("{name} calls itself {said}")));
        }
        if self.hello.protocol_with(hello).is_none() {
            let ours = (self.hello.protocol_min, self.hello.protocol_max);
            let theirs = (hello.protocol_min, hello.protocol_max);
            let why =
                format!("{name} speaks protocols {theirs:?}, this process {ours:?}: update the older one");
            return Err(Refusal::Protocol(why));
        }
        if *peer == self.hello.peer {
            return Err(Refusal::Myself);
        }
        Ok(peer.clone())
    }

    /// Whether frames to and from this peer are packed: bytes are dear between regions, and cheap inside one.
    pub fn packs(&self, hello: &Hello) -> bool {
        let protocol = self.hello.protocol_with(hello);
        hello.peer.region != self.hello.peer.region && protocol >= Some(PROTOCOL_PACKED)
    }
}

/// Whether the peer is the one that the certificate names.
pub(crate) fn is_named(peer: &Peer, name: &PeerName) -> bool {
    peer.region.as_str() == name.region && peer.id.as_str() == name.id && role_fits(name, &peer.role)
}

/// Whether a certificate lets its owner play this role; a member's certificate is named by its number.
fn role_fits(name: &PeerName, role: &Role) -> bool {
    match role {
        Role::Member(MemberId(number)) => {
            name.role == PeerRole::Registry && name.id.parse().is_ok_and(|id: u16| id == *number)
        }
        Role::Bridge => name.role == PeerRole::Bridge,
        Role::Gateway => matches!(name.role, PeerRole::Gateway | PeerRole::Client),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::parse(name).expect("a valid region")
    }

    fn hello(region_name: &str, role: Role, id: &str) -> Hello {
        Hello::of("demo".into(), Peer { region: region(region_name), role, id: id.into() })
    }

    fn name(uri: &str) -> PeerName {
        uri.parse().expect("a valid name")
    }

    fn east_bridge() -> Gate {
        Gate { hello: hello("east", Role::Bridge, "b1"), neighbours: [region("west")].into() }
    }

    #[test]
    fn a_neighbours_bridge_is_let_in_and_its_other_roles_are_not() {
        let gate = east_bridge();

        let bridge =
            gate.admit(&name("landbridge://demo/west/bridge/b1"), None, &hello("west", Role::Bridge, "b1"));
        let member = gate.admit_certificate(&name("landbridge://demo/west/registry/1"), None);
        let stranger = gate.admit_certificate(&name("landbridge://demo/north/bridge/b1"), None);

        assert!(bridge.is_ok_and(|peer| peer.region == region("west")));
        assert!(matches!(member, Err(Refusal::Role(_))), "{member:?}");
        assert!(matches!(stranger, Err(Refusal::Region(_))), "{stranger:?}");
    }

    #[test]
    fn a_member_lets_no_other_region_in() {
        let gate = Gate { hello: hello("east", Role::Member(MemberId(1)), "1"), neighbours: BTreeSet::new() };

        let far = gate.admit_certificate(&name("landbridge://demo/west/bridge/b1"), None);
        let near = gate.admit_certificate(&name("landbridge://demo/east/gateway/g1"), None);

        assert!(matches!(far, Err(Refusal::Region(_))), "{far:?}");
        assert_eq!(near, Ok(()));
    }

    #[test]
    fn nobody_calls_itself_other_than_its_certificate() {
        let gate = east_bridge();
        let west = name("landbridge://demo/west/bridge/b1");

        for lie in [
            hello("east", Role::Bridge, "b1"),
            hello("west", Role::Bridge, "b2"),
            hello("west", Role::Member(MemberId(1)), "b1"),
            Hello { deployment: "prod".into(), ..hello("west", Role::Bridge, "b1") },
        ] {
            let said = gate.admit(&west, None, &lie);
            assert!(matches!(said, Err(Refusal::Certificate(_))), "{lie:?} gave {said:?}");
        }
    }

    #[test]
    fn a_member_cannot_borrow_anothers_number() {
        let gate = east_bridge();
        let first = name("landbridge://demo/east/registry/1");

        let honest = gate.admit(&first, None, &hello("east", Role::Member(MemberId(1)), "1"));
        let borrowed = gate.admit(&first, None, &hello("east", Role::Member(MemberId(2)), "1"));

        assert!(honest.is_ok());
        assert!(matches!(borrowed, Err(Refusal::Certificate(_))), "{borrowed:?}");
    }

    #[test]
    fn the_wrong_region_at_an_address_another_deployment_and_another_protocol_are_refused() {
        let gate = east_bridge();
        let west = name("landbridge://demo/west/bridge/b1");
        let newer = Hello { protocol_min: 7, protocol_max: 9, ..hello("west", Role::Bridge, "b1") };

        let elsewhere = gate.admit_certificate(&west, Some(&region("north")));
        let other = gate.admit_certificate(&name("landbridge://prod/west/bridge/b1"), None);
        let strange = gate.admit(&west, None, &newer);
        let mirror =
            gate.admit(&name("landbridge://demo/east/bridge/b1"), None, &hello("east", Role::Bridge, "b1"));

        assert!(matches!(elsewhere, Err(Refusal::Region(_))), "{elsewhere:?}");
        assert!(matches!(other, Err(Refusal::Deployment(_))), "{other:?}");
        assert!(matches!(strange, Err(Refusal::Protocol(_))), "{strange:?}");
        assert_eq!(mirror, Err(Refusal::Myself));
    }
}
