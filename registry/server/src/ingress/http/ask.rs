//! One call on its way to an answer: who asks, what for, with which parameters.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    RequestPartsExt,
    extract::{FromRequest, RawPathParams, Request},
    http::{HeaderMap, Method, StatusCode, Uri, header},
};
use bytes::Bytes;
use landbridge_model::{InstanceKey, ServiceKey};
use landbridge_registry_core::{Input, Ticket};
use landbridge_runtime::http::PeerAddress;
use landbridge_wire::nacos::http::Parameters;

use super::{
    reply::{Answer, Said},
    routes::Route,
};
use crate::{
    auth::Principal,
    ingress::status::{self, OWNED, Refused},
    member::Shared,
    metrics,
    orders::Answered,
    window::Face,
};

/// The content type of forms; another body is no parameters.
const FORM: &str = "application/x-www-form-urlencoded";

/// One call.
pub(super) struct Ask {
    pub(super) shared: Arc<Shared>,
    pub(super) route: &'static Route,
    pub(super) asked: Parameters,
    /// A body that is no form.
    pub(super) body: Bytes,
    /// The call as it came, for whoever else answers it.
    pub(super) whole: Whole,
    pub(super) headers: HeaderMap,
    /// The socket address of the caller, if it speaks over a socket.
    pub(super) caller: Option<SocketAddr>,
    /// Who that is; nobody before the door let it in.
    pub(super) principal: Principal,
}

impl Ask {
    /// Reads parameters from query, form and path.
    pub(super) async fn read(
        shared: Arc<Shared>,
        route: &'static Route,
        request: Request,
    ) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let caller = parts.extensions.get::<PeerAddress>().map(|PeerAddress(address)| *address);
        let mut captured = Vec::new();
        if route.path.contains('{') {
            let found = parts.extract::<RawPathParams>().await;
            let found = found.map_err(|error| Refused::invalid(error.to_string()))?;
            captured.extend(found.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let headers = std::mem::take(&mut parts.headers);
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let request = Request::from_parts(parts, body);
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = Bytes::from_request(request, &()).await.map_err(|error| {
            Refused::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                landbridge_wire::nacos::codes::RESULT_PARAMETER_INVALID,
                error.to_string(),
            )
        })?;
        let whole = Whole { method, uri, body: body.clone() };
        let is_form = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with(FORM));
        let (form, body) = if is_form { (body, Bytes::new()) } else { (Bytes::new(), body) };
        let mut asked = Parameters::read(&query, &form).map_err(|refusal| Refused::unread(&refusal))?;
        for (name, value) in captured {
            asked = asked.with(&name, &value);
        }
        Ok(Self { shared, route, asked, body, whole, headers, caller, principal: Principal::Anyone })
    }

    /// Whether the caller may change what is registered under this key; another user's instance is not its own.
    pub(super) fn owns(&self, service: &ServiceKey, key: &InstanceKey) -> Result<(), Refused> {
        if self.shared.may_change(&self.principal, service, key) {
            return Ok(());
        }
        metrics::denied("http", "owner");
        Err(Refused::denied(OWNED))
    }

    /// The service that is meant.
    pub(super) fn service(&self) -> Result<ServiceKey, Refused> {
        self.asked.service().map_err(|refusal| Refused::unread(&refusal))
    }

    /// What is shown of it; before READY a question is refused, never answered with less than there is.
    pub(super) fn face(&self, service: &ServiceKey) -> Result<Arc<Face>, Refused> {
        self.ready()?;
        Ok(self.shared.window.face(service))
    }

    /// Refuses questions before READY.
    pub(super) fn ready(&self) -> Result<(), Refused> {
        if self.shared.state.answers() { Ok(()) } else { Err(status::starting()) }
    }

    /// Asks the core or Raft to write, and waits.
    pub(super) async fn write(&self, order: impl FnOnce(Ticket) -> Input) -> Result<Answered, Refused> {
        self.shared.orders.ask(order).await.map_err(|failed| status::http(&failed))
    }

    /// Writes, and says ok.
    pub(super) async fn written(&self, order: impl FnOnce(Ticket) -> Input) -> Answer {
        self.write(order).await.map(|_| Said::Ok)
    }

    /// A parameter's value, empty when absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.asked.value(&[name]).unwrap_or_default()
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refused> {
        self.asked.required(name).map_err(|refusal| Refused::unread(&refusal))
    }

    /// A flag, or its default.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refused> {
        self.asked.flag(&[name], default).map_err(|refusal| Refused::unread(&refusal))
    }

    /// The page that is asked for, bounded.
    pub(super) fn page(&self, size_default: usize) -> Result<Page, Refused> {
        let number = |name| self.asked.number::<usize>(name).map_err(|refusal| Refused::unread(&refusal));
        let size = number("pageSize")?.unwrap_or(size_default).min(PAGE_SIZE_MAX);
        Ok(Page { number: number("pageNo")?.unwrap_or(1).max(1), size })
    }
}

/// A call as it came.
pub(super) struct Whole {
    pub(super) method: Method,
    /// Below the context path.
    pub(super) uri: Uri,
    pub(super) body: Bytes,
}

/// The most rows of one page; a larger one is cut to it.
const PAGE_SIZE_MAX: usize = 10_000;

/// One page of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) number: usize,
    pub(super) size: usize,
}

impl Page {
    /// The rows of this page.
    pub(super) fn cut<T>(self, rows: Vec<T>) -> Vec<T> {
        let skip = (self.number - 1).saturating_mul(self.size);
        rows.into_iter().skip(skip).take(self.size).collect()
    }

    /// How many pages so many rows make.
    pub(super) fn pages(self, rows: usize) -> usize {
        rows.div_ceil(self.size.max(1))
    }
}
