//! Which member probes an instance: each member finds the same one without a word (rendezvous hash).
//!
//! No safety hangs on it: while two members disagree, an instance is probed twice or not at all for a moment.

use landbridge_model::{InstanceKey, MemberId, ServiceKey};

/// The member of these that probes an instance; none of none.
pub(super) fn prober(members: &[MemberId], service: &ServiceKey, instance: &InstanceKey) -> Option<MemberId> {
    let named = name(service, instance);
    members.iter().copied().max_by_key(|member| (mixed(named ^ mixed(u64::from(member.0))), *member))
}

/// What tells instances apart (FNV-1a over the parts of the name).
fn name(service: &ServiceKey, instance: &InstanceKey) -> u64 {
    let port = instance.port.to_be_bytes();
    let parts: [&[u8]; 6] = [
        service.namespace().as_str().as_bytes(),
        service.group().as_str().as_bytes(),
        service.service().as_str().as_bytes(),
        instance.ip.as_str().as_bytes(),
        &port,
        instance.cluster.as_str().as_bytes(),
    ];
    let bytes = parts.into_iter().flat_map(|part| part.iter().chain(&[0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Spreads a number over all 64 bits (the finalizer of splitmix64).
pub(super) fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::tests::{instance, service},
        *,
    };

    fn shares(members: &[u16]) -> BTreeMap<u16, MemberId> {
        let members: Vec<MemberId> = members.iter().map(|member| MemberId(*member)).collect();
        let of = |port| Some((port, prober(&members, &service(), &instance(port))?));
        (0..3_000).filter_map(of).collect()
    }

    #[test]
    fn members_have_about_equal_shares() {
        let shares = shares(&[1, 2, 3]);

        for member in 1..=3 {
            let share = shares.values().filter(|prober| prober.0 == member).count();
            assert!((850..1_150).contains(&share), "member {member} has {share} of 3000");
        }
    }

    #[test]
    fn a_member_that_is_gone_leaves_its_share_to_the_others_and_moves_nothing_else() {
        let (three, two) = (shares(&[1, 2, 3]), shares(&[1, 3]));

        let moved = three.iter().filter(|(port, prober)| prober.0 != 2 && two[*port] != **prober).count();

        assert_eq!(moved, 0);
    }
}
