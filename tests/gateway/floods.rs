//! Callers that want to cost much for little: slow heads, slow bodies, opened and reset streams, heads without an end.
//!
//! Each of them must lose its connection within a bound, and an honest caller must be served all the while.

use std::{net::SocketAddr, time::Duration};

use landbridge_tests::wait::until_async;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{
    endpoint::{Endpoint, Manner},
    frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, connect, farewell, frame},
    house::{House, at, page},
    size::Size,
    smuggling::{before_recorder, send},
};

/// Everything must have lost its connection by then: a slow body may be slow for ten seconds.
const CUT_WITHIN: Duration = Duration::from_secs(45);

/// Slow callers at once.
const SLOW_CALLERS: usize = 100;

/// A slow caller says a little this often.
const DRIP_EVERY: Duration = Duration::from_millis(200);

/// Streams that may be opened and reset in one breath before the connection ends.
const RESETS_MAX: u32 = 20_000;

/// Streams that may be waited for at the endpoint and then reset before the connection ends.
const PATIENT_RESETS_MAX: u32 = 5_000;

/// What may be sent of a head that never ends.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// Slow heads and slow bodies.
pub(crate) fn slow_callers(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (house, recorder) = before_recorder("[connections]\nheader_timeout_ms = 1000\n").await.unwrap();
        let mut slow = JoinSet::new();
        for number in 0..SLOW_CALLERS {
            let head = "GET / HTTP/1.1\r\nHost: web.test\r\n";
            let body = "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1000000\r\n\r\n";
            let (begin, drip) = if number % 2 == 0 { (head, "X: y\r\n") } else { (body, "x") };
            slow.spawn(drips(house.address, begin, drip));
        }
        let mut cut = 0;
        let all = async {
            while let Some(one) = slow.join_next().await {
                one.unwrap();
                cut += 1;
                honest(&house).await;
            }
        };

        let in_time = tokio::time::timeout(CUT_WITHIN, all).await;

        assert!(in_time.is_ok(), "only {cut} of {SLOW_CALLERS} slow callers were cut");
        assert_eq!(recorder.count(), SLOW_CALLERS, "exactly the honest calls have arrived whole");
    });
}

/// Says a little, again and again, until the connection is cut.
async fn drips(address: SocketAddr, begin: &'static str, drip: &'static str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let mut pace = interval(DRIP_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut some = [0; 1_024];
    loop {
        tokio::select! {
            read = stream.read(&mut some) => if matches!(read, Ok(0) | Err(_)) { return },
            _ = pace.tick() => if stream.write_all(drip.as_bytes()).await.is_err() { return },
        }
    }
}

async fn honest(house: &House) {
    let answered =
        send(house.address, b"GET /honest HTTP/1.1\r\nHost: web.test\r\n\r\n", usize::MAX, (1, false)).await;
    assert_eq!(answered.unwrap().statuses, [200], "an honest caller is served meanwhile");
}

/// Streams that are opened and reset in one breath.
pub(crate) fn rapid_reset(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (house, recorder) = before_recorder("").await.unwrap();
        let pair = |number: u32| {
            let stream = number * 2 + 1;
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get("/reset"));
            [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        };

        let (sent, ended) = flood(&house, (0..RESETS_MAX).map(pair)).await;

        println!("rapid reset: the connection ended within {sent} streams, {} arrived", recorder.count());
        assert!(ended, "{RESETS_MAX} streams were opened and reset on one connection");
        honest(&house).await;
    });
}

/// Streams that are reset only when the endpoint has their request, again and again.
pub(crate) fn patient_reset(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut endpoint = Endpoint::start("east/a/1").unwrap();
        endpoint.behave(Manner::Silent).unwrap();
        let house = House::open(&page(&[at(endpoint.address, "east", "a")], "")).await.unwrap();
        let (mut reading, mut writing) = connect(house.address).await.unwrap().into_split();
        let ended = tokio::spawn(async move { farewell(&mut reading).await });
        let mut sent = 0_u32;
        while sent < PATIENT_RESETS_MAX && !ended.is_finished() {
            let stream = sent * 2 + 1;
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, &call("POST", "/reset"));
            if writing.write_all(&open).await.is_err() {
                break;
            }
            sent += 1;
            until_async(
                "the endpoint has the request, or the connection has ended",
                CUT_WITHIN,
                async || {
                    let seen = endpoint.seen().unwrap() >= u64::from(sent);
                    (seen || ended.is_finished()).then_some(())
                },
            )
            .await;
            let _ = writing.write_all(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
        }

        println!("patient reset: the connection ended within {sent} streams");
        assert!(
            sent < PATIENT_RESETS_MAX,
            "{sent} streams were opened, waited for and reset on one connection"
        );
    });
}

/// A head that goes on and on.
pub(crate) fn continuation_flood(_: &Size) {
    const BLOCK_BYTES: usize = 16_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (house, recorder) = before_recorder("").await.unwrap();
        let more = frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(BLOCK_BYTES))]));
        let begin = frame(HEADERS, END_STREAM, 1, &get("/flood"));
        let whole = [begin].into_iter().chain((0..HEAD_BYTES_MAX / BLOCK_BYTES).map(|_| more.clone()));

        let (sent, ended) = flood(&house, whole).await;

        println!("CONTINUATION flood: the connection ended within {} kB", sent * BLOCK_BYTES / 1_000);
        assert!(ended, "{HEAD_BYTES_MAX} bytes of one head were taken");
        assert_eq!(recorder.count(), 0);
        honest(&house).await;
    });
}

/// The same in the smallest frames there are: each holds nothing.
pub(crate) fn empty_continuation_flood(_: &Size) {
    const FRAMES_MAX: usize = 100_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (house, recorder) = before_recorder("").await.unwrap();
        let begin = frame(HEADERS, END_STREAM, 1, &get("/flood"));
        let whole = [begin].into_iter().chain((0..FRAMES_MAX).map(|_| frame(CONTINUATION, 0, 1, &[])));

        let (sent, ended) = flood(&house, whole).await;

        println!("flood of empty CONTINUATIONs: the connection ended within {sent} frames");
        assert!(ended, "{FRAMES_MAX} empty frames of one head were taken");
        assert_eq!(recorder.count(), 0);
        honest(&house).await;
    });
}

fn get(path: &str) -> Vec<u8> {
    call("GET", path)
}

fn call(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "web.test")])
}

/// Writes pieces until all are written or the gateway has had enough; tells how many, and whether it had.
async fn flood(house: &House, pieces: impl Iterator<Item = Vec<u8>>) -> (usize, bool) {
    let (mut reading, mut writing): (OwnedReadHalf, OwnedWriteHalf) =
        connect(house.address).await.unwrap().into_split();
    let ended = tokio::spawn(async move { farewell(&mut reading).await });
    let mut sent = 0;
    for piece in pieces {
        if ended.is_finished() || writing.write_all(&piece).await.is_err() {
            return (sent, true);
        }
        sent += 1;
    }
    (sent, tokio::time::timeout(CUT_WITHIN, ended).await.is_ok())
}
