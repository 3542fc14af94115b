//! Config calls over HTTP: passed as they came, answered as they come back.

use axum::{
    body::Body,
    http::{Error, HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};

use super::{CREDENTIAL_HEADERS, CREDENTIAL_PARAMETERS, Missed, Upstream, counted};

/// What belongs to one connection and not to the call (RFC 9110, 7.6.1), and what is written anew.
const OF_THE_CONNECTION: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
];

/// How long a client lets its question for changes hang, in milliseconds.
const HANG: &str = "long-pulling-timeout";

/// How much sooner than ours ends a hanging question is to be answered.
const HANG_MARGIN_MS: u64 = 1_000;

const FORM: &str = "application/x-www-form-urlencoded";

/// One call as it came.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a Method,
    /// With the context path and the query.
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) caller: Option<std::net::SocketAddr>,
}

impl Upstream {
    /// Passes a call, and gives back what the upstream answers. Only a server that took no connection is left for the next:
    /// whoever took a call may have carried it out.
    pub(crate) async fn pass(&self, call: Call<'_>) -> Result<Response<Body>, Missed> {
        let passing = tokio::time::timeout(self.answer, self.ask(&call)).await;
        counted("http", passing.unwrap_or(Err(Missed::Slow)))
    }

    async fn ask(&self, call: &Call<'_>) -> Result<Response<Body>, Missed> {
        let turn = call.caller.map_or(0, |caller| usize::from(caller.port()));
        let mut why = "none is configured".to_owned();
        for (host, port) in self.servers(turn) {
            let request = self
                .readdressed(call, host, *port)
                .map_err(|error| Missed::Unreachable(error.to_string()))?;
            match self.client.request(request).await {
                Ok(answer) => return self.answer(answer).await,
                Err(error) if error.is_connect() => why = format!("{host}:{port} takes no connection"),
                Err(error) => return Err(Missed::Unreachable(format!("{host}:{port}: {error}"))),
            }
        }
        Err(Missed::Unreachable(why))
    }

    /// The call as this server gets it.
    fn readdressed(&self, call: &Call<'_>, host: &str, port: u16) -> Result<Request<Full<Bytes>>, Error> {
        let query = call.uri.query().map(|query| self.stripped(query)).filter(|query| !query.is_empty());
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("http://{host}:{port}{}{query}", call.uri.path()))
            .body(Full::new(self.body(call)))?;
        let stays = |name: &str| {
            OF_THE_CONNECTION.contains(&name) || (self.strips && CREDENTIAL_HEADERS.contains(&name))
        };
        let passed = call.headers.iter().filter(|(name, _)| !stays(name.as_str()));
        let headers = request.headers_mut();
        for (name, value) in passed {
            headers.append(name.clone(), value.clone());
        }
        // Gray configs are given by address; whoever names none is named by us.
        let from = call.caller.and_then(|caller| HeaderValue::from_str(&caller.ip().to_string()).ok());
        if let Some(from) = from {
            headers.entry("x-forwarded-for").or_insert(from);
        }
        self.shorten(headers);
        Ok(request)
    }

    /// A question that hangs must end before this member gives the call up.
    fn shorten(&self, headers: &mut HeaderMap) {
        let longest = (self.answer.as_millis() as u64).saturating_sub(HANG_MARGIN_MS);
        let wanted = headers.get(HANG).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if wanted.is_some_and(|wanted| wanted > longest) {
            headers.insert(HANG, HeaderValue::from(longest));
        }
    }

    fn body(&self, call: &Call<'_>) -> Bytes {
        let kind =
            call.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form = kind.trim_start().to_ascii_lowercase().starts_with(FORM);
        match std::str::from_utf8(&call.body) {
            Ok(form) if self.strips && is_form => Bytes::from(self.stripped(form)),
            Ok(_) | Err(_) => call.body.clone(),
        }
    }

    /// Parameters without what a caller shows of itself to this region.
    fn stripped(&self, parameters: &str) -> String {
        let kept = parameters.split('&').filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !self.strips || !CREDENTIAL_PARAMETERS.contains(&name)
        });
        kept.collect::<Vec<_>>().join("&")
    }

    async fn answer(&self, answer: Response<hyper::body::Incoming>) -> Result<Response<Body>, Missed> {
        let (mut head, body) = answer.into_parts();
        let body = Limited::new(body, self.answer_bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast::<http_body_util::LengthLimitError>() {
            Ok(_) => Missed::TooLong,
            Err(broken) => Missed::Unreachable(broken.to_string()),
        })?;
        for name in OF_THE_CONNECTION {
            head.headers.remove(name);
        }
        head.version = Version::default();
        head.extensions.clear();
        Ok(Response::from_parts(head, Body::from(body.to_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamConfig;

    fn upstream(strips: bool) -> Upstream {
        let config = UpstreamConfig { servers: vec![("nacos".into(), 8848)], connect_ms: 1_000 };
        Upstream::new(&config, 30_000, 1 << 20, strips)
    }

    #[tokio::test]
    async fn what_a_caller_shows_of_itself_to_this_region_does_not_leave_it() {
        let uri =
            Uri::from_static("/nacos/v1/cs/configs?dataId=a&accessToken=t&group=b&username=u&password=p");
        let mut headers = HeaderMap::new();
        for (name, value) in [("accesstoken", "t"), ("authorization", "Bearer t"), ("notify", "true")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let call =
            Call { method: &Method::GET, uri: &uri, headers: &headers, body: Bytes::new(), caller: None };

        let kept = upstream(false).readdressed(&call, "nacos", 8848).unwrap();
        let stripped = upstream(true).readdressed(&call, "nacos", 8848).unwrap();

        assert_eq!((kept.uri().query(), kept.headers().len()), (uri.query(), 3));
        assert_eq!(stripped.uri().query(), Some("dataId=a&group=b"));
        assert_eq!(
            (stripped.headers().len(), &stripped.headers()["notify"]),
            (1, &HeaderValue::from_static("true"))
        );
    }

    #[tokio::test]
    async fn a_question_that_hangs_ends_before_this_member_gives_it_up() {
        let mut headers = HeaderMap::new();
        headers.insert(HANG, HeaderValue::from_static("45000"));

        upstream(false).shorten(&mut headers);

        assert_eq!(headers[HANG], "29000");
    }
}
