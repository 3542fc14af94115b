//! Both directions against JSON that Nacos 3.1's own classes wrote (`tests/golden/nacos-3.1.txt`).

use bytes::Bytes;
use landbridge_model::{Address, Cluster, Instance, InstanceKey, Metadata, ServiceKey};
use prost::Message as _;

use super::{
    ClusterFilter, EncodedService, Enrolment, Naming, Refusal, ServiceListQuery, encode_host,
    grpc::{Kind, Payload, PersistentChange, Publish, Push, Request, Told, answer, ask},
};

const SAMPLES: &str = include_str!("../../tests/golden/nacos-3.1.txt");

/// All samples of a type.
fn samples(name: &str) -> Vec<&'static str> {
    let lines: Vec<&str> = SAMPLES.lines().collect();
    lines.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1].trim()).collect()
}

fn sample(name: &str) -> &'static str {
    samples(name).first().copied().unwrap_or_else(|| panic!("no sample of {name}"))
}

/// A sample as a client would send it: through protobuf and back.
fn sent(name: &str) -> Payload {
    let bytes = Payload::new(name, sample(name)).encode_to_vec();
    Payload::decode(bytes.as_slice()).expect("what was encoded")
}

fn parsed(name: &str) -> Request {
    Request::parse(&sent(name)).expect("a readable sample")
}

fn said(payload: &Payload) -> (&str, &str) {
    (payload.type_name(), std::str::from_utf8(payload.json()).expect("UTF-8"))
}

fn service() -> ServiceKey {
    ServiceKey::parse("public", "DEFAULT_GROUP", "svc").expect("a valid key")
}

fn key() -> InstanceKey {
    InstanceKey {
        ip: Address::parse("10.0.0.1").expect("a valid address"),
        port: 8080,
        cluster: Cluster::parse("").expect("a valid cluster"),
    }
}

fn info(naming: Naming) -> EncodedService {
    let metadata = Metadata::new([("k".into(), "v".into())]).expect("within bounds");
    let host = encode_host(&service(), &key(), &Instance::plain(metadata), true);
    EncodedService::new(naming, &service(), &ClusterFilter::default(), &[host], false)
}

const LAST_REF_MS: u64 = 1_700_000_000_000;

#[test]
fn fuzzy_watches_are_told_as_nacos_3_tells_them() {
    use super::grpc::answer::{SyncType, fuzzy_change, fuzzy_sync};
    let service = ServiceKey::parse("", "", "svc").expect("a valid key");
    let pattern = "public>>DEFAULT_GROUP>>*";
    let text = |payload: Payload| String::from_utf8_lossy(payload.json()).into_owned();

    let first = text(fuzzy_sync(8, SyncType::First, pattern, [(&service, true)], (1, 1)));
    let finished = text(fuzzy_sync(9, SyncType::Finished, pattern, [], (0, 0)));
    let change = text(fuzzy_change(10, &service, true));

    assert_eq!(
        first,
        r#"{"headers":{},"requestId":"8","syncType":"FUZZY_WATCH_INIT_NOTIFY","groupKeyPattern":"public>>DEFAULT_GROUP>>*","contexts":[{"serviceKey":"public@@DEFAULT_GROUP@@svc","changedType":"ADD_SERVICE"}],"totalBatch":1,"currentBatch":1,"module":"naming"}"#
    );
    assert_eq!(
        finished,
        r#"{"headers":{},"requestId":"9","syncType":"FINISH_FUZZY_WATCH_INIT_NOTIFY","groupKeyPattern":"public>>DEFAULT_GROUP>>*","totalBatch":0,"currentBatch":0,"module":"naming"}"#
    );
    assert_eq!(
        change,
        r#"{"headers":{},"requestId":"10","syncType":"FUZZY_WATCH_RESOURCE_CHANGED","serviceKey":"public@@DEFAULT_GROUP@@svc","changedType":"ADD_SERVICE","module":"naming"}"#
    );
}

