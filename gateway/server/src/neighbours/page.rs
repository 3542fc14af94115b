//! Words of gateways as they are written, and the port's side of an exchange.

use std::{collections::BTreeMap, convert::Infallible, rc::Rc};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use landbridge_gateway_core::Word;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tower::{Service, service_fn};

use super::Told;
use crate::{answer::Outgoing, layers::Arrived, local::Local, seat::OpenCall};

/// Where words are told.
pub(super) const PATH: &str = "https://gateway/landbridge/v1/limits";

/// The same as its door sees it.
const DOOR: &str = "/landbridge/v1/limits";

/// A longer word is not read.
pub(super) const WORD_BYTES_MAX: usize = 1 << 20;

/// What all demands of a word may take, written; the rest of it is a name and three numbers.
pub(super) const DEMANDS_BYTES_MAX: usize = WORD_BYTES_MAX - 4_096;

/// What a demand takes besides its key: the longest number, and marks.
const DEMAND_BYTES: usize = 32;

/// The version of words that is spoken. Fields may be added to it: who does not know them passes over them.
const VERSION: u32 = 1;

/// What is looked at before all else.
#[derive(Deserialize)]
struct Begin {
    version: u32,
}

/// A word as it is written.
#[derive(Serialize, Deserialize)]
struct Page {
    version: u32,
    from: String,
    life: u64,
    round: u64,
    alone: bool,
    demands: BTreeMap<String, f64>,
}

pub(super) fn write(word: &Word) -> Bytes {
    let demands = word.demands.iter().map(|(key, demand)| (key.to_string(), *demand)).collect();
    let (from, life, round, alone) = (word.from.to_string(), word.life, word.round, word.alone);
    let written = serde_json::to_vec(&Page { version: VERSION, from, life, round, alone, demands });
    written.expect("texts and numbers can be written").into()
}

/// What a demand takes in a word.
pub(super) fn bytes_of(key: &str) -> usize {
    let written = serde_json::to_string(key).expect("a text can be written");
    written.len() + DEMAND_BYTES
}

pub(super) fn read(written: &[u8]) -> Result<Word, String> {
    let begin: Begin = serde_json::from_slice(written).map_err(|error| error.to_string())?;
    if begin.version != VERSION {
        return Err(format!("version {} of words is not spoken here, {VERSION} is", begin.version));
    }
    let page: Page = serde_json::from_slice(written).map_err(|error| error.to_string())?;
    let demands = page.demands.into_iter().map(|(key, demand)| (key.into(), demand)).collect();
    Ok(Word { from: page.from.into(), life: page.life, round: page.round, alone: page.alone, demands })
}

/// What a connection of a neighbour is answered with: the word of this gateway, once it took note of the neighbour's.
pub(crate) fn answering(
    local: &Rc<Local>,
) -> impl Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static
{
    let local = local.clone();
    service_fn(move |arrived: Arrived| {
        let local = local.clone();
        async move {
            let mut call = OpenCall::begin(&arrived.peer.seat, &local.beat);
            let (status, text) = match heard(&local, arrived).await {
                Ok(word) => (StatusCode::OK, write(&word)),
                Err((status, why)) => (status, why.into()),
            };
            call.answer();
            let mut response = Response::new(Outgoing::text(text).ending(call, None));
            *response.status_mut() = status;
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Ok(response)
        }
    })
}

/// Why a word is not heard.
type Unheard = (StatusCode, String);

/// There is one door, for telling.
fn at_the_door(method: &Method, path: &str) -> Result<(), Unheard> {
    if path != DOOR {
        return Err((StatusCode::NOT_FOUND, format!("gateways tell each other at {DOOR} only")));
    }
    if *method != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "words are told by POST".to_owned()));
    }
    Ok(())
}

async fn heard(local: &Local, arrived: Arrived) -> Result<Word, Unheard> {
    at_the_door(arrived.request.method(), arrived.request.uri().path())?;
    let body = to_bytes(Body::new(arrived.request.into_body()), WORD_BYTES_MAX).await;
    let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the word is too long".to_owned()))?;
    let word = read(&body).map_err(|why| (StatusCode::BAD_REQUEST, format!("that is no word: {why}")))?;
    let (answer, answered) = oneshot::channel();
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "nobody listens".to_owned());
    local.shared.words.try_send(Told { word, answer }).map_err(|_| busy())?;
    answered.await.map_err(|_| busy())
}

#[cfg(test)]
mod tests {
    use ecow::EcoString;

    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written_and_nonsense_is_refused() {
        let demands = [("service/10/10/ a".into(), 2.5)].into();
        let word = Word { from: "10.0.0.1:80".into(), life: u64::MAX, round: 3, alone: true, demands };

        assert_eq!(read(&write(&word)), Ok(word));
        assert!(read(b"{}").is_err() && read(b"\xff").is_err());
    }

    #[test]
    fn a_word_with_more_in_it_is_read_and_one_of_another_version_is_refused_by_its_number() {
        let word = |version: u32| {
            let written = format!(
                r#"{{"version":{version},"from":"a","life":1,"round":2,"alone":false,"demands":{{}},"mood":["new"]}}"#
            );
            read(written.as_bytes())
        };

        assert_eq!(word(1).map(|word| word.round), Ok(2));
        assert!(word(2).unwrap_err().contains("version 2"));
        assert!(read(br#"{"version":7}"#).unwrap_err().contains("version 7"), "before what else is wrong");
    }

    #[test]
    fn words_are_told_at_one_door_in_one_way() {
        let status = |method: Method, path: &str| at_the_door(&method, path).map_err(|(status, _)| status);

        assert_eq!(status(Method::POST, DOOR), Ok(()));
        assert_eq!(status(Method::GET, DOOR), Err(StatusCode::METHOD_NOT_ALLOWED));
        assert_eq!(status(Method::POST, "/landbridge/v2/limits"), Err(StatusCode::NOT_FOUND));
        assert!(PATH.ends_with(DOOR));
    }

    #[test]
    fn demands_within_their_bound_make_a_word_that_is_read() {
        let key = |number: usize| EcoString::from(format!("\u{1}\"{number:05}{}", "k".repeat(990)));
        let mut left = DEMANDS_BYTES_MAX;
        let fitting = (0..).map(key).take_while(|key| {
            let fits = bytes_of(key) <= left;
            left = left.saturating_sub(bytes_of(key));
            fits
        });
        let demands: landbridge_gateway_core::Demands = fitting.map(|key| (key, 1.0 / 3.0)).collect();
        assert!(demands.len() > 900);
        let word =
            Word { from: "f".repeat(200).into(), life: u64::MAX, round: u64::MAX, alone: false, demands };

        assert!(write(&word).len() <= WORD_BYTES_MAX, "{}", write(&word).len());
    }
}
