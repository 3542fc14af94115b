//! Arbitrary valid nouns for the round-trip properties of this room.

use std::sync::Arc;

use ecow::EcoString;
use landbridge_feed::{BUCKETS, BucketContent, Digests, Message};
use landbridge_model::{
    Address, Change, Cluster, Definition, DirectoryEntry, Era, ExportPolicy, FeedId, Group, Heartbeat, Hold,
    ImportPolicy, Instance, InstanceKey, KeyGlob, Life, LinkOrder, MemberId, Metadata, Namespace, Overlay,
    Position, Record, RecordKey, Region, Registration, ServiceKey, Showing, Stamp, View,
};
use proptest::{collection::vec, option, prelude::*};

pub(crate) fn region() -> impl Strategy<Value = Region> {
    "[a-z]{1,3}(-[0-9])?".prop_map(|text| Region::parse(&text).expect("a valid region"))
}

pub(crate) fn feed() -> impl Strategy<Value = FeedId> {
    prop_oneof![
        region().prop_map(FeedId::Raft),
        (region(), any::<u64>(), any::<u64>()).prop_map(|(region, era, index)| FeedId::Member {
            region,
            era: Era(era),
            index
        }),
    ]
}

pub(crate) fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(era, seq)| Position { era: Era(era), seq })
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    (position(), option::of(region())).prop_map(|(policy, peer)| View { policy, peer })
}

pub(crate) fn service() -> impl Strategy<Value = ServiceKey> {
    ("(public|dev)", "(DEFAULT_GROUP|a:b[.]c)", "[a-z]{1,2}")
        .prop_map(|(n, g, s)| ServiceKey::parse(&n, &g, &s).expect("a valid key"))
}

pub(crate) fn instance_key() -> impl Strategy<Value = InstanceKey> {
    ("(10[.]0[.]0[.][0-9]|\\[fe80::1%eth0\\]|host-1)", any::<u16>(), "(DEFAULT|blue)").prop_map(
        |(ip, port, cluster)| InstanceKey {
            ip: Address::parse(&ip).expect("a valid address"),
            port,
            cluster: Cluster::parse(&cluster).expect("a valid cluster"),
        },
    )
}

pub(crate) fn metadata() -> impl Strategy<Value = Metadata> {
    vec(("[a-c]{0,2}", ".{0,4}"), 0..4).prop_map(|pairs| {
        let pairs = pairs.into_iter().map(|(k, v)| (EcoString::from(k), EcoString::from(v)));
        Metadata::new(pairs).expect("within bounds")
    })
}

pub(crate) fn instance() -> impl Strategy<Value = Instance> {
    (0.0..=10_000.0f64, any::<bool>(), any::<bool>(), metadata())
        .prop_map(|(weight, healthy, enabled, metadata)| Instance { weight, healthy, enabled, metadata })
}

fn registration() -> impl Strategy<Value = Registration> {
    let life = prop_oneof![
        instance().prop_map(|i| Life::Session(Arc::new(i))),
        instance().prop_map(|i| Life::Beat(Arc::new(i))),
        Just(Life::Tombstone),
    ];
    (any::<u64>(), any::<u16>(), any::<u32>(), life).prop_map(|(clock, member, take, life)| Registration {
        stamp: Stamp { clock, member: MemberId(member) },
        take,
        life,
    })
}

fn policy() -> impl Strategy<Value = ExportPolicy> {
    let globs = || vec("[a-z*]{1,3}/[a-z*]{1,3}/[a-z*/]{1,3}", 0..3);
    let parsed = |texts: Vec<String>| {
        texts.iter().map(|text| KeyGlob::parse(text).expect("a valid glob")).collect::<Vec<_>>()
    };
    (position(), globs(), globs()).prop_map(move |(since, allow, deny)| ExportPolicy {
        since,
        allow: parsed(allow),
        deny: parsed(deny),
    })
}

fn import() -> impl Strategy<Value = ImportPolicy> {
    let showing = option::of((0..Showing::ALL.len()).prop_map(|at| Showing::ALL[at]));
    let renames = || vec(("[a-z]{1,3}", "[a-z]{1,3}"), 0..3);
    (policy(), renames(), renames(), 0.0..=100.0f64, option::of(any::<u64>()), showing).prop_map(
        |(ExportPolicy { allow, deny, .. }, namespaces, groups, weight_scale, max_stale_ms, visibility)| {
            let namespace = |name: &str| Namespace::parse(name).expect("a valid name");
            let group = |name: &str| Group::parse(name).expect("a valid name");
            let namespaces = namespaces.iter().map(|(from, to)| (namespace(from), namespace(to))).collect();
            let groups = groups.iter().map(|(from, to)| (group(from), group(to))).collect();
            ImportPolicy { allow, deny, namespaces, groups, weight_scale, max_stale_ms, visibility }
        },
    )
}