#[test]
fn answers_are_byte_for_byte_those_of_nacos() {
    let answers = [
        answer::server_check("1700000000000_10.0.0.9_53122"),
        answer::health_check(),
        answer::registered(),
        answer::batch_registered(),
        answer::queried(&info(Naming::Bare), LAST_REF_MS),
        answer::subscribed(&info(Naming::Bare), LAST_REF_MS),
        answer::service_list(1, ["svc"]),
        answer::error(301, "Connection is unregistered."),
        answer::setup_ack([
            ("fuzzyWatch", true),
            ("lock", true),
            ("mcp", true),
            ("supportPersistentInstanceByGrpc", true),
        ]),
        answer::client_detection(7),
    ];

    for answer in &answers {
        let (name, json) = said(answer);
        assert_eq!(json, sample(name), "{name}");
    }
    assert_eq!(said(&answer::config_not_found()).1, samples("ConfigQueryResponse")[1]);
}

#[test]
fn questions_are_byte_for_byte_those_of_nacos() {
    let service = service();
    let ephemeral = Enrolment { key: key(), instance: Instance::plain(Metadata::default()), ephemeral: true };
    let persistent = Enrolment { ephemeral: false, ..ephemeral.clone() };
    let filter = |text| ClusterFilter::parse(text).expect("a valid filter");
    let page = ServiceListQuery::new(service.namespace().clone(), service.group().clone(), 1, 10);
    let questions = [
        ask::server_check(),
        ask::health_check(),
        ask::register(&service, &ephemeral),
        ask::register(&service, &persistent),
        ask::register_batch(&service, &[ephemeral]),
        ask::query(&service, &filter("a,b"), false),
        ask::subscribe(&service, &filter(""), true),
        ask::service_list(&page),
        ask::notified("12"),
        ask::detected("7"),
    ];

    for question in &questions {
        let (name, json) = said(question);
        assert_eq!(json, sample(name), "{name}");
    }
}

#[test]
fn a_client_reads_what_nacos_says() {
    let told = |name| Told::parse(&sent(name)).expect("a readable answer");

    let Told::Service(queried) = told("QueryServiceResponse") else { panic!("not a service") };
    let Told::Pushed { request_id, service } = told("NotifySubscriberRequest") else { panic!("not a push") };
    assert_eq!((request_id.as_str(), &service), ("12", &queried));
    assert_eq!((queried.name.as_str(), queried.group.as_str()), ("svc", "DEFAULT_GROUP"));
    assert_eq!((queried.last_ref_ms, queried.hosts.len()), (LAST_REF_MS, 1));
    assert_eq!((&queried.hosts[0].key, queried.hosts[0].instance.metadata.value("k")), (&key(), Some("v")));
    assert!(matches!(told("ServerCheckResponse"), Told::Server { negotiates: true, .. }));
    assert_eq!(told("ServiceListResponse"), Told::Services { count: 1, names: vec!["svc".into()] });
    assert_eq!(told("ClientDetectionRequest"), Told::Detect { request_id: "7".into() });
    assert!(matches!(told("ErrorResponse"), Told::Failed { code: 301, .. }));
    assert_eq!(
        [told("InstanceResponse"), told("BatchInstanceResponse"), told("SetupAckRequest")],
        [Told::Done, Told::Done, Told::SetUp]
    );
}

#[test]
fn what_a_client_sets_up_the_server_reads() {
    let namespace = service().namespace().clone();
    let read = |negotiates| Request::parse(&ask::setup("Landbridge:v0", &namespace, negotiates));

    let Ok(Request::ConnectionSetup(silent)) = read(false) else { panic!("not a set-up") };
    let Ok(Request::ConnectionSetup(able)) = read(true) else { panic!("not a set-up") };

    assert!(silent.is_naming() && silent.abilities.is_none() && able.abilities.is_some());
}

