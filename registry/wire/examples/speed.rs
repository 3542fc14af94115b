//! Prints how long the hot conversions take: `cargo run --release -p landbridge-wire --example speed`.

use std::{hint::black_box, sync::Arc, time::Instant};

use bytes::Bytes;
use landbridge_feed::{BucketContent, Message};
use landbridge_model::{
    Address, Cluster, FeedId, Instance, InstanceKey, Life, MemberId, Metadata, Record, RecordKey, Region,
    Registration, ServiceKey, Stamp,
};
use landbridge_wire::{
    feeds,
    nacos::{
        ClusterFilter, EncodedService, Naming, encode_host,
        grpc::{Payload, Push, Request, answer},
        http::{Parameters, answer as bodies},
    },
};
use prost::Message as _;

const REGISTER: &str = r#"{"headers":{},"namespace":"public","serviceName":"orders-service","groupName":"DEFAULT_GROUP","type":"registerInstance","instance":{"ip":"10.0.0.1","port":8080,"weight":1.0,"healthy":true,"enabled":true,"ephemeral":true,"metadata":{"version":"1.2.3","zone":"a","preserved.register.source":"SPRING_CLOUD"},"instanceHeartBeatInterval":5000,"instanceHeartBeatTimeOut":15000,"ipDeleteTimeout":30000},"module":"naming"}"#;

const BEAT: &str =
    "namespaceId=public&serviceName=DEFAULT_GROUP%40%40orders&ip=10.0.0.1&port=8080&clusterName=DEFAULT";

/// Prints nanoseconds for each call, the best of five rounds.
fn time<T>(what: &str, rounds: u32, mut call: impl FnMut() -> T) {
    let best = (0..5).map(|_| {
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(call());
        }
        start.elapsed() / rounds
    });
    println!("{what:<48} {:>10} ns", best.min().expect("five rounds").as_nanos());
}

fn metadata(of: u16) -> Metadata {
    let pairs = [("version", "1.2.3".into()), ("zone", "a".into()), ("pid", of.to_string())];
    Metadata::new(pairs.map(|(key, value)| (key.into(), value.into()))).expect("within bounds")
}

fn key(port: u16) -> InstanceKey {
    let ip = Address::parse("10.200.30.4").expect("a valid address");
    InstanceKey { ip, port, cluster: Cluster::parse("").expect("a valid cluster") }
}

fn bucket() -> Message {
    let records = (0..400).map(|of: u16| {
        let service = ServiceKey::parse("public", "", &format!("orders-{}", of / 20)).expect("a valid key");
        let stamp = Stamp { clock: Stamp::clock_at(1_700_000_000_000), member: MemberId(1) };
        let life = Life::Session(Arc::new(Instance::plain(metadata(of))));
        (RecordKey::Instance(service, key(of)), Record::Registration(Registration { stamp, take: 0, life }))
    });
    let content = BucketContent::Records { records: records.collect(), last: true };
    Message::Bucket { feed: FeedId::Raft(Region::parse("east").expect("a valid region")), bucket: 3, content }
}

fn main() {
    let service = ServiceKey::parse("public", "", "orders").expect("a valid key");
    let instance = Instance::plain(metadata(7));
    let host = encode_host(&service, &key(1), &instance, true);
    let hosts: Vec<Bytes> = vec![host; 100];
    let filter = ClusterFilter::default();
    let info = EncodedService::new(Naming::Bare, &service, &filter, &hosts, false);
    let push = Push::new(&info, 1);

    let payload = Payload::new("InstanceRequest", REGISTER);
    let bytes = Bytes::from(payload.encode_to_vec());
    time("InstanceRequest: protobuf and JSON to nouns", 20_000, || {
        Request::parse(&Payload::decode(bytes.clone()).expect("what was encoded"))
    });
    time("InstanceRequest: JSON to nouns", 20_000, || Request::parse(&payload));
    time("InstanceResponse: nouns to protobuf", 20_000, || answer::registered().framed());
    time("beat: parameters to nouns", 20_000, || Parameters::read(BEAT, b"").map(|all| all.beat()));
    time("beat: answer", 20_000, || bodies::beat(landbridge_wire::nacos::Lease::PLAIN, true, true));
    time("one host to JSON", 20_000, || encode_host(&service, &key(1), &instance, true));
    time("ServiceInfo of 100 hosts from fragments", 2_000, || {
        EncodedService::new(Naming::Bare, &service, &filter, &hosts, false)
    });
    time("QueryServiceResponse of 100 hosts", 2_000, || answer::queried(&info, 1));
    time("push of 100 hosts, per subscriber", 20_000, || push.framed(12));

    let message = bucket();
    let frame = feeds::encode(&message).encode_to_vec();
    println!("bucket of 400 records: {} bytes, {} each", frame.len(), frame.len() / 400);
    time("bucket of 400 records to bytes", 200, || feeds::encode(&message).encode_to_vec());
    time("bucket of 400 records from bytes", 200, || {
        feeds::decode(feeds::Frame::decode(frame.as_slice()).expect("what was encoded"))
    });
}
