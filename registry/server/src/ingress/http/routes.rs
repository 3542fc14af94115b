//! Every Nacos route there is, one line each: method, path below `/nacos`, shape of the answer, right, and call.
//!
//! Invariant: this table is the router and the rule book in one, so no path is served without a rule.

mod config;
mod core;
mod naming;
mod users;

/// What a caller must be allowed where authentication is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Nothing: logins and probes.
    Open,
    /// To read the named service.
    Read,
    /// To change the named service.
    Write,
    /// To read every service of the named namespace, or of all.
    Survey,
    /// To be somebody.
    Look,
    /// To run this region. Without authentication whoever reaches the port, as in Nacos.
    Govern,
    /// To run this region. Without authentication the operator's token, or this machine.
    Admin,
}

impl Right {
    /// The word for it in documents.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Survey => "survey",
            Self::Look => "look",
            Self::Govern => "govern",
            Self::Admin => "admin",
        }
    }
}

/// How an answer is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// v1 naming: a text or a bare object.
    Plain,
    /// v1 core and console: `RestResult`, whose success has the code 200.
    Rest,
    /// v2 and v3: `Result`, whose success has the code 0.
    Result,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Instance(InstanceCall),
    Service(ServiceCall),
    Client(ClientCall),
    Operator(OperatorCall),
    Core(CoreCall),
    Namespace(NamespaceCall),
    Page(PageCall),
    Config(ConfigCall),
    User(UserCall),
}

/// Of one instance, or the instances of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstanceCall {
    Register,
    Deregister,
    Replace,
    Edit,
    Beat,
    /// v3 registers and beats by one call.
    RegisterOrBeat,
    Look,
    /// The whole instance, as v3 shows it.
    LookWhole,
    List,
    /// The hosts alone.
    Hosts,
    /// The hosts alone, a page of them.
    HostPage,
    Statuses,
    PutMetadata,
    DeleteMetadata,
}

/// Of a service and its clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceCall {
    Create,
    Update,
    Delete,
    Look,
    /// As v2 and v3 show it.
    LookWhole,
    /// Names of one group.
    Names,
    /// Names of every namespace.
    AllNames,
    /// A page of counted services.
    Views,
    Subscribers,
    SubscriberPage,
    SelectorTypes,
    UpdateCluster,
    SetHealth,
    Checkers,
    Hello,
    CatalogService,
    CatalogInstances,
    CatalogServices,
}

/// Of clients: connections, and addresses that beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCall {
    List,
    Look,
    Published,
    Subscribed,
    Publishers,
    Subscribers,
    Distro,
}

/// Of the naming module's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorCall {
    Switches,
    SetSwitch,
    Metrics,
    PushState,
    SetLog,
}

/// Of members, Raft and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoreCall {
    Myself,
    Members,
    Addresses,
    Health,
    /// What only Nacos servers say to each other, or what cannot be done while a member runs.
    Unserved,
    Raft,
    Ids,
    Connections,
    ReloadCurrent,
    SmartReload,
    ReloadClient,
    Loads,
}

/// Of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamespaceCall {
    List,
    /// v1 lists, shows one, or says whether one is there, as its parameters say.
    Ask,
    Look,
    Create,
    Update,
    Delete,
    Count,
    Exists,
}

/// Pages for probes, tools and scrapers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageCall {
    Liveness,
    Readiness,
    ServerState,
    Announcement,
    ConfigHealth,
    Targets,
    Monitor,
    ServerList,
    AddAddresses,
    RemoveAddresses,
}

/// Of configs, which this registry does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigCall {
    Get,
    /// As v2 and v3 answer.
    GetResult,
    Listen,
    Unserved,
}

/// Of users, roles and permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserCall {
    Login,
    Bootstrap,
    Create,
    Delete,
    SetPassword,
    List,
    Search,
    Roles,
    SearchRoles,
    Grant,
    Revoke,
    Permissions,
    Permit,
    Forbid,
    IsPermitted,
}

impl Call {
    /// The bounded word for it in metrics.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Instance(InstanceCall::Register | InstanceCall::RegisterOrBeat) => "register",
            Self::Instance(InstanceCall::Deregister) => "deregister",
            Self::Instance(InstanceCall::Replace | InstanceCall::Edit) => "update",
            Self::Instance(InstanceCall::PutMetadata | InstanceCall::DeleteMetadata) => "metadata",
            Self::Instance(InstanceCall::Beat) => "beat",
            Self::Instance(InstanceCall::Look | InstanceCall::LookWhole | InstanceCall::Statuses) => "look",
            Self::Instance(InstanceCall::List | InstanceCall::Hosts | InstanceCall::HostPage) => "list",
            Self::Service(ServiceCall::Names) => "services",
            Self::Service(_) => "service",
            Self::Client(_) => "client",
            Self::Operator(_) => "operator",
            Self::Core(_) => "core",
            Self::Namespace(_) => "namespace",
            Self::Page(_) => "page",
            Self::Config(_) => "config",
            Self::User(_) => "user",
        }
    }

    /// Whether its answer to a `GET` shows something that Raft decided: persistent instances, definitions, namespaces,
    /// switches, users. What connections and beats vouch for, and what a member says of itself, is no decision.
    pub(crate) fn shows_decisions(self) -> bool {
        match self {
            Self::Instance(call) => !matches!(call, InstanceCall::Beat),
            Self::Service(call) => !matches!(
                call,
                ServiceCall::Subscribers
                    | ServiceCall::SubscriberPage
                    | ServiceCall::SelectorTypes
                    | ServiceCall::Checkers
                    | ServiceCall::Hello
            ),
            Self::Operator(call) => matches!(call, OperatorCall::Switches),
            Self::Page(call) => matches!(call, PageCall::Targets | PageCall::ServerList),
            Self::User(call) => !matches!(call, UserCall::Login | UserCall::Bootstrap),
            Self::Namespace(_) => true,
            Self::Client(_) | Self::Core(_) | Self::Config(_) => false,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// `GET`, `POST`, `PUT`, `DELETE`, `PATCH`, or `ANY` for all of them.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) shape: Shape,
    pub(crate) right: Right,
    pub(crate) call: Call,
}

impl Route {
    /// Whether its calls stand in the list of deeds: they change the region itself, or who may do what.
    pub(crate) fn is_noted(&self) -> bool {
        let of_users = matches!(self.call, Call::User(UserCall::Bootstrap | UserCall::SetPassword));
        // v2 sends connections away by a GET.
        let sends_away = matches!(self.call, Call::Core(CoreCall::ReloadCurrent | CoreCall::ReloadClient));
        of_users || sends_away || (self.method != "GET" && matches!(self.right, Right::Admin | Right::Govern))
    }
}

const fn row(method: &'static str, path: &'static str, shape: Shape, right: Right, call: Call) -> Route {
    Route { method, path, shape, right, call }
}

/// Every line.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    [naming::V1, naming::V2, naming::V3, core::ROUTES, config::ROUTES, users::ROUTES].into_iter().flatten()
}