#[test]
fn a_service_info_is_byte_for_byte_that_of_nacos() {
    let bare = info(Naming::Bare).answer(LAST_REF_MS);
    let grouped = info(Naming::Grouped).answer(LAST_REF_MS);

    assert_eq!(bare, sample("ServiceInfo"));
    let older = sample("ServiceInfo")
        .replace(r#"{"name":"svc""#, r#"{"name":"DEFAULT_GROUP@@svc""#)
        .replace("allIps", "allIPs");
    assert_eq!(grouped, older);
}

#[test]
fn a_push_in_two_pieces_is_the_same_message_as_in_one() {
    let push = Push::new(&info(Naming::Bare), LAST_REF_MS);

    let framed = push.framed(12).concat();
    let whole = push.payload(12);

    assert_eq!(Bytes::from(framed), whole.framed());
    let (name, json) = said(&whole);
    let names = r#""namespace":"public","serviceName":"svc","groupName":"DEFAULT_GROUP","serviceInfo""#;
    assert_eq!(json, sample(name).replace(names, r#""serviceInfo""#));
}

#[test]
fn pushes_of_one_revision_share_their_body() {
    let push = Push::new(&info(Naming::Bare), LAST_REF_MS);

    let [_, first] = push.framed(1);
    let [_, second] = push.framed(u64::MAX);

    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[test]
fn registrations_are_read_with_all_their_values() {
    let Request::Instance { service: named, publish: Publish::Register(one) } = parsed("InstanceRequest")
    else {
        panic!("not a registration")
    };
    let Request::BatchInstance { instances, .. } = parsed("BatchInstanceRequest") else {
        panic!("not a batch")
    };
    let Request::PersistentInstance { change: PersistentChange::Register(persistent), .. } =
        parsed("PersistentInstanceRequest")
    else {
        panic!("not a persistent registration")
    };

    assert_eq!((named, &one.key), (service(), &key()));
    assert_eq!(one.instance, Instance::plain(Metadata::default()));
    assert_eq!(instances, std::slice::from_ref(&one));
    assert!(one.ephemeral && !persistent.ephemeral && persistent.key == one.key);
}

#[test]
fn questions_are_read_with_all_their_values() {
    let Request::ServiceQuery(query) = parsed("ServiceQueryRequest") else { panic!("not a query") };
    let Request::Subscribe(subscribe) = parsed("SubscribeServiceRequest") else { panic!("not one") };
    let Request::ServiceList(list) = parsed("ServiceListRequest") else { panic!("not a list") };

    assert_eq!((&query.service, query.clusters.as_str(), query.healthy_only), (&service(), "a,b", false));
    assert!(
        query.clusters.takes(&Cluster::parse("b").expect("valid")) && !query.clusters.takes(&key().cluster)
    );
    assert_eq!(
        (&subscribe.service, subscribe.clusters.as_str(), subscribe.subscribe),
        (&service(), "", true)
    );
    assert!(subscribe.clusters.takes(&key().cluster));
    assert_eq!((list.group.as_str(), list.page_no, list.page_size), ("DEFAULT_GROUP", 1, 10));
}

#[test]
fn a_connection_says_who_it_is_and_what_it_can() {
    let Request::ConnectionSetup(setup) = parsed("ConnectionSetupRequest") else { panic!("not one") };

    assert_eq!(setup.client_version, "Nacos-Java-Client:v3.1.0");
    assert!(setup.is_naming() && setup.abilities.is_some_and(|abilities| abilities["fuzzyWatch"]));
}

#[test]
fn acks_are_told_apart_by_their_request_id() {
    let Request::Ack(notified) = parsed("NotifySubscriberResponse") else { panic!("not an ack") };
    let Request::Ack(reset) = parsed("ConnectResetResponse") else { panic!("not an ack") };

    assert_eq!((notified.request_id, notified.taken), (Some(12), true));
    assert_eq!(reset.request_id, None);
}

#[test]
fn every_sample_that_a_client_may_send_is_readable() {
    for name in SAMPLES.lines().filter(|line| !line.starts_with(' ')) {
        for json in samples(name) {
            let request = Request::parse(&Payload::new(name, json)).expect(name);

            assert_eq!(matches!(request, Request::Unknown(_)), Kind::of(name) == Kind::Unknown, "{name}");
        }
    }
}

#[test]
fn what_other_sdks_send_instead_is_read_too() {
    let rust = r#"{"clientVersion":"Nacos-Rust-Client:0.8.0","abilities":{"remoteAbility":
        {"supportRemoteConnection":true}},"tenant":"public","labels":{"source":"sdk","module":"naming"},
        "headers":{},"requestId":null}"#;
    let python = r#"{"resultCode":200,"errorCode":0,"message":"","requestId":"5"}"#;
    let nulls = r#"{"namespace":null,"serviceName":"svc","groupName":"","type":"registerInstance",
        "instance":{"instanceId":null,"ip":"10.0.0.1","port":8080,"clusterName":null,"metadata":null}}"#;

    let parse = |name, json: &'static str| Request::parse(&Payload::new(name, json)).expect("readable");
    let Request::ConnectionSetup(setup) = parse("ConnectionSetupRequest", rust) else { panic!("not one") };
    let Request::Ack(ack) = parse("NotifySubscriberResponse", python) else { panic!("not an ack") };

    assert!(setup.abilities.is_none(), "a client without an ability table waits for no SetupAck");
    assert_eq!((ack.request_id, ack.taken), (Some(5), true));
    assert_eq!(parse("InstanceRequest", nulls), parsed("InstanceRequest"));
}

#[test]
fn a_config_connection_is_no_naming_connection() {
    let json = r#"{"labels":{"module":"config"},"abilityTable":{}}"#;
    let Ok(Request::ConnectionSetup(setup)) = Request::parse(&Payload::new("ConnectionSetupRequest", json))
    else {
        panic!("not a set-up")
    };

    assert!(!setup.is_naming());
    assert_eq!(
        setup.abilities,
        Some(std::collections::BTreeMap::new()),
        "even an empty table asks for an ack"
    );
}

#[test]
fn who_can_mend_a_refused_request_is_told() {
    let refusal = |json: &'static str| {
        Request::parse(&Payload::new("InstanceRequest", json)).expect_err("a wrong request")
    };
    let register = |instance: &str| {
        let json = format!(
            r#"{{"serviceName":"svc","groupName":"g","type":"registerInstance","instance":{{{instance}}}}}"#
        );
        Request::parse(&Payload::new("InstanceRequest", json)).expect_err("a wrong instance")
    };

    assert!(matches!(refusal("{"), Refusal::Unreadable(_)));
    assert!(matches!(refusal(r#"{"serviceName":"a b","type":"registerInstance"}"#), Refusal::Invalid(_)));
    assert_eq!(
        refusal(r#"{"serviceName":"a","type":"x"}"#),
        Refusal::Invalid("Unsupported request type x".into())
    );
    assert_eq!(register(r#""port":1"#), Refusal::Invalid("Param 'ip' is required.".into()));
    assert!(matches!(register(r#""ip":"a","port":65536"#), Refusal::Invalid(_)));
    assert_eq!(
        register(r#""ip":"a","metadata":{"preserved.heart.beat.interval":"16000"}"#),
        Refusal::Invalid(super::codes::LEASE_TEXT.into())
    );
}

#[test]
fn failures_hold_what_sdks_cannot_do_without() {
    let list = answer::refused(Kind::ServiceList, 403, "no \"right\"");

    assert_eq!(
        said(&list),
        (
            "ServiceListResponse",
            r#"{"resultCode":500,"errorCode":403,"message":"no \"right\"","count":0,"success":false}"#
        )
    );
    assert_eq!(
        said(&answer::thrown(400, "x")),
        (
            "ErrorResponse",
            r#"{"resultCode":400,"errorCode":400,"message":"errCode: 400, errMsg: x ","success":false}"#
        )
    );
}

#[test]
fn headers_are_found_in_any_case() {
    let mut payload = sent("HealthCheckRequest");
    let metadata = payload.metadata.as_mut().expect("set");
    metadata.headers.insert("AccessToken".into(), "t".into());

    assert_eq!(payload.header("accessToken"), Some("t"));
    assert_eq!(payload.header("other"), None);
}

proptest::proptest! {
    #[test]
    fn altered_messages_never_panic(which: proptest::sample::Index, at: proptest::sample::Index, byte: u8) {
        let names: Vec<_> = SAMPLES.lines().filter(|line| !line.starts_with(' ')).collect();
        let name = names[which.index(names.len())];
        let mut json = sample(name).as_bytes().to_vec();
        let place = at.index(json.len());
        json[place] = byte;
        let payload = Payload::new(name, json);
        let _ = (Request::parse(&payload), Told::parse(&payload));
    }

    #[test]
    fn whatever_is_registered_is_shown_as_readable_json(
        service in crate::samples::service(),
        key in crate::samples::instance_key(),
        instance in crate::samples::instance(),
    ) {
        let host = encode_host(&service, &key, &instance, true);
        let read: serde_json::Value = serde_json::from_slice(&host).expect("JSON");

        proptest::prop_assert_eq!(read["ip"].as_str(), Some(key.ip.as_str()));
        let weight = read["weight"].as_f64().expect("a number");
        proptest::prop_assert!((weight - instance.weight).abs() < 1e-9);
        for (name, value) in instance.metadata.pairs() {
            proptest::prop_assert_eq!(read["metadata"][name.as_str()].as_str(), Some(value.as_str()));
        }
    }
}
