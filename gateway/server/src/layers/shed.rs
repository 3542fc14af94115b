//! Says no at once when the gateway has as many calls as it may have.
//!
//! Each core keeps its part of the bound, so that no core has to ask another.

use std::{convert::Infallible, rc::Rc};

use tower::{Service, service_fn};

use super::{Arrived, Passage, speaks_grpc};
use crate::{answer::Answer, local::Local, refusal::Refusal};

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Arrived, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Arrived, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |arrived: Arrived| {
        let part = local.view().settings.in_flight_max.div_ceil(local.shared.threads as u32);
        if local.beat.in_flight.get() <= part {
            Passage::open(inner.clone().call(arrived))
        } else {
            let grpc = speaks_grpc(arrived.request.headers());
            Passage::refused(Answer::refuse(Refusal::Overloaded, grpc))
        }
    })
}
