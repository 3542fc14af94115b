//! Proves the gateway from outside: whatever breaks behind it, whatever is sent at it, and while its table changes.
//!
//! `cargo test -p landbridge-tests --test gateway` runs all in CI's size; words choose tests whose name holds them.
//! `… -- whatever --strict --rate 500 --watch 5 --jobs 1`: by the bounds that are wanted on a machine of one's own; calls a
//! second, seconds watched after a fault, cases at once; `--threads 2`: threads of the gateway;
//! `--fault Slow`: this fault only.
//! `… -- table --strict --rate 500 --changes 1000 --pace 10 --services 5000`: how many changes, how many a second, over so
//! many services.

#![allow(clippy::unwrap_used, reason = "a test may stop at its first surprise, helpers included")]

mod bounds;
mod size;

mod endpoint;
mod house;
mod load;
mod threads;

mod cases;
mod faults;

mod recorder;

mod hostile;
mod smuggling;

mod frames;
mod hostile2;

mod floods;

mod tables;

mod process;

mod draining;
mod keepsake;

mod limits;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::Instant,
};

use size::Size;

/// As the deployed program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A test: its name is the sentence that would be wrong if it failed.
type Test = (&'static str, fn(&Size));

/// Every test that holds.
const TESTS: &[Test] = &[
    ("nothing_arrives_that_two_readers_could_read_differently", smuggling::over_http1),
    ("nothing_of_http2_becomes_another_request_of_http1", smuggling::over_http2),
    ("slow_callers_lose_their_connections", floods::slow_callers),
    ("streams_reset_in_one_breath_end_their_connection", floods::rapid_reset),
    ("streams_reset_once_the_endpoint_has_them_end_their_connection", floods::patient_reset),
    ("a_head_that_never_ends_ends_its_connection", floods::continuation_flood),
    ("a_head_of_empty_frames_ends_its_connection", floods::empty_continuation_flood),
    ("two_gateways_let_pass_what_one_limit_allows_however_calls_are_spread", limits::shared),
    ("a_gateway_that_is_told_to_end_ends_what_it_has_begun_and_begins_nothing", draining::ends_in_order),
    (
        "a_gateway_serves_its_last_table_after_a_restart_without_any_registry",
        keepsake::serves_without_registries,
    ),
    ("no_call_notices_that_the_table_changes", tables::changing),
    ("a_gateway_of_two_threads_loses_nothing_when_a_zone_dies", faults::two_threads),
    ("no_idempotent_call_fails_and_none_leaves_the_region_whatever_breaks", faults::whatever_breaks),
    ("no_idempotent_call_fails_and_none_leaves_the_region_whatever_hangs", faults::whatever_hangs),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve-endpoint") => return endpoint::serve(&words[1..]),
        Some("serve-gateway") => return process::serve(&words[1..]),
        Some("serve-registry") => return landbridge_tests::serve::registry(&words[1..]),
        Some(_) | None => {}
    }
    let (size, wanted) = match Size::read(&words) {
        Ok(read) => read,
        Err(why) => {
            println!("gateway: {why}");
            return ExitCode::FAILURE;
        }
    };
    let named = |name: &str| wanted.iter().any(|word| name.contains(word));
    let chosen = TESTS.iter().filter(|(name, _)| wanted.is_empty() || named(name));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in chosen {
        let begun = Instant::now();
        let ended = panic::catch_unwind(AssertUnwindSafe(|| test(&size)));
        let verdict = if ended.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({:.1} s)", begun.elapsed().as_secs_f64());
        if ended.is_ok() { passed += 1 } else { failed += 1 }
    }
    println!("gateway: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
