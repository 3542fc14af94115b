//! Words of gateways as they are written, and the port's side of an exchange.

use std::{collections::BTreeMap, convert::Infallible, rc::Rc};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Response, StatusCode};
use landbridge_gateway_core::Word;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tower::{Service, service_fn};

use super::Told;
use crate::{answer::Outgoing, layers::Arrived, local::Local, seat::OpenCall};

/// Where words are told.
pub(super) const PATH: &str = "https://gateway/landbridge/v1/limits";

/// A longer word is not read.
pub(super) const WORD_BYTES_MAX: usize = 1 << 20;

/// A word as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    from: String,
    life: u64,
    round: u64,
    alone: bool,
    demands: BTreeMap<String, f64>,
}

pub(super) fn write(word: &Word) -> Bytes {
    let demands = word.demands.iter().map(|(key, demand)| (key.to_string(), *demand)).collect();
    let (from, life, round, alone) = (word.from.to_string(), word.life, word.round, word.alone);
    let written = serde_json::to_vec(&Page { from, life, round, alone, demands });
    written.expect("texts and numbers can be written").into()
}

pub(super) fn read(written: &[u8]) -> Result<Word, String> {
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
                Err((status, why)) => (status, Bytes::from_static(why.as_bytes())),
            };
            call.answer();
            let mut response = Response::new(Outgoing::text(text).ending(call, None));
            *response.status_mut() = status;
            Ok(response)
        }
    })
}

async fn heard(local: &Local, arrived: Arrived) -> Result<Word, (StatusCode, &'static str)> {
    let body = to_bytes(Body::new(arrived.request.into_body()), WORD_BYTES_MAX).await;
    let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "the word is too long"))?;
    let word = read(&body).map_err(|_| (StatusCode::BAD_REQUEST, "that is no word"))?;
    let (answer, answered) = oneshot::channel();
    let busy = (StatusCode::SERVICE_UNAVAILABLE, "nobody listens");
    local.shared.words.try_send(Told { word, answer }).map_err(|_| busy)?;
    answered.await.map_err(|_| busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_written_and_nonsense_is_refused() {
        let demands = [("service/10/10/ a".into(), 2.5)].into();
        let word = Word { from: "10.0.0.1:80".into(), life: u64::MAX, round: 3, alone: true, demands };

        assert_eq!(read(&write(&word)), Ok(word));
        assert!(read(b"{}").is_err() && read(b"\xff").is_err());
    }
}
