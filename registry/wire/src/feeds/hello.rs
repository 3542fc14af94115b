//! The first frame of each direction: who speaks, and which protocols.

use ecow::EcoString;
use landbridge_feed::{Peer, Role};
use landbridge_model::{MemberId, Region};

use super::{Malformed, proto};

/// The oldest protocol this program speaks.
pub const PROTOCOL_MIN: u32 = 1;

/// The newest protocol this program speaks.
pub const PROTOCOL_MAX: u32 = 2;

/// From this protocol on frames between regions may come packed.
pub const PROTOCOL_PACKED: u32 = 2;

/// The longest deployment id or peer id, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Who speaks; the receiver checks it against the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest protocol the sender speaks.
    pub protocol_min: u32,
    /// The newest protocol the sender speaks.
    pub protocol_max: u32,
    /// Which federation: two of them never talk.
    pub deployment: EcoString,
    /// Region, role and own name of the sender.
    pub peer: Peer,
}

impl Hello {
    /// The hello of this program.
    pub fn of(deployment: EcoString, peer: Peer) -> Self {
        Self { protocol_min: PROTOCOL_MIN, protocol_max: PROTOCOL_MAX, deployment, peer }
    }

    /// The newest protocol that both speak, none if their ranges do not meet.
    pub fn protocol_with(&self, other: &Self) -> Option<u32> {
        let newest = self.protocol_max.min(other.protocol_max);
        (newest >= self.protocol_min.max(other.protocol_min)).then_some(newest)
    }

    pub(super) fn encode(&self) -> proto::Hello {
        let (role, member) = match &self.peer.role {
            Role::Member(MemberId(member)) => (proto::Role::Member, u32::from(*member)),
            Role::Bridge => (proto::Role::Bridge, 0),
            Role::Gateway => (proto::Role::Gateway, 0),
        };
        proto::Hello {
            protocol_min: self.protocol_min,
            protocol_max: self.protocol_max,
            deployment: self.deployment.as_str().into(),
            region: self.peer.region.as_str().into(),
            role: role.into(),
            member,
            id: self.peer.id.as_str().into(),
        }
    }

    pub(super) fn decode(hello: &proto::Hello) -> Result<Self, Malformed> {
        let role = match hello.role() {
            proto::Role::Member => Role::Member(member_from(hello.member)?),
            proto::Role::Bridge => Role::Bridge,
            proto::Role::Gateway => Role::Gateway,
            proto::Role::Unspecified => return Err(Malformed::new("hello.role", "it is not a known role")),
        };
        let region = Region::parse(&hello.region).map_err(|e| Malformed::new("hello.region", e))?;
        let id = id_from("hello.id", &hello.id)?;
        let deployment = id_from("hello.deployment", &hello.deployment)?;
        if hello.protocol_min > hello.protocol_max {
            return Err(Malformed::new("hello.protocol_min", "it is above protocol_max"));
        }
        Ok(Self {
            protocol_min: hello.protocol_min,
            protocol_max: hello.protocol_max,
            deployment,
            peer: Peer { region, role, id },
        })
    }
}

fn id_from(at: &'static str, text: &str) -> Result<EcoString, Malformed> {
    let fits = text.len() <= ID_BYTES_MAX && text.chars().all(|c| c.is_ascii_graphic());
    if fits {
        Ok(text.into())
    } else {
        Err(Malformed::new(
            at,
            format_args!("only up to {ID_BYTES_MAX} printable ASCII characters are allowed"),
        ))
    }
}

pub(super) fn member_from(member: u32) -> Result<MemberId, Malformed> {
    u16::try_from(member).map(MemberId).map_err(|_| Malformed::new("member", "it is above 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(min: u32, max: u32) -> Hello {
        let peer = Peer {
            region: Region::parse("east").expect("a valid region"),
            role: Role::Member(MemberId(7)),
            id: "m7".into(),
        };
        Hello { protocol_min: min, protocol_max: max, deployment: "d".into(), peer }
    }

    #[test]
    fn the_newest_common_protocol_is_spoken() {
        assert_eq!(hello(1, 3).protocol_with(&hello(2, 5)), Some(3));
        assert_eq!(hello(1, 1).protocol_with(&hello(2, 5)), None);
    }

    #[test]
    fn a_hello_survives_the_wire() {
        for role in [Role::Member(MemberId(u16::MAX)), Role::Bridge, Role::Gateway] {
            let mut said = hello(1, 2);
            said.peer.role = role;

            assert_eq!(Hello::decode(&said.encode()), Ok(said));
        }
    }

    #[test]
    fn a_hello_of_an_unknown_role_or_with_control_characters_is_refused() {
        let mut unknown = hello(1, 1).encode();
        unknown.role = 9;
        let mut newline = hello(1, 1).encode();
        newline.id = "a\nb".into();

        assert!(Hello::decode(&unknown).is_err());
        assert!(Hello::decode(&newline).is_err());
    }
}
