//! Says of each read that shows something of the region's decisions how old that may be, and reads all of them where that is
//! asked.
//!
//! What clients vouch for themselves is shown as this member knows it, whatever is asked; only what Raft decides has one order.
//! Invariant: nobody is waited for before the caller was let in, and at most [`FENCES_MAX`] wait at once.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::status::{self, Refused};
use crate::{member::Shared, metrics};

/// What is asked for, and what was given: `local` or `linearizable`.
const CONSISTENCY: &str = "landbridge-consistency";

/// How old what is shown of the region's decisions may be, in milliseconds; `unknown` where no leader was ever heard.
const STALENESS: &str = "landbridge-staleness-ms";

/// The most linearizable reads that wait at once; one more is refused with 503.
const FENCES_MAX: usize = 1_024;

/// Said to that one.
const TOO_MANY: &str = "too many linearizable reads wait: try again, or read locally";

/// What a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// What is here.
    Local,
    /// Everything that was decided before the question, or a refusal.
    Linearizable,
}

impl Wish {
    fn read(headers: &HeaderMap) -> Result<Self, Refused> {
        match headers.get(CONSISTENCY).map(HeaderValue::as_bytes) {
            None | Some(b"local") => Ok(Self::Local),
            Some(b"linearizable") => Ok(Self::Linearizable),
            Some(_) => Err(Refused::invalid(format!("{CONSISTENCY}: write local or linearizable"))),
        }
    }
}

/// The places of linearizable reads that wait.
pub(crate) struct Fences(Semaphore);

impl Default for Fences {
    fn default() -> Self {
        Self(Semaphore::new(FENCES_MAX))
    }
}

/// How fresh an answer is.
#[derive(Debug)]
pub(crate) struct Freshness {
    consistency: HeaderValue,
    staleness: HeaderValue,
}

impl Freshness {
    /// As a read that waits for nobody is.
    fn local(shared: &Shared) -> Self {
        let staleness = shared.state.staleness_ms(shared.clock.now());
        Self {
            consistency: HeaderValue::from_static("local"),
            staleness: staleness.map_or(HeaderValue::from_static("unknown"), HeaderValue::from),
        }
    }

    /// As the reader wishes it, or why that cannot be. Whoever calls this has let the reader in.
    pub(crate) async fn wished(shared: &Shared, headers: &HeaderMap) -> Result<Self, Refused> {
        match Wish::read(headers)? {
            Wish::Local => Ok(Self::local(shared)),
            Wish::Linearizable => {
                fence(shared).await?;
                let consistency = HeaderValue::from_static("linearizable");
                Ok(Self { consistency, staleness: HeaderValue::from(0) })
            }
        }
    }

    /// Says it on an answer.
    pub(crate) fn stamp(self, response: &mut Response) {
        response.headers_mut().insert(CONSISTENCY, self.consistency);
        response.headers_mut().insert(STALENESS, self.staleness);
    }
}

/// Says on the answer of a read over gRPC how old it may be; it is always local.
pub(crate) fn note(shared: &Shared, metadata: &mut MetadataMap) {
    let staleness = shared.state.staleness_ms(shared.clock.now());
    let told: MetadataValue<Ascii> =
        staleness.map_or(MetadataValue::from_static("unknown"), MetadataValue::from);
    metadata.insert(CONSISTENCY, MetadataValue::from_static("local"));
    metadata.insert(STALENESS, told);
}

/// Answers the reads of operators' routes that show decisions as fresh as they wish; writes pass.
pub(crate) async fn tell(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    match Freshness::wished(&shared, request.headers()).await {
        Ok(freshness) => {
            let mut response = next.run(request).await;
            freshness.stamp(&mut response);
            response
        }
        Err(refused) => (refused.status, refused.text).into_response(),
    }
}

/// Waits until this member shows what had been decided before, if the region decides; whoever goes on to write is told if not.
pub(crate) async fn catch_up(shared: &Shared) {
    let _ = fence(shared).await;
}

/// Waits until this member shows everything that anybody had been answered before.
async fn fence(shared: &Shared) -> Result<(), Refused> {
    let Ok(_place) = shared.state.fences.0.try_acquire() else {
        metrics::refused("linearizable_reads");
        return Err(status::unavailable(TOO_MANY));
    };
    shared.store.read_index().await.map_err(|error| status::unavailable(&error.to_string()))?;
    let seen = shared.orders.seen().await.map(drop);
    seen.map_err(|_| status::unavailable("this member takes no orders at the moment"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn a_reader_is_taken_at_its_word_and_no_other() {
        let wish = |word: &'static str| {
            Wish::read(&HeaderMap::from_iter([(
                HeaderName::from_static(CONSISTENCY),
                HeaderValue::from_static(word),
            )]))
        };

        assert_eq!(Wish::read(&HeaderMap::new()), Ok(Wish::Local));
        assert_eq!((wish("local"), wish("linearizable")), (Ok(Wish::Local), Ok(Wish::Linearizable)));
        assert!(wish("strong").is_err_and(|refused| refused.text.contains("local or linearizable")));
    }

    #[test]
    fn no_more_reads_wait_than_the_bound() {
        let fences = Fences::default();

        let waiting: Vec<_> = (0..FENCES_MAX).map(|_| fences.0.try_acquire()).collect();

        assert!(waiting.iter().all(Result::is_ok));
        assert!(fences.0.try_acquire().is_err());
    }
}
