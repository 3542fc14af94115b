//! Regions of several members, each a process of its own, that are killed, cut apart, damaged and restarted.
//!
//! `cargo test -p landbridge-tests --test cluster [-- WORD ...]` runs the tests whose names hold a word; all unless one is
//! named. They run one after the other: each needs the machine for its clocks.

mod clients;
mod registering;
mod sessions;
mod writers;

mod beside;
mod forming;
mod joining;
mod leaving;
mod losing;
mod naming;
mod reading;

mod comparing;
mod crashing;
mod disks;
mod five;
mod histories;
mod parting;
mod power;
mod refilling;
mod restoring;
mod rolling;
mod telling;

use std::{pin::Pin, process::ExitCode, time::Instant};

/// A test and what would be wrong if it failed.
type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = anyhow::Result<()>>>>);

/// Why a test was not run, which is no pass: it needs what is not here, or must be asked for.
#[derive(Debug)]
pub struct NotRun(pub String);

impl std::fmt::Display for NotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not run: {}", self.0)
    }
}

impl std::error::Error for NotRun {}

/// Names functions as tests.
macro_rules! tests {
    ($($room:ident: $($name:ident),+;)+) => {
        [$($((stringify!($name), || Box::pin($room::$name()))),+),+]
    };
}

const TESTS: &[Test] = &tests! {
    forming:
        three_members_form_in_any_order,
        a_member_that_comes_back_at_another_address_is_found_there_and_nothing_else_changes,
        what_is_registered_at_one_is_seen_at_the_others,
        a_list_that_leaves_this_member_out_is_refused,
        a_list_that_is_empty_founds_no_region_of_its_own;
    naming:
        members_behind_one_name_find_each_other_and_one_that_moves;
    joining:
        a_member_that_joins_shows_everything_at_once_and_nobody_is_evicted;
    losing:
        beating_clients_of_a_killed_member_are_taken_over_and_it_comes_back,
        a_killed_leader_stops_no_registration_and_writes_go_on_soon;
    reading:
        a_read_says_how_old_it_may_be_and_one_that_wants_everything_needs_a_majority;
    crashing:
        no_answered_write_is_lost_though_all_are_killed_again_and_again,
        writes_go_on_soon_after_each_death_of_the_leader;
    disks:
        a_second_process_on_a_data_folder_is_refused_and_the_first_goes_on,
        a_full_disk_refuses_decisions_says_so_and_takes_them_again_without_a_restart,
        a_disk_that_fails_ends_its_member_with_a_clear_line_and_loses_nothing;
    telling:
        members_tell_who_is_where_who_leads_and_who_lags_and_what_is_stale_without_a_majority;
    five:
        five_members_lose_two_go_on_and_take_them_back;
    power:
        no_answered_write_is_lost_when_the_power_is_cut;
    histories:
        reads_are_linearizable_while_leaders_die_stand_still_and_are_cut_off;
    rolling:
        nobody_alive_is_missing_while_every_member_is_restarted_in_turn,
        nobody_alive_is_missing_when_all_members_are_restarted_at_once;
    parting:
        a_member_that_was_cut_off_comes_back_to_the_same_and_nothing_deleted_returns;
    refilling:
        an_emptied_member_helps_nobody_to_forget_what_was_answered,
        damaged_members_are_refilled_and_nothing_answered_is_lost,
        a_member_takes_the_place_of_another_by_orders_that_are_refused_while_unsafe;
    restoring:
        the_last_member_starts_a_region_anew_and_the_others_join_whatever_they_hold;
    leaving:
        a_member_that_ends_hands_its_clients_over_and_nobody_blinks,
        a_leader_that_ends_hands_leadership_over_and_writes_do_not_wait_for_an_election,
        members_that_all_end_at_once_do_not_wait_for_each_other;
};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve-registry") {
        return landbridge_tests::serve::registry(&words[1..]);
    }
    let words: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut ran, mut failed, mut left_out) = (0, 0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        let begun = Instant::now();
        let local = tokio::task::LocalSet::new();
        let done = local.block_on(&runtime, async { tokio::task::spawn_local(test()).await });
        let took = begun.elapsed().as_secs_f64();
        let done = done.map_err(anyhow::Error::from).flatten();
        if let Some(NotRun(why)) = done.as_ref().err().and_then(|error| error.downcast_ref()) {
            left_out += 1;
            println!("{name} ... not run: {why}");
            continue;
        }
        ran += 1;
        match done {
            Ok(()) => println!("{name} ... ok ({took:.1} s)"),
            Err(why) => {
                failed += 1;
                println!("{name} ... FAILED ({took:.1} s): {why:#}");
            }
        }
    }
    println!("cluster: {ran} tests, {failed} failed, {left_out} not run");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
