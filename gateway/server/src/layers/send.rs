//! Sends one request on one connection of this core: a waiting one if there is one, else a new one.

use std::{error::Error as _, rc::Rc};

use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, upgrade::Upgraded};
use landbridge_gateway_core::Endpoint;

use crate::{
    dial::{self, Purpose},
    form,
    local::Local,
    payload::{Broken, Payload},
    pool::OneCall,
    upgrade,
    view::{Seen, View},
};

/// One request for one endpoint.
pub(crate) struct Try {
    pub(crate) request: Request<Payload>,
    pub(crate) view: Rc<Seen>,
    pub(crate) service: u32,
    pub(crate) endpoint: u32,
    pub(crate) http2: bool,
}

/// The head of an answer, and the connection its body comes by.
pub(crate) struct Sent {
    pub(crate) response: Response<Incoming>,
    /// An HTTP/1 connection, to be used again after the body.
    pub(crate) connection: Option<OneCall>,
    /// The whole connection, after the endpoint agreed to become a WebSocket.
    pub(crate) upgraded: Option<Upgraded>,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// No byte was sent.
    Unsent(Box<Request<Payload>>),
    /// The connection broke after bytes were sent; `reused` if it had served a call before.
    Broken {
        /// It had waited in the pool.
        reused: bool,
    },
    /// The caller's body broke off.
    Caller,
    /// Another try reads the caller's body by now.
    Superseded,
}

/// The innermost service.
pub(crate) async fn send(local: Rc<Local>, one: Try) -> Result<Sent, Failure> {
    let endpoint = one.view.snapshot.service(one.service).endpoint(one.endpoint);
    let mut request = one.request;
    if upgrade::asks_websocket(request.headers()) {
        form::as_http1(&mut request);
        return send_upgrade(&local, &one.view, endpoint, request).await;
    }
    if one.http2 || endpoint.speech.protocol.is_http2() {
        form::as_http2(&mut request, endpoint);
        return send_http2(&local, &one.view, endpoint, request).await;
    }
    form::as_http1(&mut request);
    while let Some(connection) = local.pool.take(endpoint.state.serial()) {
        match exchange(connection, request, true).await {
            // The server closed it while it waited: nothing was sent, the next one may do.
            Err(Failure::Unsent(unsent)) => request = *unsent,
            other => return other,
        }
    }
    let opened = dial::one(endpoint, &one.view, Purpose::Calls).await;
    local.tally.borrow_mut().opened_upstream();
    match opened {
        Ok(connection) => exchange(connection, request, false).await,
        Err(_) => Err(Failure::Unsent(Box::new(request))),
    }
}

async fn exchange(mut connection: OneCall, request: Request<Payload>, reused: bool) -> Result<Sent, Failure> {
    match connection.try_send_request(request).await {
        // Nobody asked for another protocol: an endpoint that switches is not speaking HTTP any more.
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Failure::Broken { reused: false })
        }
        Ok(response) => Ok(Sent { response, connection: Some(connection), upgraded: None }),
        Err(mut error) => match error.take_message() {
            Some(request) => Err(Failure::Unsent(Box::new(request))),
            None => Err(broken(&error.into_error(), reused)),
        },
    }
}

/// Asks for a WebSocket on a connection of its own; an endpoint that declines answers like any other.
async fn send_upgrade(
    local: &Local,
    view: &View,
    endpoint: &Endpoint,
    request: Request<Payload>,
) -> Result<Sent, Failure> {
    let opened = dial::one(endpoint, view, Purpose::Websocket).await;
    local.tally.borrow_mut().opened_upstream();
    let Ok(mut connection) = opened else { return Err(Failure::Unsent(Box::new(request))) };
    let mut response = match connection.try_send_request(request).await {
        Ok(response) => response,
        Err(mut error) => {
            return Err(match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => broken(&error.into_error(), false),
            });
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Sent { response, connection: Some(connection), upgraded: None });
    }
    if !upgrade::agrees(response.headers()) {
        return Err(Failure::Broken { reused: false });
    }
    match hyper::upgrade::on(&mut response).await {
        Ok(upgraded) => Ok(Sent { response, connection: None, upgraded: Some(upgraded) }),
        Err(error) => Err(broken(&error, false)),
    }
}

async fn send_http2(
    local: &Local,
    view: &View,
    endpoint: &Endpoint,
    mut request: Request<Payload>,
) -> Result<Sent, Failure> {
    let (serial, now) = (endpoint.state.serial(), local.beat.now.get());
    if let Some(mut shared) = local.pool.share(serial, now) {
        match shared.try_send_request(request).await {
            Ok(response) => return Ok(Sent { response, connection: None, upgraded: None }),
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(broken(&error.into_error(), true)),
            },
        }
    }
    let opened = dial::many(endpoint, view).await;
    local.tally.borrow_mut().opened_upstream();
    let Ok(mut connection) = opened else { return Err(Failure::Unsent(Box::new(request))) };
    local.pool.offer(serial, connection.clone(), now);
    match connection.try_send_request(request).await {
        Ok(response) => Ok(Sent { response, connection: None, upgraded: None }),
        Err(mut error) => match error.take_message() {
            Some(request) => Err(Failure::Unsent(Box::new(request))),
            None => Err(broken(&error.into_error(), false)),
        },
    }
}

/// Tells whose fault it is that an exchange broke.
fn broken(error: &hyper::Error, reused: bool) -> Failure {
    let body = error.source().and_then(|source| source.downcast_ref::<Broken>());
    match body {
        Some(Broken::Caller(_)) => Failure::Caller,
        Some(Broken::Superseded) => Failure::Superseded,
        None => Failure::Broken { reused },
    }
}
