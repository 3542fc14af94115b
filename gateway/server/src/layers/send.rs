//! Sends one request on one connection of this core: a waiting one if there is one, else a new one.

use std::{error::Error as _, rc::Rc};

use http::{Request, Response, StatusCode, Version};
use hyper::{body::Incoming, upgrade::Upgraded};
use landbridge_gateway_core::{Endpoint, Protocol};

use super::Ask;
use crate::{
    dial::{self, Purpose},
    form,
    line::{Arriving, Line, Mute},
    local::Local,
    payload::{Broken, Payload},
    pool::OneCall,
    relay, upgrade,
    view::{Seen, View},
};

/// One request for one endpoint.
pub(crate) struct Try {
    pub(crate) request: Ask,
    pub(crate) view: Rc<Seen>,
    pub(crate) service: u32,
    pub(crate) endpoint: u32,
    pub(crate) http2: bool,
}

/// The head of an answer, and the connection its body comes by.
pub(crate) struct Sent {
    pub(crate) response: Response<Arriving>,
    /// An HTTP/1 connection of hyper's, to be used again after the body.
    pub(crate) connection: Option<OneCall>,
    /// The whole connection, after the endpoint agreed to become a WebSocket.
    pub(crate) upgraded: Option<Upgraded>,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// No byte was sent.
    Unsent(Ask),
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
    if endpoint.speech.protocol == Protocol::Relay {
        let service = one.view.snapshot.service(one.service);
        request = request.changed(|request| relay::address(request.headers_mut(), &one.view, service));
    }
    let clear = !endpoint.speech.protocol.is_secure();
    if upgrade::asks_websocket(request.get().headers()) {
        let mut request = request.into_own();
        form::as_http1(&mut request);
        // What few calls need is boxed, here and below: every call is moved with all it could need.
        return Box::pin(send_upgrade(&local, &one.view, endpoint, request)).await;
    }
    if one.http2 || endpoint.speech.protocol.is_http2() {
        let mut request = request.into_own();
        form::as_http2(&mut request, endpoint);
        return Box::pin(send_http2(&local, &one.view, endpoint, request)).await;
    }
    if clear && matches!(request.get().body(), Payload::Empty) {
        return send_line(&local, &one.view, endpoint, request).await;
    }
    let mut request = request.into_own();
    form::as_http1(&mut request);
    Box::pin(send_http1(&local, &one.view, endpoint, request)).await
}

/// Sends a request without a body on a line of our own.
async fn send_line(
    local: &Local,
    view: &View,
    endpoint: &Endpoint,
    mut request: Ask,
) -> Result<Sent, Failure> {
    if request.get().version() == Version::HTTP_2 {
        request = request.changed(form::as_http1);
    }
    while let Some(line) = local.pool.take_line(endpoint.state.serial()) {
        match say(local, line, request.get(), true).await {
            // The server closed it while it waited: nothing was sent, the next one may do.
            Ok(None) => {}
            Ok(Some(sent)) => return Ok(sent),
            Err(failure) => return Err(failure),
        }
    }
    let opened = Box::pin(dial::line(endpoint, view)).await;
    local.tally.borrow_mut().opened_upstream();
    let Ok(line) = opened else { return Err(Failure::Unsent(request)) };
    match say(local, line, request.get(), false).await? {
        Some(sent) => Ok(sent),
        None => Err(Failure::Unsent(request)),
    }
}

/// The answer to a request, or nothing if not a byte of it was sent.
async fn say(
    local: &Local,
    line: Line,
    request: &Request<Payload>,
    reused: bool,
) -> Result<Option<Sent>, Failure> {
    match line.exchange(request, &local.room).await {
        Ok(response) => {
            let response = response.map(Arriving::Line);
            Ok(Some(Sent { response, connection: None, upgraded: None }))
        }
        Err(Mute::Unsent) => Ok(None),
        Err(Mute::Closed) => Err(Failure::Broken { reused }),
        Err(Mute::Broken) => Err(Failure::Broken { reused: false }),
    }
}

