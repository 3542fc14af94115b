//! Tests of the program as operators and scripts meet it: what it prints where, and how it ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::{landbridge, stderr, stdout};

/// A process that answers one question, and tells afterwards what it was asked.
struct Oracle {
    address: String,
    asked: JoinHandle<String>,
}

impl Oracle {
    fn answering(status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let asked = head(&mut stream);
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).expect("a caller that listens");
            asked
        });
        Self { address, asked }
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut asked = String::new();
    while !asked.contains("\r\n\r\n") {
        let mut bytes = [0; 1_024];
        let count = stream.read(&mut bytes).expect("a question");
        assert_ne!(count, 0, "the question broke off after {asked:?}");
        asked.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    asked
}

#[test]
fn help_and_version_go_to_stdout_and_end_well() {
    for arguments in [&["--help"][..], &["version"], &["--version"], &["certs", "--help"]] {
        let output = landbridge(arguments);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!stdout(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2_and_says_so_on_stderr() {
    for arguments in
        [&[][..], &["frobnicate"], &["status", "--frobnicate"], &["register", "orders", "nowhere"]]
    {
        let output = landbridge(arguments);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_process_that_is_not_there_ends_with_3() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();

    let output = landbridge(&["status", "--at", &free]);

    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains(&free), "{}", stderr(&output));
}

#[test]
fn what_the_other_side_thinks_of_it_decides_the_status() {
    for (status, code) in [
        ("200 OK", 0),
        ("401 Unauthorized", 4),
        ("404 Not Found", 4),
        ("409 Conflict", 5),
        ("503 Service Unavailable", 1),
    ] {
        let oracle = Oracle::answering(status, r#"{"error":"because"}"#);

        let output = landbridge(&["status", "--at", &oracle.address]);

        assert_eq!(output.status.code(), Some(code), "{status}: {}", stderr(&output));
        oracle.asked.join().unwrap();
    }
}

#[test]
fn services_are_asked_for_with_the_token_and_shown_as_columns() {
    let services = r#"[{"namespace":"public","group":"G","service":"orders","instances":2,"healthy":1}]"#;
    let oracle = Oracle::answering("200 OK", services);

    let output = landbridge(&["services", "--at", &oracle.address, "--token", "s3cret", "-n", "public"]);

    assert_eq!(
        stdout(&output),
        "NAMESPACE  GROUP  SERVICE  INSTANCES  HEALTHY  OF OTHER REGIONS\npublic     G      orders   2          1        -\n"
    );
    let asked = oracle.asked.join().unwrap();
    assert!(asked.starts_with("GET /landbridge/v1/services?namespace=public "), "{asked}");
    assert!(asked.contains("authorization: Bearer s3cret"), "{asked}");
}

#[test]
fn orders_about_the_raft_group_are_put_to_the_member_and_a_refusal_is_a_conflict() {
    for (arguments, path) in [
        (&["add", "4"][..], "/landbridge/v1/raft/members/4"),
        (&["promote", "4"], "/landbridge/v1/raft/members/4"),
        (&["remove", "3"], "/landbridge/v1/raft/members/3"),
        (&["replace", "3", "4"], "/landbridge/v1/raft/members/3"),
        (&["transfer", "2"], "/landbridge/v1/raft/members/2"),
    ] {
        let oracle = Oracle::answering("409 Conflict", r#"{"error":"nothing could be decided any more"}"#);

        let output = landbridge(&[&["raft"], arguments, &["--at", &oracle.address]].concat());

        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("nothing could be decided"), "{}", stderr(&output));
        let asked = oracle.asked.join().unwrap();
        assert!(asked.starts_with(&format!("PUT {path} ")), "{asked}");
    }
}

#[test]
fn the_raft_group_is_shown_as_columns_and_the_asked_member_in_a_sentence() {
    let group = r#"{"member":1,"leader":2,"term":7,"admitted":true,"applied":9,"last":9,"members":[
        {"member":2,"part":"leader","lag":0,"silent_ms":null,"disk":"00ab","refilled":false}]}"#;
    let oracle = Oracle::answering("200 OK", group);

    let output = landbridge(&["raft", "status", "--at", &oracle.address]);

    assert!(stdout(&output).starts_with("MEMBER  PART"), "{}", stdout(&output));
    assert!(stderr(&output).contains("member 2 leads in term 7"), "{}", stderr(&output));
    assert!(oracle.asked.join().unwrap().starts_with("GET /landbridge/v1/raft "));
}

#[test]
fn members_are_shown_with_their_part_and_lag_and_a_region_without_a_leader_in_a_sentence() {
    let row = |member: u8, state: &str, raft: &str| {
        format!(
            r#"{{"member":{member},"address":"a:8848","state":"{state}","phase":"ready","version":"1","raft":"{raft}","lag":{member},"disk":"ok","feed":"","silent":false}}"#
        )
    };
    for (first, headless) in [("leader", false), ("voter", true)] {
        let members: &'static str = format!("[{},{}]", row(1, "UP", first), row(2, "DOWN", "voter")).leak();
        let oracle = Oracle::answering("200 OK", members);

        let output = landbridge(&["members", "--at", &oracle.address]);

        let shown = stdout(&output);
        assert!(shown.starts_with("MEMBER  ADDRESS  STATE  PHASE  RAFT"), "{shown}");
        assert!(shown.contains("DOWN") && shown.lines().count() == 3, "{shown}");
        assert_eq!(stderr(&output).contains("no member leads"), headless, "{}", stderr(&output));
        assert!(oracle.asked.join().unwrap().starts_with("GET /landbridge/v1/members "));
    }
}

#[test]
fn a_process_that_is_not_ready_fails_the_check_and_says_why() {
    let oracle = Oracle::answering("503 Service Unavailable", "[-] raft: no leader\nnot ready\n");

    let output = landbridge(&["check", "--at", &oracle.address]);

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "[-] raft: no leader\nnot ready\n");
    assert!(oracle.asked.join().unwrap().starts_with("GET /readyz?verbose "));
}

#[test]
fn a_hold_is_let_go_by_naming_its_region() {
    let oracle = Oracle::answering("200 OK", r#"{"origin":"west","released":120}"#);

    let output = landbridge(&["holds", "release", "west", "-o", "name", "--at", &oracle.address]);

    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "west\n"), "{}", stderr(&output));
    assert!(oracle.asked.join().unwrap().starts_with("DELETE /landbridge/v1/holds/west "));
}

