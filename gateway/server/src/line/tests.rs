//! Answers of endpoints that keep the rules, that break them, and that end too early.

use std::{cell::RefCell, time::Duration};

use http_body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use super::*;

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a call gave.
struct Called {
    head: Response<()>,
    body: Vec<u8>,
    line: Option<Line>,
    /// The endpoint's side, if it did not close.
    _open: Option<TcpStream>,
}

/// Calls an endpoint that says `answer`, and then closes or not.
async fn call(method: Method, answer: &[u8], closes: bool) -> Result<Called, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.to_vec();
    let endpoint = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0);
        }
        // Piece by piece: where the pieces end must not matter.
        for piece in answer.chunks(7.max(answer.len() / 100)) {
            // A caller that cannot use the answer leaves before its end.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        ((!closes).then_some(stream), String::from_utf8(read).unwrap())
    });
    let line = Line::new(TcpStream::connect(address).await.unwrap());
    let request = Request::builder().method(method).uri("/a?b=c").header("host", "x").header("x-own", "1");
    let room = RefCell::new(vec![0; ROOM_BYTES]);
    let request = request.body(Payload::Empty).unwrap();
    let answered = timeout(PATIENCE, line.exchange(&request, &room)).await.unwrap();
    let (head, body) = answered.map_err(|mute| format!("{mute:?}"))?.into_parts();
    let (mut body, mut read) = (Arriving::Line(body), Vec::new());
    while let Some(frame) = timeout(PATIENCE, poll_fn(|cx| body.poll_frame(cx))).await.unwrap() {
        let data = frame.map(Frame::into_data).map_err(|error| error.to_string())?;
        read.extend_from_slice(&data.unwrap_or_default());
    }
    let (_open, asked) = timeout(PATIENCE, endpoint).await.unwrap().unwrap();
    assert!(asked.ends_with(" /a?b=c HTTP/1.1\r\nhost: x\r\nx-own: 1\r\n\r\n"), "{asked}");
    Ok(Called { head: Response::from_parts(head, ()), body: read, line: body.take_line(), _open })
}

#[tokio::test]
async fn a_line_is_used_again_after_an_answer_that_ended() {
    for (answer, body) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..], &b"hello"[..]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n1", b"1"),
    ] {
        let called = call(Method::GET, answer, false).await.unwrap();

        assert_eq!(called.body, body);
        assert!(called.line.is_some_and(|line| line.is_quiet()), "{:?}", String::from_utf8_lossy(answer));
    }
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
    let called = call(Method::HEAD, head, false).await.unwrap();
    assert_eq!(
        (&called.head.headers()["content-length"], &called.body[..]),
        (&"9".parse().unwrap(), &b""[..])
    );
    assert!(called.line.is_some_and(|line| line.is_quiet()));
}

#[tokio::test]
async fn a_line_is_not_used_again_if_its_endpoint_does_not_want_it_or_said_more() {
    for (answer, body) in [
        (&b"HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nhi"[..], &b"hi"[..]),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi!", b"hi"),
        (b"HTTP/1.1 204 None\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nx", b""),
    ] {
        let called = call(Method::GET, answer, false).await.unwrap();

        assert_eq!(called.body, body);
        if let Some(line) = called.line {
            // What is too much may come later than what is not.
            timeout(PATIENCE, line.stream.readable()).await.unwrap().unwrap();
            assert!(!line.is_quiet(), "{:?}", String::from_utf8_lossy(answer));
        }
    }
    let called = call(Method::GET, b"HTTP/1.1 200 OK\r\n\r\nall there is", true).await.unwrap();
    assert_eq!(called.body, b"all there is");
    assert!(called.line.is_none());
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_none() {
    for head in [
        "content-length: 2\r\ntransfer-encoding: chunked",
        "content-length: 2\r\ncontent-length: 2",
        "content-length: +2",
        "content-length:",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "x y: 1",
        "content-length: 2\r\n folded: 1",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n0\r\n\r\n");
        let heard = call(Method::GET, answer.as_bytes(), true).await;

        assert_eq!(heard.err().unwrap(), "Broken", "{head}");
    }
    let switched = call(Method::GET, b"HTTP/1.1 101 Switching\r\n\r\n", true).await;
    assert_eq!(switched.err().unwrap(), "Broken");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_told_from_one_that_never_came() {
    let early = call(Method::GET, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", true).await;
    assert_eq!(early.err().unwrap(), "it ended early");
    let chunked =
        call(Method::GET, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhell", true).await;
    assert_eq!(chunked.err().unwrap(), "it ended early");
    assert_eq!(call(Method::GET, b"HTTP/1.1 200", true).await.err().unwrap(), "Broken");
    assert_eq!(call(Method::GET, b"", true).await.err().unwrap(), "Closed");
}

#[tokio::test]
async fn a_body_longer_than_every_room_comes_whole() {
    let body: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let answer =
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();

    let called = call(Method::GET, &answer, false).await.unwrap();

    assert!(called.body == body && called.line.is_some());
}
