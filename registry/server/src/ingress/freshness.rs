//! Says of each read over HTTP how old what it shows of the region's decisions may be, and reads all of them where that is asked.
//!
//! What clients vouch for themselves is shown as this member knows it, whatever is asked; only what Raft decides has one order.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::member::Shared;

/// What is asked for, and what was given: `local` or `linearizable`.
const CONSISTENCY: HeaderName = HeaderName::from_static("landbridge-consistency");

/// How old what is shown of the region's decisions may be, in milliseconds; `unknown` where no leader was ever heard.
const STALENESS: HeaderName = HeaderName::from_static("landbridge-staleness-ms");

/// What a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// What is here.
    Local,
    /// Everything that was decided before the question, or a refusal.
    Linearizable,
}

impl Wish {
    fn read(headers: &HeaderMap) -> Result<Self, String> {
        match headers.get(&CONSISTENCY).map(HeaderValue::as_bytes) {
            None | Some(b"local") => Ok(Self::Local),
            Some(b"linearizable") => Ok(Self::Linearizable),
            Some(_) => Err(format!("{CONSISTENCY}: write local or linearizable")),
        }
    }
}

/// Answers reads as fresh as they wish, and says how fresh they are; writes pass.
pub(crate) async fn tell(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (consistency, staleness) = match Wish::read(request.headers()) {
        Ok(Wish::Local) => {
            let staleness = shared.state.staleness_ms(shared.clock.now());
            let told = staleness.map_or(HeaderValue::from_static("unknown"), HeaderValue::from);
            (HeaderValue::from_static("local"), told)
        }
        Ok(Wish::Linearizable) => {
            if let Err(why) = fence(&shared).await {
                return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
            }
            (HeaderValue::from_static("linearizable"), HeaderValue::from(0))
        }
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONSISTENCY, consistency);
    response.headers_mut().insert(STALENESS, staleness);
    response
}

/// Waits until this member shows everything that anybody had been answered before.
async fn fence(shared: &Shared) -> Result<(), String> {
    shared.store.read_index().await.map_err(|error| error.to_string())?;
    shared.orders.seen().await.map(drop).map_err(|_| "this member takes no orders at the moment".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_taken_at_its_word_and_no_other() {
        let wish = |word: &'static str| {
            Wish::read(&HeaderMap::from_iter([(CONSISTENCY, HeaderValue::from_static(word))]))
        };

        assert_eq!(Wish::read(&HeaderMap::new()), Ok(Wish::Local));
        assert_eq!((wish("local"), wish("linearizable")), (Ok(Wish::Local), Ok(Wish::Linearizable)));
        assert!(wish("strong").is_err_and(|why| why.contains("local or linearizable")));
    }
}
