//! Sends every hostile case through a gateway to a recorder and compares what was seen on both sides.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use landbridge_tests::wait::until_async;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    bounds::must,
    frames,
    hostile::{self, Arriving, Case, Expected},
    hostile2,
    house::{House, at, page},
    recorder::{Noted, Recorder},
    size::Size,
};

/// Nothing is waited for longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The set must hold at least so many cases, and refuse so many of them.
const CASES_MIN: usize = 44;
const REFUSED_MIN: usize = 34;

/// Each case is sent twice: whole, and in pieces so short that no line comes at once.
const PIECE_BYTES: usize = 3;

/// Pieces are so short only up to here; the rest of a long case comes whole.
const PIECES_MAX: usize = 200;

/// A gateway before a recorder.
pub(crate) async fn before_recorder(more: &str) -> Result<(House, Recorder)> {
    let recorder = Recorder::start().await?;
    let house = House::open(&page(&[at(recorder.address, "east", "a")], more)).await?;
    Ok((house, recorder))
}

/// What the caller saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) statuses: Vec<u16>,
    pub(crate) closed: bool,
}

/// Plays the set of HTTP/1.
pub(crate) fn over_http1(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (refused, wrong) = runtime.block_on(async {
        let (house, recorder) = before_recorder("").await.unwrap();
        let (mut refused, mut wrong) = (0, Vec::new());
        for (number, case) in hostile::cases().iter().enumerate() {
            let expected = match case.expected {
                Expected::Refused => (1, true),
                Expected::Denied => (1, false),
                Expected::Passed(arriving) => (arriving.len(), false),
            };
            refused += usize::from(!matches!(case.expected, Expected::Passed(_)));
            for piece in [usize::MAX, PIECE_BYTES] {
                let answered = send(house.address, &case.bytes, piece, expected).await;
                let seen = settled(&house, &recorder, number).await;
                let told = judge(case, &answered, &seen);
                wrong.extend(told.map(|why| format!("{}, in pieces of {piece}: {why}", case.name)));
            }
        }
        (refused, wrong)
    });
    let cases = hostile::cases().len();
    println!(
        "smuggling over HTTP/1: {cases} cases, {refused} to be refused, {} unsafe or otherwise wrong",
        wrong.len()
    );
    must("smuggling over HTTP/1, unsafe or otherwise wrong: 0", wrong.len(), wrong.is_empty());
    let refuses = format!("smuggling over HTTP/1, refused: at least {REFUSED_MIN}");
    must(&refuses, format!("{refused} of {cases}"), wrong.is_empty() && refused >= REFUSED_MIN);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases >= CASES_MIN && refused >= REFUSED_MIN, "the set has shrunk");
}

/// Plays the set of HTTP/2: every case is refused.
pub(crate) fn over_http2(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases = hostile2::cases();
    let wrong = runtime.block_on(async {
        let (house, recorder) = before_recorder("").await.unwrap();
        let mut wrong = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let answered = frames::verdict(house.address, &case.frames).await;
            let seen = settled(&house, &recorder, number).await;
            let passed = matches!(answered, Ok(frames::Verdict::Passed));
            let right = answered.is_ok() && passed == case.passes && seen.len() == usize::from(case.passes);
            if !right {
                wrong.push(format!("{}: {answered:?}, arrived: {seen:?}", case.name));
            }
        }
        wrong
    });
    println!("smuggling over HTTP/2: {} cases, {} unsafe or otherwise wrong", cases.len(), wrong.len());
    must("smuggling over HTTP/2, unsafe or otherwise wrong: 0", wrong.len(), wrong.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What has arrived, once a request sent after all has arrived too.
async fn settled(house: &House, recorder: &Recorder, number: usize) -> Vec<Noted> {
    let target = format!("/settled-{number}");
    let last = format!("GET {target} HTTP/1.1\r\nHost: web.test\r\n\r\n");
    let answered = send(house.address, last.as_bytes(), usize::MAX, (1, false)).await;
    assert!(answered.is_ok_and(|answered| answered.statuses == [200]), "the gateway serves no more");
    let line = format!("GET {target} HTTP/1.1");
    until_async("the last request has arrived", PATIENCE, async || recorder.take_after(&line)).await
}

fn judge(case: &Case, answered: &Result<Answered>, seen: &[Noted]) -> Option<String> {
    let answered = match answered {
        Ok(answered) => answered,
        Err(why) => return Some(format!("{why:#}, arrived: {seen:?}")),
    };
    let told = || Some(format!("answered {answered:?}, arrived: {seen:?}"));
    let good = match case.expected {
        Expected::Refused | Expected::Denied => {
            let no = answered.statuses.iter().all(|status| *status >= 400);
            no && seen.is_empty()
        }
        Expected::Passed(arriving) => {
            let well =
                answered.statuses.len() == arriving.len() && answered.statuses.iter().all(|s| *s == 200);
            well && seen.len() == arriving.len()
                && seen.iter().zip(arriving).all(|(seen, want)| is(seen, want))
        }
    };
    if good { None } else { told() }
}

fn is(seen: &Noted, want: &Arriving) -> bool {
    let Noted::Request { line, headers, body } = seen else { return false };
    let head = headers.join("\n").to_ascii_lowercase();
    let kept = ["x-forwarded-for: 127.0.0.1", "via: "].iter().all(|ours| head.contains(ours));
    let gone = want.without.iter().all(|gone| !head.contains(gone));
    line == want.line && body == want.body.as_bytes() && kept && gone
}

/// Sends bytes and reads so many answers; waits for the end of the connection too if one is due.
pub(crate) async fn send(
    address: SocketAddr,
    bytes: &[u8],
    piece: usize,
    (answers, ends): (usize, bool),
) -> Result<Answered> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let talk = async {
        // A gateway that has heard enough may close before it has read all.
        let (short, rest) = bytes.split_at(bytes.len().min(piece.saturating_mul(PIECES_MAX)));
        for piece in short.chunks(piece).chain([rest]) {
            let _ = stream.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let (mut read, mut answered) = (Vec::new(), Answered { statuses: Vec::new(), closed: false });
        loop {
            while let Some((status, taken)) = answer(&read)? {
                read.drain(..taken);
                answered.statuses.extend((status >= 200).then_some(status));
            }
            if answered.closed || (answered.statuses.len() >= answers && !ends) {
                return anyhow::Ok(answered);
            }
            answered.closed = stream.read_buf(&mut read).await.unwrap_or(0) == 0;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, talk).await.context("neither answered nor closed")??;
    ensure!(!ends || answered.closed, "the connection goes on");
    Ok(answered)
}

/// The status of a whole answer at the start of the bytes, and how long it is.
fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
    let status: u16 = head.split(' ').nth(1).context("a status")?.parse()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(Ok(0), str::parse)?;
    Ok((bytes.len() >= end + 4 + length).then_some((status, end + 4 + length)))
}
