//! The stories that the documents tell, each played and compared with the transcript that stands in its file.

use std::{fs, path::PathBuf};

use landbridge_tests::sim::scenario;

/// Set it to write the transcripts anew instead of comparing them.
const REWRITE: &str = "LANDBRIDGE_REWRITE_SCENARIOS";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sim/scenarios")
}

/// Plays a scenario and compares line by line.
#[track_caller]
fn holds(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let expected = fs::read_to_string(&path).expect("the scenario is there");
    let told = scenario(&expected).unwrap_or_else(|why| panic!("{name}.txt, {why}"));
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, told).expect("the transcript can be written");
        return;
    }
    let lines: Vec<String> = difference(&expected, &told);
    assert!(
        lines.is_empty(),
        "{name}.txt tells another story ({REWRITE}=1 writes it anew):\n{}",
        lines.join("\n")
    );
}

/// The transcript with `-` before lines that were expected and `+` before those that came instead; nothing when all agree.
fn difference(expected: &str, told: &str) -> Vec<String> {
    if expected == told {
        return Vec::new();
    }
    let (expected, told): (Vec<_>, Vec<_>) = (expected.lines().collect(), told.lines().collect());
    let mut lines = Vec::new();
    let (mut before, mut after) = (expected.as_slice(), told.as_slice());
    while let [first, rest @ ..] = before {
        let found = after.iter().position(|line| line == first);
        // Answers stand under their question: only up to the next one may they differ.
        let near = found.filter(|at| !after[..*at].iter().any(|line| line.starts_with('>')));
        match near {
            Some(at) => {
                lines.extend(after[..at].iter().map(|line| format!("+{line}")));
                lines.push(format!(" {first}"));
                after = &after[at + 1..];
            }
            None => lines.push(format!("-{first}")),
        }
        before = rest;
    }
    lines.extend(after.iter().map(|line| format!("+{line}")));
    lines
}

macro_rules! scenarios {
    ($($name:ident,)+) => {
        /// All that are played.
        const ALL: &[&str] = &[$(stringify!($name),)+];

        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })+
    };
}

scenarios! {
    what_is_registered_is_seen_in_the_other_region,
    a_region_that_is_cut_off_goes_stale_and_nothing_is_deleted,
    a_dead_members_records_stay_until_a_quorum_closes_its_feed,
    when_a_bridge_dies_the_other_carries_on,
    a_client_moves_to_another_member_without_a_gap,
    a_beating_client_is_taken_over,
    after_a_power_cut_of_everything_all_is_there_again,
    a_policy_that_is_withdrawn_takes_services_out_of_the_other_region,
    a_gateway_routes_with_every_registry_down,
    an_evacuated_region_gets_no_calls,
    a_corrupted_copy_is_found_and_repaired,
    a_persistent_write_outlives_its_leader,
    a_member_that_is_drained_leaves_no_gap,
}

#[test]
fn every_scenario_is_played() {
    let files = fs::read_dir(folder()).expect("the folder").map(|entry| entry.expect("an entry").path());
    let texts = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    let mut names: Vec<_> =
        texts.map(|path| path.file_stem().expect("a name").display().to_string()).collect();
    names.sort();
    let mut played = ALL.to_vec();
    played.sort_unstable();

    assert_eq!(names, played);
}

#[test]
fn a_line_that_means_nothing_is_named() {
    let told = |text: &str| scenario(text).expect_err("it means nothing");

    assert!(told("# a story\n> dance e1").starts_with("line 2: `dance e1` is none of: wait N s |"));
    assert_eq!(told("> wait some s"), "line 1: some is no number of seconds");
    assert_eq!(told("> register s9 at e1"), "line 1: s9 is no service: they are s0 to s3");
    assert_eq!(told("> crash x1"), "line 1: x1 is no place: say e1, eb1, eg1, east, east leader, all");
    assert_eq!(told("> crash e4"), "line 1, `crash e4`: there are only 3 of these");
    assert_eq!(told("> move s1 to e1"), "line 1, `move s1 to e1`: nobody has registered s1 in east");
    assert_eq!(told("> drain east"), "line 1, `drain east`: one process is meant here, not 6");
}

#[test]
fn another_story_is_shown_line_by_line() {
    let expected = "> show s0 of east\n  v1: e1\n> heal\n";

    assert_eq!(difference(expected, expected), Vec::<String>::new());
    assert_eq!(
        difference(expected, "> show s0 of east\n  nothing: e1\n> heal\n"),
        [" > show s0 of east", "-  v1: e1", "+  nothing: e1", " > heal"],
    );
}
