//! Tests of the scanner: what passes whole and in pieces, and what it refuses.

use super::*;

fn verdict(bytes: &str) -> Result<Open, &'static str> {
    let mut scanner = Scanner::new(8_192);
    scanner.scan(bytes.as_bytes())?;
    Ok(scanner.open())
}

#[test]
fn ordinary_requests_pass_one_after_another() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \t spaced \u{e9}\r\n\r\n",
    ] {
        assert_eq!(verdict(request), Ok(Open::Nothing), "{request:?}");
        assert_eq!(verdict(&request.repeat(3)), Ok(Open::Nothing), "{request:?}");
    }
}

#[test]
fn the_same_bytes_in_single_pieces_give_the_same_verdict() {
    let bytes = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    let mut scanner = Scanner::new(8_192);

    for byte in bytes.as_bytes() {
        scanner.scan(&[*byte]).unwrap();
    }

    assert_eq!(scanner.open(), Open::Head);
}

#[test]
fn what_is_open_is_told() {
    assert_eq!(verdict("GE"), Ok(Open::Head));
    assert_eq!(verdict("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n123"), Ok(Open::Body));
    assert_eq!(verdict("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), Ok(Open::Body));
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let heads = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: \r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tTransfer-Encoding: chunked\r\n",
        "X\u{0}: a\r\n",
        "X: a\u{0}b\r\n",
        "X: a\rb\r\n",
        "X: a\nY: b\r\n",
        "X: a\n",
        "No colon here\r\n",
        ": empty\r\n",
        "X(y): a\r\n",
    ];
    for head in heads {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n");
        assert!(verdict(&request).is_err(), "{head:?} passed");
    }
    for request in [
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /\tx HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
        "GET /a#b HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
    ] {
        assert!(verdict(request).is_err(), "{request:?} passed");
    }
}

#[test]
fn broken_chunks_are_refused() {
    for chunks in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "3;a\u{0}b\r\nabc\r\n",
        "0\r\nContent-Length: 4\r\n\r\n",
        "0\r\nX : 4\r\n\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert!(verdict(&request).is_err(), "{chunks:?} passed");
    }
}

#[test]
fn a_head_is_bounded_over_all_its_lines_and_each_request_has_its_own_bound() {
    let header = format!("X: {}\r\n", "a".repeat(1_000));
    let fits = format!("GET / HTTP/1.1\r\n{}\r\n", header.repeat(7));
    let bomb = format!("GET / HTTP/1.1\r\n{}\r\n", header.repeat(9));

    assert_eq!(verdict(&fits.repeat(5)), Ok(Open::Nothing));
    assert!(verdict(&bomb).is_err());
    assert!(verdict(&"a".repeat(9_000)).is_err());
}

#[test]
fn trailers_share_one_bound() {
    let trailer = format!("X: {}\r\n", "a".repeat(1_000));
    let request =
        format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}\r\n", trailer.repeat(9));

    assert!(verdict(&request).is_err());
}

#[test]
fn it_is_told_whether_a_head_or_a_body_broke_a_rule() {
    for (request, in_body) in [
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", false),
        ("GET / HTTP/9.9\r\n\r\n", false),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n", true),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", true),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n", true),
    ] {
        let mut scanner = Scanner::new(8_192);

        assert!(scanner.scan(request.as_bytes()).is_err(), "{request:?}");

        assert_eq!(scanner.lost_in_body(), in_body, "{request:?}");
    }
}
