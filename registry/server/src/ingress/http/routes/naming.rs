//! Naming: instances, services, the catalog, clients and the operator's pages, in three generations.

use super::{
    Call, ClientCall as C, InstanceCall as I, OperatorCall as O,
    Right::{Admin, Govern, Look, Open, Read, Survey, Write},
    Route, ServiceCall as S,
    Shape::{Plain, Rest, Result},
    row,
};

const fn i(call: I) -> Call {
    Call::Instance(call)
}

const fn s(call: S) -> Call {
    Call::Service(call)
}

const fn c(call: C) -> Call {
    Call::Client(call)
}

const fn o(call: O) -> Call {
    Call::Operator(call)
}

/// What SDKs of 1.x and most scripts use.
pub(super) const V1: &[Route] = &[
    row("POST", "/v1/ns/instance", Plain, Write, i(I::Register)),
    row("DELETE", "/v1/ns/instance", Plain, Write, i(I::Deregister)),
    row("PUT", "/v1/ns/instance", Plain, Write, i(I::Replace)),
    row("PATCH", "/v1/ns/instance", Plain, Write, i(I::Edit)),
    row("GET", "/v1/ns/instance", Plain, Read, i(I::Look)),
    row("GET", "/v1/ns/instance/list", Plain, Read, i(I::List)),
    row("PUT", "/v1/ns/instance/beat", Plain, Write, i(I::Beat)),
    row("PUT", "/v1/ns/instance/metadata/batch", Plain, Write, i(I::PutMetadata)),
    row("DELETE", "/v1/ns/instance/metadata/batch", Plain, Write, i(I::DeleteMetadata)),
    row("ANY", "/v1/ns/instance/statuses", Plain, Read, i(I::Statuses)),
    row("POST", "/v1/ns/service", Plain, Write, s(S::Create)),
    row("DELETE", "/v1/ns/service", Plain, Write, s(S::Delete)),
    row("PUT", "/v1/ns/service", Plain, Write, s(S::Update)),
    row("GET", "/v1/ns/service", Plain, Read, s(S::Look)),
    row("GET", "/v1/ns/service/list", Plain, Read, s(S::Names)),
    row("ANY", "/v1/ns/service/names", Plain, Survey, s(S::AllNames)),
    row("GET", "/v1/ns/service/subscribers", Plain, Read, s(S::Subscribers)),
    row("GET", "/v1/ns/service/selector/types", Rest, Look, s(S::SelectorTypes)),
    row("PUT", "/v1/ns/cluster", Plain, Write, s(S::UpdateCluster)),
    row("ANY", "/v1/ns/health/server", Plain, Open, s(S::Hello)),
    row("PUT", "/v1/ns/health", Plain, Write, s(S::SetHealth)),
    row("PUT", "/v1/ns/health/instance", Plain, Write, s(S::SetHealth)),
    row("GET", "/v1/ns/health/checkers", Plain, Look, s(S::Checkers)),
    row("GET", "/v1/ns/catalog/service", Plain, Read, s(S::CatalogService)),
    row("ANY", "/v1/ns/catalog/instances", Plain, Read, s(S::CatalogInstances)),
    row("GET", "/v1/ns/catalog/services", Plain, Survey, s(S::CatalogServices)),
    row("GET", "/v1/ns/operator/switches", Plain, Look, o(O::Switches)),
    row("GET", "/v1/ns/ops/switches", Plain, Look, o(O::Switches)),
    row("PUT", "/v1/ns/operator/switches", Plain, Admin, o(O::SetSwitch)),
    row("PUT", "/v1/ns/ops/switches", Plain, Admin, o(O::SetSwitch)),
    row("GET", "/v1/ns/operator/metrics", Plain, Open, o(O::Metrics)),
    row("GET", "/v1/ns/ops/metrics", Plain, Open, o(O::Metrics)),
    row("ANY", "/v1/ns/operator/push/state", Plain, Look, o(O::PushState)),
    row("ANY", "/v1/ns/ops/push/state", Plain, Look, o(O::PushState)),
    row("GET", "/v1/ns/operator/distro/client", Plain, Look, c(C::Distro)),
    row("GET", "/v1/ns/ops/distro/client", Plain, Look, c(C::Distro)),
    row("PUT", "/v1/ns/operator/log", Plain, Admin, o(O::SetLog)),
    row("PUT", "/v1/ns/ops/log", Plain, Admin, o(O::SetLog)),
];

