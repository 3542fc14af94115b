//! What clients really send, as the seed of what they never would.

use landbridge_model::Namespace;
use landbridge_tests::sdk::{enrolment, service};
use landbridge_wire::nacos::{
    ClusterFilter, ServiceListQuery,
    grpc::{Payload, ask},
};

/// A name for it, and what is sent under that name.
pub type Kind = (&'static str, Vec<Vec<u8>>);

const EVERYTHING: &str = r#"{"headers":{"a":"b"},"requestId":"7","namespace":"public","serviceName":"svc","groupName":"DEFAULT_GROUP","type":"registerInstance","instance":{"instanceId":null,"ip":"10.0.0.1","port":8080,"weight":1.0,"healthy":true,"enabled":true,"ephemeral":true,"clusterName":"a","metadata":{"k":"v","preserved.heart.beat.interval":"1000"}},"instances":[{"ip":"10.0.0.1","port":"80","weight":"0.5","metadata":null}],"cluster":"a,b","clusters":"","healthyOnly":"True","subscribe":true,"pageNo":1,"pageSize":10,"udpPort":0,"selector":"{\"type\":\"none\"}","groupKeyPattern":"public>>DEFAULT_GROUP>>*","receivedGroupKeys":["public@@DEFAULT_GROUP@@svc"],"watchType":"WATCH","initializing":true,"clientVersion":"Nacos-Java-Client:v3.1.0","tenant":"public","labels":{"module":"naming","source":"sdk"},"abilityTable":{"fuzzyWatch":true},"resultCode":200,"errorCode":0,"success":true,"serviceInfo":{"name":"svc","groupName":"g","clusters":"","hosts":[{"ip":"10.0.0.1","port":1}],"lastRefTime":1700000000000},"count":1,"serviceNames":["svc"],"module":"naming"}"#;

/// Every type that a side reads, with bodies for it.
pub fn grpc() -> Vec<Kind> {
    const KINDS: [&str; 26] = [
        "ServerCheckRequest",
        "HealthCheckRequest",
        "ConnectionSetupRequest",
        "InstanceRequest",
        "BatchInstanceRequest",
        "PersistentInstanceRequest",
        "ServiceQueryRequest",
        "ServiceListRequest",
        "SubscribeServiceRequest",
        "NamingFuzzyWatchRequest",
        "NamingFuzzyWatchSyncResponse",
        "NamingFuzzyWatchChangeNotifyResponse",
        "ConfigQueryRequest",
        "ConfigBatchListenRequest",
        "NotifySubscriberResponse",
        "ClientDetectionResponse",
        "ConnectResetResponse",
        "SetupAckResponse",
        "PushAckRequest",
        "ServerCheckResponse",
        "SetupAckRequest",
        "QueryServiceResponse",
        "SubscribeServiceResponse",
        "ServiceListResponse",
        "NotifySubscriberRequest",
        "ErrorResponse",
    ];
    let said: Vec<Payload> = spoken();
    let bodies = |kind: &str| {
        let own =
            said.iter().filter(|payload| payload.type_name() == kind).map(|payload| payload.json().to_vec());
        let mut bodies: Vec<Vec<u8>> = own.collect();
        bodies.push(EVERYTHING.as_bytes().to_vec());
        bodies.push(b"{}".to_vec());
        bodies
    };
    KINDS.into_iter().map(|kind| (kind, bodies(kind))).collect()
}

fn spoken() -> Vec<Payload> {
    let all = ClusterFilter::default();
    let public = Namespace::parse("").expect("the default namespace");
    let group = service("s").group().clone();
    vec![
        ask::server_check(),
        ask::health_check(),
        ask::setup("Nacos-Java-Client:v3.1.0", &public, true),
        ask::register(&service("s"), &enrolment(1)),
        ask::deregister(&service("s"), &enrolment(1)),
        ask::register_batch(&service("s"), &[1, 2, 3].map(enrolment)),
        ask::query(&service("s"), &all, true),
        ask::subscribe(&service("s"), &all, true),
        ask::service_list(&ServiceListQuery::new(public, group, 1, 10)),
        ask::notified("12"),
        ask::detected("7"),
    ]
}

/// Whole messages as they come off the wire.
pub fn envelopes() -> Vec<Vec<u8>> {
    spoken().iter().map(prost::Message::encode_to_vec).collect()
}

/// Query strings and forms of the SDKs.
pub fn queries() -> Vec<Vec<u8>> {
    [
        "namespaceId=public&serviceName=DEFAULT_GROUP%40%40svc&groupName=DEFAULT_GROUP&clusterName=DEFAULT&ip=10.0.0.1&port=8080&weight=1&enable=true&healthy=true&ephemeral=true&metadata=%7B%7D&username=u&password=p",
        "serviceName=svc&ip=10.0.0.1&port=8080&weight=1.0&enable=True&healthy=True&clusterName=None&ephemeral=True&groupName=DEFAULT_GROUP&accessToken=a.b.c",
        "serviceName=g%40%40svc&beat=%7B%22ip%22%3A%2210.0.0.1%22%2C%22port%22%3A80%2C%22cluster%22%3A%22DEFAULT%22%2C%22weight%22%3A1%2C%22metadata%22%3A%7B%22a%22%3A%22b%22%7D%7D&namespaceId=dev",
        "serviceName=svc&clusters=a,b&udpPort=50000&clientIP=10.0.0.9&healthyOnly=false&app=x",
        "serviceName=svc&protectThreshold=0.8&metadata=k1%3Dv1%2Ck2%3Dv2&selector=%7B%22type%22%3A%22label%22%2C%22expression%22%3A%22CONSUMER.label.A%20%3D%20PROVIDER.label.A%22%7D",
        "serviceName=svc&consistencyType=ephemeral&instances=%5B%7B%22ip%22%3A%221.1.1.1%22%2C%22port%22%3A1%7D%5D&metadata=%7B%22age%22%3A%2220%22%7D",
        "pageNo=1&pageSize=10&namespaceId=&groupName=&heartBeat=true&valid=false",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn bytes<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Requests about configs, which pass to another server after rights were judged by them.
pub fn configs() -> Vec<Kind> {
    const ONE: &str = r#"{"headers":{"charset":"UTF-8"},"requestId":"3","dataId":"app.yaml","group":"DEFAULT_GROUP","tenant":"dev","tag":null,"content":"a: 1","casMd5":"","module":"config"}"#;
    const MANY: &str = r#"{"listen":true,"configListenContexts":[{"group":"g","md5":"","dataId":"a","tenant":""},{"group":null,"md5":"x","dataId":"b","tenant":"dev"}],"module":"config"}"#;
    ["ConfigQueryRequest", "ConfigPublishRequest", "ConfigRemoveRequest", "ConfigBatchListenRequest"]
        .map(|kind| (kind, bytes([ONE, MANY])))
        .to_vec()
}

/// Beats of Java, Node and Python, whole and light.
pub fn beats() -> Vec<Kind> {
    vec![(
        "beat",
        bytes([
            r#"{"ip":"10.0.0.1","port":8080,"serviceName":"DEFAULT_GROUP@@svc","cluster":"DEFAULT","weight":1.0,"ephemeral":true,"metadata":{"a":"b"},"scheduled":false,"period":5000,"stopped":false,"cpu":0.5,"rt":1}"#,
            r#"{"cluster":"DEFAULT","ip":"10.0.0.1","metadata":{"preserved.heart.beat.timeout":"1000"},"port":8080,"scheduled":true,"serviceName":"g@@s","weight":0.5}"#,
            r#"{"serviceName": "DEFAULT_GROUP@@svc", "ip": "10.0.0.1", "port": "8080", "weight": 1.0, "ephemeral": true}"#,
            "",
        ]),
    )]
}

/// JSON and near-JSON as it stands inside parameters, under their names.
pub fn json_parameters() -> Vec<Kind> {
    let metadata = [r#"{"a":"b","preserved.heart.beat.timeout":"1000"}"#, "k1=v1,k2=v2", "{}"];
    let selectors = [
        r#"{"type":"label","expression":"CONSUMER.label.A = PROVIDER.label.A & CONSUMER.label.B = PROVIDER.label.B"}"#,
        r#"{"type":"none"}"#,
    ];
    let instances = [
        r#"[{"ip":"1.1.1.1","port":80,"clusterName":"a"},{"ip":"2.2.2.2","port":"81","metadata":null}]"#,
        "[]",
    ];
    vec![("metadata", bytes(metadata)), ("selector", bytes(selectors)), ("instances", bytes(instances))]
}

/// Health checkers of a cluster.
pub fn checkers() -> Vec<Vec<u8>> {
    bytes([
        r#"{"healthChecker":{"type":"HTTP","path":"/healthz","headers":"Host:a|X-A:b","expectedResponseCode":"200-299,301"},"healthyCheckPort":80,"useInstancePortForCheck":true}"#,
        r#"{"healthChecker":{"type":"MYSQL","user":"u","pwd":"p","cmd":"show global variables"},"healthyCheckPort":3306,"useInstancePortForCheck":false}"#,
        r#"{"healthChecker":{"type":"TCP"}}"#,
    ])
}

/// What clients answer to a push over UDP.
pub fn acknowledgements() -> Vec<Vec<u8>> {
    bytes([
        r#"{"type":"push-ack","lastRefTime":"1700000000000","data":""}"#,
        r#"{"type":"push-ack","lastRefTime":1700000000000,"data":""}"#,
    ])
}

/// Claims of tokens, none of which is what the user's good token says.
pub fn claims() -> Vec<Vec<u8>> {
    bytes([
        r#"{"sub":"alice","exp":99999999999,"pwd":"AAAAAAAAAAAA"}"#,
        r#"{"sub":"alice","exp":1,"pwd":""}"#,
        r#"{"sub":"nacos","iat":1,"exp":99999999999}"#,
    ])
}
