//! Mutates what clients send and gives it to every decoder that reads bytes of strangers: none may panic, hang or grow.
//!
//! Seeded, so that a finding is replayed by its seed: `FUZZ_SEED=N`. Without more it takes seconds; `FUZZ_MINUTES=10` gives each
//! decoder, which is each test, ten minutes.

mod corpus;
mod mutate;

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use landbridge_registry::strangers::{self, Seals};
use landbridge_wire::nacos::{
    grpc::{Payload, Request, Told},
    http::{Parameters, udp},
};
use prost::Message as _;

use self::{corpus::Kind, mutate::Dice};

/// Tries of each kind in a short run.
const TRIES: u64 = 1_000;

/// One input takes microseconds; so much is a hang or a blow-up.
const ONE_INPUT_MAX: Duration = Duration::from_secs(5);

/// The seed of the first try, unless `FUZZ_SEED` names another.
fn first_seed() -> u64 {
    std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// How long each decoder is tried, none for [`TRIES`] tries.
fn time() -> Option<Duration> {
    let minutes = std::env::var("FUZZ_MINUTES").ok()?.parse::<f64>().ok()?;
    Some(Duration::from_secs_f64(minutes * 60.0))
}

/// Gives mutations of what clients send to a decoder, all kinds of it in turn; says which seed it did not survive.
fn survives(what: &str, kinds: &[Kind], decode: impl Fn(&str, &[u8])) {
    let (began, first, limit) = (Instant::now(), first_seed(), time());
    let mut slowest = Duration::ZERO;
    let mut tries = 0;
    for seed in first.. {
        if limit.map_or(tries >= TRIES * kinds.len() as u64, |limit| began.elapsed() >= limit) {
            break;
        }
        tries += 1;
        let (kind, bodies) = &kinds[(seed % kinds.len() as u64) as usize];
        let input = mutate::mutation(&mut Dice::new(seed), bodies);
        let before = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| decode(kind, &input))).is_ok();
        let took = before.elapsed();
        slowest = slowest.max(took);
        assert!(survived, "{what}: FUZZ_SEED={seed} breaks on {kind}, {}", shown(&input));
        assert!(took < ONE_INPUT_MAX, "{what}: FUZZ_SEED={seed} took {took:?} on {kind}, {}", shown(&input));
    }
    println!("{what}: {tries} inputs of {} kinds from seed {first}, slowest {slowest:?}", kinds.len());
}

/// An input as text, cut.
fn shown(input: &[u8]) -> String {
    let mut text = format!("{} bytes: ", input.len());
    for byte in input.iter().take(200) {
        let _ = write!(text, "{}", byte.escape_ascii());
    }
    text
}

#[test]
fn no_body_of_any_grpc_message_breaks_its_decoder() {
    survives("gRPC bodies", &corpus::grpc(), |kind, input| {
        let payload = Payload::new(kind, input.to_vec());
        // Refusals are right here; what must not happen is a panic.
        let _ = Request::parse(&payload);
        let _ = Told::parse(&payload);
    });
}

#[test]
fn no_config_request_breaks_what_is_read_from_it() {
    survives("config requests", &corpus::configs(), |kind, input| {
        let _ = strangers::names_its_configs(kind, input);
    });
}

#[test]
fn no_grpc_envelope_breaks_its_decoder() {
    survives("gRPC envelopes", &[("any", corpus::envelopes())], |_, input| {
        if let Ok(payload) = Payload::decode(input) {
            let _ = (payload.kind(), payload.client_ip(), payload.header("accessToken"));
            let _ = Request::parse(&payload);
        }
    });
}

#[test]
fn no_query_string_breaks_what_is_read_from_it() {
    survives("query strings", &[("any", corpus::queries())], |_, input| {
        if let Ok(parameters) = Parameters::read(&String::from_utf8_lossy(input), b"") {
            read_all(&parameters);
        }
    });
}

#[test]
fn no_form_breaks_what_is_read_from_it() {
    survives("form bodies", &[("any", corpus::queries())], |_, input| {
        if let Ok(parameters) = Parameters::read("serviceName=s", input) {
            read_all(&parameters);
        }
    });
}

#[test]
fn no_beat_breaks_what_is_read_from_it() {
    let about = "serviceName=s&ip=10.0.0.1&port=1";
    survives("beats", &corpus::beats(), |_, input| {
        let parameters = Parameters::read(about, b"").expect("three parameters");
        let _ = parameters.with("beat", &String::from_utf8_lossy(input)).beat();
    });
}

#[test]
fn no_json_inside_a_parameter_breaks_what_is_read_from_it() {
    survives("metadata, selectors, instances", &corpus::json_parameters(), |name, input| {
        let text = String::from_utf8_lossy(input);
        let parameters = Parameters::read("serviceName=s&ip=10.0.0.1&port=1", b"").expect("three parameters");
        read_all(&parameters.with(name, &text));
    });
}

#[test]
fn no_health_checker_breaks_its_decoder() {
    survives("health checkers", &[("any", corpus::checkers())], |_, input| {
        let _ = strangers::is_checker(&String::from_utf8_lossy(input));
    });
}

#[test]
fn no_answer_to_a_datagram_breaks_its_decoder() {
    survives("push acknowledgements", &[("any", corpus::acknowledgements())], |_, input| {
        let _ = udp::acknowledged(input);
    });
}

#[test]
fn no_token_but_the_good_one_is_taken_whoever_signed_it() {
    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    let seals = Seals::new(KEY);
    let good = seals.issue("alice", "hash");
    let kinds = [("token", vec![good.clone().into_bytes()]), ("claims", corpus::claims())];
    survives("JWT", &kinds, |kind, input| {
        let token =
            if kind == "claims" { seals.sign(input) } else { String::from_utf8_lossy(input).into_owned() };
        let taken = seals.is_good(&token, "alice", "hash");
        assert_eq!(taken, token == good, "{token}");
    });
}

/// Everything that is ever read from parameters.
fn read_all(parameters: &Parameters) {
    let _ = parameters.register(true);
    let _ = parameters.named();
    let _ = parameters.replace();
    let _ = parameters.edit();
    let _ = parameters.health();
    let _ = parameters.beat();
    let _ = parameters.list();
    let _ = parameters.service_list();
    let _ = parameters.definition();
    let _ = parameters.selector();
    let _ = parameters.instance_list();
    let _ = parameters.is_heart_beat();
    let _ = parameters.credentials();
    let _ = parameters.access_token();
}