/// Sends a request on a connection of hyper's.
async fn send_http1(
    local: &Local,
    view: &View,
    endpoint: &Endpoint,
    mut request: Box<Request<Payload>>,
) -> Result<Sent, Failure> {
    let serial = endpoint.state.serial();
    while let Some(connection) = local.pool.take(serial) {
        match exchange(connection, *request, true).await {
            // The server closed it while it waited: nothing was sent, the next one may do.
            Err(Failure::Unsent(unsent)) => request = unsent.into_own(),
            other => return other,
        }
    }
    while let Some(line) = local.pool.take_line(serial) {
        let Ok(connection) = dial::taken_over(line).await else { continue };
        match exchange(connection, *request, true).await {
            Err(Failure::Unsent(unsent)) => request = unsent.into_own(),
            other => return other,
        }
    }
    let opened = dial::one(endpoint, view, Purpose::Calls).await;
    local.tally.borrow_mut().opened_upstream();
    match opened {
        Ok(connection) => exchange(connection, *request, false).await,
        Err(_) => Err(Failure::Unsent(Ask::Own(request))),
    }
}

async fn exchange(mut connection: OneCall, request: Request<Payload>, reused: bool) -> Result<Sent, Failure> {
    match connection.try_send_request(request).await {
        // Nobody asked for another protocol: an endpoint that switches is not speaking HTTP any more.
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err(Failure::Broken { reused: false })
        }
        Ok(response) => Ok(Sent {
            response: response.map(Arriving::Parsed),
            connection: Some(connection),
            upgraded: None,
        }),
        Err(mut error) => match error.take_message() {
            Some(request) => Err(Failure::Unsent(Ask::Own(Box::new(request)))),
            None => Err(broken(&error.into_error(), reused)),
        },
    }
}

/// Asks for a WebSocket on a connection of its own; an endpoint that declines answers like any other.
async fn send_upgrade(
    local: &Local,
    view: &View,
    endpoint: &Endpoint,
    request: Box<Request<Payload>>,
) -> Result<Sent, Failure> {
    let opened = dial::one(endpoint, view, Purpose::Tunnel).await;
    local.tally.borrow_mut().opened_upstream();
    let Ok(mut connection) = opened else { return Err(Failure::Unsent(Ask::Own(request))) };
    let mut response = match connection.try_send_request(*request).await {
        Ok(response) => response,
        Err(mut error) => {
            return Err(match error.take_message() {
                Some(request) => Failure::Unsent(Ask::Own(Box::new(request))),
                None => broken(&error.into_error(), false),
            });
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let response = response.map(Arriving::Parsed);
        return Ok(Sent { response, connection: Some(connection), upgraded: None });
    }
    if !upgrade::agrees(response.headers()) {
        return Err(Failure::Broken { reused: false });
    }
    match hyper::upgrade::on(&mut response).await {
        Ok(upgraded) => {
            Ok(Sent { response: response.map(Arriving::Parsed), connection: None, upgraded: Some(upgraded) })
        }
        Err(error) => Err(broken(&error, false)),
    }
}

async fn send_http2(
    local: &Local,
    view: &View,
    endpoint: &Endpoint,
    mut request: Box<Request<Payload>>,
) -> Result<Sent, Failure> {
    let (serial, now) = (relay::pool_key(endpoint), local.beat.now.get());
    if let Some(mut shared) = local.pool.share(serial, now) {
        match shared.try_send_request(*request).await {
            Ok(response) => return Ok(shared_sent(response)),
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = Box::new(unsent),
                None => return Err(broken(&error.into_error(), true)),
            },
        }
    }
    let opened = dial::many(endpoint, view).await;
    local.tally.borrow_mut().opened_upstream();
    let Ok(mut connection) = opened else { return Err(Failure::Unsent(Ask::Own(request))) };
    local.pool.offer(serial, connection.clone(), now);
    match connection.try_send_request(*request).await {
        Ok(response) => Ok(shared_sent(response)),
        Err(mut error) => match error.take_message() {
            Some(request) => Err(Failure::Unsent(Ask::Own(Box::new(request)))),
            None => Err(broken(&error.into_error(), false)),
        },
    }
}

/// An answer whose connection others use too.
fn shared_sent(response: Response<Incoming>) -> Sent {
    Sent { response: response.map(Arriving::Parsed), connection: None, upgraded: None }
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
