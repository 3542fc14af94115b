//! The whole way of a call through the gateway, on one page.

use std::{convert::Infallible, rc::Rc};

use http::Response;
use tower::{Service, ServiceBuilder, layer::layer_fn, service_fn};

use crate::{
    answer::Outgoing,
    layers::{Arrived, admission, admit, balance, forward, limit, observe, retry, route, send, shed},
    local::Local,
};

/// Builds the stack of one core. All layers are static: nothing here buffers, locks or hands over to a task; a call is
/// boxed once, where its tries begin, and so is each try.
pub(crate) fn stack(
    local: &Rc<Local>,
) -> impl Service<Arrived, Response = Response<Outgoing>, Error = Infallible, Future: 'static> + Clone + 'static
{
    let on = |local: &Rc<Local>| local.clone();
    let (observing, admitting, shedding) = (on(local), on(local), on(local));
    let (routing, limiting, crowding) = (on(local), on(local), on(local));
    let (forwarding, retrying, balancing, sending) = (on(local), on(local), on(local), on(local));
    ServiceBuilder::new()
        // Outermost, because it counts every answer, also those the layers below give themselves.
        .layer(layer_fn(move |inner| observe::layer(observing.clone(), inner)))
        // Before anything believes a header: what two readers could read differently goes no further.
        .layer(layer_fn(move |inner| admit::layer(admitting.clone(), inner)))
        // Before any work is spent on a call: a full gateway says so at once.
        .layer(layer_fn(move |inner| shed::layer(shedding.clone(), inner)))
        // Before limits and retries, whose rules depend on the service and its route. From here on one view holds.
        .layer(layer_fn(move |inner| route::layer(routing.clone(), inner)))
        // After the route, which names the service it counts; before anything costs an endpoint.
        .layer(layer_fn(move |inner| limit::layer(limiting.clone(), inner)))
        // After the limits, so that what they refuse crowds nobody out; outside of retries, whose tries are one call.
        .layer(layer_fn(move |inner| admission::layer(crowding.clone(), inner)))
        // Outside of retries: headers and path are rewritten once a call, not once a try.
        .layer(layer_fn(move |inner| forward::layer(forwarding.clone(), inner)))
        // Outside of the choice: each try may go to another endpoint. Holds the deadline over all tries.
        .layer(layer_fn(move |inner| retry::layer(retrying.clone(), inner)))
        // Chooses the endpoint of one try, holds the try's deadline, and reports how it went.
        .layer(layer_fn(move |inner| balance::layer(balancing.clone(), inner)))
        // Innermost: one request on one connection of this core.
        .service(service_fn(move |one| send::send(sending.clone(), one)))
}
