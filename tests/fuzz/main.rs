//! Mutates what clients send and gives it to every decoder that reads bytes of strangers: none may panic, hang or grow.
//!
//! Seeded, so that a finding is replayed by its seed: `FUZZ_SEED=N`. Without more it takes seconds; `FUZZ_MINUTES=10` gives each
//! decoder ten minutes.

mod corpus;
mod mutate;

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use landbridge_wire::nacos::{
    grpc::{Payload, Request, Told},
    http::Parameters,
};
use prost::Message as _;

use self::mutate::Dice;

/// Tries of each decoder in a short run.
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

/// Gives mutations of a corpus to a decoder; says which seed it did not survive.
fn survives(what: &str, corpus: &[Vec<u8>], decode: impl Fn(&[u8])) {
    let (began, first, limit) = (Instant::now(), first_seed(), time());
    let mut slowest = Duration::ZERO;
    let mut tries = 0;
    for seed in first.. {
        if limit.map_or(tries >= TRIES, |limit| began.elapsed() >= limit) {
            break;
        }
        tries += 1;
        let mut dice = Dice::new(seed);
        let input = mutate::mutation(&mut dice, corpus);
        let before = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| decode(&input))).is_ok();
        let took = before.elapsed();
        slowest = slowest.max(took);
        assert!(survived, "{what}: FUZZ_SEED={seed} panics on {}", shown(&input));
        assert!(took < ONE_INPUT_MAX, "{what}: FUZZ_SEED={seed} took {took:?} on {}", shown(&input));
    }
    println!("{what}: {tries} inputs from seed {first}, slowest {slowest:?}");
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
    for (kind, bodies) in corpus::grpc() {
        survives(kind, &bodies, |input| {
            let payload = Payload::new(kind, input.to_vec());
            // Refusals are right here; what must not happen is a panic.
            let _ = Request::parse(&payload);
            let _ = Told::parse(&payload);
        });
    }
}

#[test]
fn no_grpc_envelope_breaks_its_decoder() {
    survives("envelope", &corpus::envelopes(), |input| {
        if let Ok(payload) = Payload::decode(input) {
            let _ = (payload.kind(), payload.client_ip(), payload.header("accessToken"));
            let _ = Request::parse(&payload);
        }
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

#[test]
fn no_query_string_breaks_what_is_read_from_it() {
    survives("query", &corpus::queries(), |input| {
        if let Ok(parameters) = Parameters::read(&String::from_utf8_lossy(input), b"") {
            read_all(&parameters);
        }
    });
}

#[test]
fn no_form_breaks_what_is_read_from_it() {
    survives("form", &corpus::queries(), |input| {
        if let Ok(parameters) = Parameters::read("serviceName=s", input) {
            read_all(&parameters);
        }
    });
}

#[test]
fn no_json_inside_a_parameter_breaks_what_is_read_from_it() {
    survives("beat, metadata, selector, instances", &corpus::json_parameters(), |input| {
        let text = String::from_utf8_lossy(input);
        let mut parameters =
            Parameters::read("serviceName=s&ip=10.0.0.1&port=1", b"").expect("three parameters");
        for name in ["beat", "metadata", "selector", "instances"] {
            parameters = parameters.with(name, &text);
        }
        read_all(&parameters);
    });
}
