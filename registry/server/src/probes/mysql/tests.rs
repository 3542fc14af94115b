//! A server of a few lines on the other side of a pipe.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

/// A greeting of MySQL 5.7 as it stands on the wire.
fn greeting(way: &str) -> Vec<u8> {
    let mut body = vec![10];
    body.extend(b"5.7.44\0");
    body.extend([1, 0, 0, 0]);
    body.extend(b"12345678\0");
    body.extend([0xff, 0xf7, 33, 2, 0, 0xff, 0x81, 21]);
    body.extend([0; 10]);
    body.extend(b"901234567890\0");
    body.extend(way.as_bytes());
    body.push(0);
    body
}

async fn say(server: &mut DuplexStream, number: u8, body: &[u8]) {
    let [a, b, c, _] = (body.len() as u32).to_le_bytes();
    server.write_all(&[&[a, b, c, number], body].concat()).await.expect("it is read");
}

/// What a client says next; none once it is gone.
async fn heard(server: &mut DuplexStream) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    server.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8];
    server.read_exact(&mut body).await.ok()?;
    Some(body)
}

fn query(command: &str) -> Query {
    Query { user: "probe".into(), password: "secret".into(), command: command.into() }
}

/// A server that greets, takes any proof and answers the query with these packets; gives what it heard, too.
async fn against(command: &str, answers: &[&[u8]]) -> (Finding, Vec<Vec<u8>>) {
    let (ours, mut server) = tokio::io::duplex(16 * 1024);
    let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
    let serving = tokio::spawn(async move {
        say(&mut server, 0, &greeting("mysql_native_password")).await;
        let mut said = vec![heard(&mut server).await.unwrap_or_default()];
        say(&mut server, 2, &[OK, 0, 0, 2, 0, 0, 0]).await;
        said.extend(heard(&mut server).await);
        for (answer, number) in answers.iter().zip(1..) {
            say(&mut server, number, answer).await;
        }
        said.extend(heard(&mut server).await);
        said
    });
    let finding = ask(ours, &query(command)).await.expect("a conversation");
    (finding, serving.await.expect("it serves"))
}

/// Two columns, and a row with these values.
fn row(values: &[u8]) -> [&[u8]; 6] {
    [&[2], b"column one", b"column two", &[END, 0, 0, 2, 0], values, &[END, 0, 0, 2, 0]]
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_well_when_that_is_asked() {
    let (replica, said) = against(READ_ONLY, &row(b"\x09read_only\x02ON")).await;
    let (primary, _) = against(READ_ONLY, &row(b"\x09read_only\x03OFF")).await;

    assert_eq!((replica, primary), (Finding::Hard, Finding::Well));
    assert_eq!(said[1], [&[COM_QUERY], READ_ONLY.as_bytes()].concat());
    assert_eq!(said[2], [COM_QUIT]);
}

#[tokio::test]
async fn another_query_is_well_whatever_it_answers_unless_it_fails() {
    let (on, _) = against("select 'a', 'ON'", &row(b"\x01a\x02ON")).await;
    let (none, _) = against("select 1 where false", &row(&[END, 0, 0, 2, 0])[..5]).await;
    let (failed, _) = against("select * from nothing", &[b"\xff\x7a\x04#42S02no such table"]).await;

    assert_eq!((on, none, failed), (Finding::Well, Finding::Well, Finding::Hard));
}

#[tokio::test]
async fn without_a_query_the_server_is_asked_whether_it_is_there() {
    let (finding, said) = against(" ; ", &[&[OK, 0, 0, 2, 0, 0, 0]]).await;

    assert_eq!(finding, Finding::Well);
    assert_eq!(said[1], [COM_PING]);
}

#[tokio::test]
async fn a_login_names_its_user_and_proves_its_password_without_telling_it() {
    let (_, said) = against("", &[&[OK, 0, 0, 2, 0, 0, 0]]).await;

    let login = &said[0];
    assert_eq!(&login[32..38], b"probe\0");
    assert_eq!(login[38], 20, "a proof of SHA-1");
    assert!(!login.windows(6).any(|window| window == b"secret"));
    assert!(login.ends_with(b"mysql_native_password\0"));
}

#[tokio::test]
async fn a_server_that_wants_another_proof_gets_it() {
    let (ours, mut server) = tokio::io::duplex(16 * 1024);
    let serving = tokio::spawn(async move {
        say(&mut server, 0, &greeting("caching_sha2_password")).await;
        heard(&mut server).await;
        say(&mut server, 2, &[b"\xfemysql_native_password\0".as_slice(), b"abcdefghijklmnopqrst\0"].concat())
            .await;
        let proof = heard(&mut server).await;
        say(&mut server, 4, &[OK, 0, 0, 2, 0, 0, 0]).await;
        heard(&mut server).await;
        say(&mut server, 1, &[OK, 0, 0, 2, 0, 0, 0]).await;
        proof.map(|proof| proof.len())
    });

    let finding = ask(ours, &query("")).await.expect("a conversation");

    assert_eq!(finding, Finding::Well);
    assert_eq!(serving.await.expect("it serves"), Some(20));
}

#[tokio::test]
async fn a_login_that_is_refused_is_not_well_and_one_that_needs_tls_says_nothing() {
    let login = |answer: &'static [u8]| async move {
        let (ours, mut server) = tokio::io::duplex(16 * 1024);
        tokio::spawn(async move {
            say(&mut server, 0, &greeting("caching_sha2_password")).await;
            heard(&mut server).await;
            say(&mut server, 2, answer).await;
            heard(&mut server).await;
        });
        ask(ours, &query("")).await.expect("a conversation")
    };

    assert_eq!(login(b"\xff\x15\x04#28000Access denied").await, Finding::Hard);
    assert_eq!(login(b"\x01\x04").await, Finding::Unable);
}

#[tokio::test]
async fn what_speaks_another_protocol_breaks_the_conversation() {
    let (ours, mut server) = tokio::io::duplex(16 * 1024);
    server.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("it is read");
    drop(server);

    assert!(ask(ours, &query("")).await.is_err());
}