/// The same in `Result`.
pub(super) const V2: &[Route] = &[
    row("POST", "/v2/ns/instance", Result, Write, i(I::Register)),
    row("DELETE", "/v2/ns/instance", Result, Write, i(I::Deregister)),
    row("PUT", "/v2/ns/instance", Result, Write, i(I::Replace)),
    row("PATCH", "/v2/ns/instance", Plain, Write, i(I::Edit)),
    row("GET", "/v2/ns/instance", Result, Read, i(I::Look)),
    row("GET", "/v2/ns/instance/list", Result, Read, i(I::List)),
    row("PUT", "/v2/ns/instance/beat", Plain, Write, i(I::Beat)),
    row("PUT", "/v2/ns/instance/metadata/batch", Result, Write, i(I::PutMetadata)),
    row("DELETE", "/v2/ns/instance/metadata/batch", Result, Write, i(I::DeleteMetadata)),
    row("ANY", "/v2/ns/instance/statuses/{key}", Plain, Read, i(I::Statuses)),
    row("POST", "/v2/ns/service", Result, Write, s(S::Create)),
    row("DELETE", "/v2/ns/service", Result, Write, s(S::Delete)),
    row("PUT", "/v2/ns/service", Result, Write, s(S::Update)),
    row("GET", "/v2/ns/service", Result, Read, s(S::LookWhole)),
    row("GET", "/v2/ns/service/list", Result, Read, s(S::Names)),
    row("PUT", "/v2/ns/health", Result, Write, s(S::SetHealth)),
    row("PUT", "/v2/ns/health/instance", Result, Write, s(S::SetHealth)),
    row("ANY", "/v2/ns/catalog/instances", Result, Read, s(S::CatalogInstances)),
    row("GET", "/v2/ns/client/list", Result, Govern, c(C::List)),
    row("GET", "/v2/ns/client", Result, Govern, c(C::Look)),
    row("GET", "/v2/ns/client/publish/list", Result, Govern, c(C::Published)),
    row("GET", "/v2/ns/client/subscribe/list", Result, Govern, c(C::Subscribed)),
    row("GET", "/v2/ns/client/service/publisher/list", Result, Read, c(C::Publishers)),
    row("GET", "/v2/ns/client/service/subscriber/list", Result, Read, c(C::Subscribers)),
    row("GET", "/v2/ns/operator/switches", Result, Look, o(O::Switches)),
    row("GET", "/v2/ns/ops/switches", Result, Look, o(O::Switches)),
    row("PUT", "/v2/ns/operator/switches", Result, Admin, o(O::SetSwitch)),
    row("PUT", "/v2/ns/ops/switches", Result, Admin, o(O::SetSwitch)),
    row("GET", "/v2/ns/operator/metrics", Result, Open, o(O::Metrics)),
    row("GET", "/v2/ns/ops/metrics", Result, Open, o(O::Metrics)),
];

/// Clients, admins and the console of 3.x.
pub(super) const V3: &[Route] = &[
    row("POST", "/v3/client/ns/instance", Result, Write, i(I::RegisterOrBeat)),
    row("DELETE", "/v3/client/ns/instance", Result, Write, i(I::Deregister)),
    row("GET", "/v3/client/ns/instance/list", Result, Read, i(I::Hosts)),
    row("POST", "/v3/admin/ns/instance", Result, Write, i(I::Register)),
    row("DELETE", "/v3/admin/ns/instance", Result, Write, i(I::Deregister)),
    row("PUT", "/v3/admin/ns/instance", Result, Write, i(I::Replace)),
    row("PUT", "/v3/admin/ns/instance/partial", Result, Write, i(I::Edit)),
    row("PUT", "/v3/admin/ns/instance/metadata/batch", Result, Write, i(I::PutMetadata)),
    row("DELETE", "/v3/admin/ns/instance/metadata/batch", Result, Write, i(I::DeleteMetadata)),
    row("GET", "/v3/admin/ns/instance/list", Result, Read, i(I::Hosts)),
    row("GET", "/v3/admin/ns/instance", Result, Read, i(I::LookWhole)),
    row("POST", "/v3/admin/ns/service", Result, Write, s(S::Create)),
    row("DELETE", "/v3/admin/ns/service", Result, Write, s(S::Delete)),
    row("PUT", "/v3/admin/ns/service", Result, Write, s(S::Update)),
    row("GET", "/v3/admin/ns/service", Result, Read, s(S::LookWhole)),
    row("GET", "/v3/admin/ns/service/list", Result, Survey, s(S::Views)),
    row("GET", "/v3/admin/ns/service/subscribers", Result, Read, s(S::SubscriberPage)),
    row("GET", "/v3/admin/ns/service/selector/types", Result, Look, s(S::SelectorTypes)),
    row("PUT", "/v3/admin/ns/cluster", Result, Write, s(S::UpdateCluster)),
    row("PUT", "/v3/admin/ns/health/instance", Result, Write, s(S::SetHealth)),
    row("GET", "/v3/admin/ns/health/checkers", Result, Look, s(S::Checkers)),
    row("GET", "/v3/admin/ns/client/list", Result, Govern, c(C::List)),
    row("GET", "/v3/admin/ns/client", Result, Govern, c(C::Look)),
    row("GET", "/v3/admin/ns/client/publish/list", Result, Govern, c(C::Published)),
    row("GET", "/v3/admin/ns/client/subscribe/list", Result, Govern, c(C::Subscribed)),
    row("GET", "/v3/admin/ns/client/service/publisher/list", Result, Read, c(C::Publishers)),
    row("GET", "/v3/admin/ns/client/service/subscriber/list", Result, Read, c(C::Subscribers)),
    row("GET", "/v3/admin/ns/client/distro", Result, Look, c(C::Distro)),
    row("GET", "/v3/admin/ns/ops/switches", Result, Look, o(O::Switches)),
    row("PUT", "/v3/admin/ns/ops/switches", Result, Admin, o(O::SetSwitch)),
    row("GET", "/v3/admin/ns/ops/metrics", Result, Open, o(O::Metrics)),
    row("PUT", "/v3/admin/ns/ops/log", Result, Admin, o(O::SetLog)),
    row("ANY", "/v3/console/ns/instance/list", Result, Read, i(I::HostPage)),
    row("PUT", "/v3/console/ns/instance", Result, Write, i(I::Replace)),
    row("POST", "/v3/console/ns/service", Result, Write, s(S::Create)),
    row("DELETE", "/v3/console/ns/service", Result, Write, s(S::Delete)),
    row("PUT", "/v3/console/ns/service", Result, Write, s(S::Update)),
    row("GET", "/v3/console/ns/service", Result, Read, s(S::LookWhole)),
    row("GET", "/v3/console/ns/service/list", Result, Survey, s(S::Views)),
    row("GET", "/v3/console/ns/service/subscribers", Result, Read, s(S::SubscriberPage)),
    row("GET", "/v3/console/ns/service/selector/types", Result, Look, s(S::SelectorTypes)),
    row("PUT", "/v3/console/ns/service/cluster", Result, Write, s(S::UpdateCluster)),
];