#[test]
fn deregistering_speaks_as_a_nacos_client_does() {
    let oracle = Oracle::answering("200 OK", "ok");

    let output = landbridge(&["deregister", "orders", "192.0.2.1:80", "-g", "G", "--at", &oracle.address]);

    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
    let asked = oracle.asked.join().unwrap();
    assert!(
        asked.starts_with("DELETE /nacos/v1/ns/instance?namespaceId=public&groupName=G&serviceName=orders"),
        "{asked}"
    );
}

#[test]
fn events_are_shown_until_the_stream_ends() {
    let oracle =
        Oracle::answering("200 OK", "{\"event\":\"feed_opened\",\"origin\":\"east\",\"what\":\"f\"}\n");

    let output = landbridge(&["events", "-f", "--at", &oracle.address]);

    assert!(stdout(&output).starts_with("feed_opened"), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    oracle.asked.join().unwrap();
}

#[test]
fn names_of_certificates_can_be_piped() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("certs");

    let output = landbridge(&["certs", into.to_str().unwrap(), "--region", "east", "-o", "name"]);

    let made = stdout(&output);
    assert_eq!(made.lines().count(), 4, "{made}");
    assert!(made.lines().all(|path| std::path::Path::new(path).is_file()), "{made}");
    assert!(stderr(&output).contains("ca.key"), "{}", stderr(&output));
}

#[test]
fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish"] {
        let output = landbridge(&["completion", shell]);
        assert!(stdout(&output).contains("deregister"), "{shell}");
    }
}

#[test]
fn a_wrong_configuration_is_told_whole_and_ends_with_64() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridge.toml");
    std::fs::write(&file, "regoin = 'east'\n[feeds]\nlisten = 9\n").unwrap();
    let file = file.to_str().unwrap();

    for arguments in [&["bridge", "-c", file][..], &["config", "validate", file]] {
        let output = landbridge(arguments);
        let told = stderr(&output);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(64), ""), "{told}");
        for part in
            ["`regoin` is unknown", "line 1): write `region`", "`feeds.listen` is the number 9", "line 3)"]
        {
            assert!(told.contains(part), "{part:?} is not told in:\n{told}");
        }
    }
}

#[test]
fn a_configuration_is_known_by_what_stands_in_it() {
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");

    for (page, role) in [
        ("registry.toml", "registry\n"),
        ("two-regions/east/bridge.toml", "bridge\n"),
        ("two-regions/east/gateway-a.toml", "gateway\n"),
    ] {
        let output = landbridge(&["config", "validate", &format!("{configs}/{page}"), "-o", "name"]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), role), "{}", stderr(&output));
    }
}