pub(crate) fn entry() -> impl Strategy<Value = (RecordKey, Record)> {
    let overlay = (option::of(0.0..=10_000.0f64), option::of(any::<bool>()), option::of(metadata()))
        .prop_map(|(weight, enabled, metadata)| Overlay { weight, enabled, metadata });
    let definition = (0.0..=1.0f64, metadata())
        .prop_map(|(protect_threshold, metadata)| Definition { protect_threshold, metadata });
    let directory = (any::<u16>(), "[a-z0-9.:]{0,20}", any::<u64>(), any::<u64>()).prop_map(
        |(member, address, nonce, need)| DirectoryEntry {
            member: MemberId(member),
            address: address.into(),
            nonce,
            need,
        },
    );
    prop_oneof![
        6 => (service(), instance_key(), registration())
            .prop_map(|(s, k, r)| (RecordKey::Instance(s, k), Record::Registration(r))),
        1 => (service(), instance_key(), instance())
            .prop_map(|(s, k, i)| (RecordKey::Persistent(s, k), Record::Persistent(Arc::new(i)))),
        1 => (service(), instance_key(), overlay)
            .prop_map(|(s, k, o)| (RecordKey::Overlay(s, k), Record::Overlay(Arc::new(o)))),
        1 => (service(), definition)
            .prop_map(|(s, d)| (RecordKey::Definition(s), Record::Definition(Arc::new(d)))),
        1 => (feed(), directory).prop_map(|(f, d)| (RecordKey::Directory(f), Record::Directory(d))),
        1 => (region(), policy()).prop_map(|(r, p)| (RecordKey::Policy(r), Record::Policy(Arc::new(p)))),
        1 => (region(), import()).prop_map(|(r, p)| (RecordKey::Import(r), Record::Import(Arc::new(p)))),
        1 => Just((RecordKey::Settling, Record::Settling)),
        1 => ("[a-z0-9]{1,4}", vec(region(), 0..3))
            .prop_map(|(id, hears)| (RecordKey::Bridge(id.into()), Record::Bridge(hears.into_iter().collect()))),
        1 => (region(), 0..Hold::ALL.len(), any::<u64>()).prop_map(|(region, hold, since_ms)| {
            (RecordKey::Link(region), Record::Link(LinkOrder { hold: Hold::ALL[hold], since_ms }))
        }),
        1 => (service(), 1..u16::MAX).prop_map(|(s, port)| (RecordKey::Port(s), Record::Port(port))),
    ]
}

pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (entry(), any::<bool>())
        .prop_map(|((key, record), present)| Change { key, record: present.then_some(record) });
    vec(change, 0..12)
}

fn digests() -> impl Strategy<Value = Digests> {
    any::<u64>().prop_map(|seed| {
        Digests(Box::new(std::array::from_fn::<u64, BUCKETS, _>(|i| seed.wrapping_mul(i as u64 + 1))))
    })
}

fn bucket() -> impl Strategy<Value = BucketContent> {
    prop_oneof![
        any::<u64>().prop_map(|digest| BucketContent::Same { digest }),
        (vec(entry(), 0..8), any::<bool>())
            .prop_map(|(records, last)| BucketContent::Records { records, last }),
    ]
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let beat = (feed(), any::<u64>(), position(), any::<u64>())
        .prop_map(|(feed, n, position, unix_ms)| (feed, Heartbeat { n, position, unix_ms }));
    prop_oneof![
        (feed(), option::of((view(), position())), option::of(digests()))
            .prop_map(|(feed, have, digests)| Message::Want { feed, have, digests }),
        feed().prop_map(|feed| Message::Unwant { feed }),
        (feed(), view(), position(), position(), changes())
            .prop_map(|(feed, view, from, to, changes)| Message::Batch { feed, view, from, to, changes }),
        (feed(), view()).prop_map(|(feed, view)| Message::Begin { feed, view }),
        (feed(), changes()).prop_map(|(feed, changes)| Message::Live { feed, changes }),
        (feed(), 0u16..256, bucket()).prop_map(|(feed, bucket, content)| Message::Bucket {
            feed,
            bucket,
            content
        }),
        (feed(), view(), position()).prop_map(|(feed, view, position)| Message::End { feed, view, position }),
        (any::<u64>(), vec(beat, 0..5), vec(region(), 0..3))
            .prop_map(|(unix_ms, beats, hears)| Message::Beats { unix_ms, beats, hears }),
        (feed(), view(), position(), digests(), any::<u64>()).prop_map(
            |(feed, view, position, digests, n)| Message::Verify { feed, view, position, digests, n }
        ),
    ]
}
