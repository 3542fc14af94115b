//! What a server says over gRPC, as a client reads it: for connectors, benches and tests.

use ecow::EcoString;
use serde::Deserialize;

use super::Payload;
use crate::nacos::{
    Enrolment, Refusal, codes,
    instance::RawInstance,
    json::{self, Flag, List, Number, Text},
};

/// The most instances of one service that are read; a longer list is refused.
pub const HOSTS_MAX: usize = 100_000;

/// The most service names of one page that are read; a longer page is refused.
const NAMES_MAX: usize = 100_000;

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// There is a server.
    Server {
        /// How it calls the connection.
        connection_id: EcoString,
        /// Whether it waits for an ability table.
        negotiates: bool,
    },
    /// The set-up is complete.
    SetUp,
    /// What was asked is done.
    Done,
    /// A service, as asked.
    Service(Seen),
    /// A page of service names.
    Services {
        /// How many there are in all.
        count: u64,
        /// Those of the page.
        names: Vec<EcoString>,
    },
    /// A service changed; wants an acknowledgement.
    Pushed {
        /// To be repeated.
        request_id: EcoString,
        /// How it is.
        service: Seen,
    },
    /// Is the client there? Wants an acknowledgement.
    Detect {
        /// To be repeated.
        request_id: EcoString,
    },
    /// Go to another server.
    Reset,
    /// What was asked is not done.
    Failed {
        /// Why, as a number.
        code: i64,
        /// Why, in words.
        message: EcoString,
    },
    /// A type that this client does not read.
    Unknown,
}

/// A service as a client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its bare name.
    pub name: EcoString,
    /// Its group.
    pub group: EcoString,
    /// Its instances.
    pub hosts: Vec<Enrolment>,
    /// When the server built the list; what is older than the last one is dropped.
    pub last_ref_ms: u64,
}

impl Seen {
    /// Parses what HTTP v1 answers about a service.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        json::read::<RawService<'_>>("a service", text)?.seen()
    }
}

impl Told {
    /// Parses a payload by its type.
    pub fn parse(payload: &Payload) -> Result<Self, Refusal> {
        let name = payload.type_name();
        let raw: Raw<'_> = json::read("an answer", payload.json())?;
        let request_id = || raw.request_id.as_str().into();
        match name {
            "NotifySubscriberRequest" => {
                return Ok(Self::Pushed {
                    request_id: request_id(),
                    service: raw.service_info.unwrap_or_default().seen()?,
                });
            }
            "ClientDetectionRequest" => return Ok(Self::Detect { request_id: request_id() }),
            "ConnectResetRequest" => return Ok(Self::Reset),
            "SetupAckRequest" => return Ok(Self::SetUp),
            _ => {}
        }
        if name.ends_with("Response") && raw.result_code.0 != Some(f64::from(codes::OK)) {
            let code = raw.error_code.0.unwrap_or_default() as i64;
            return Ok(Self::Failed { code, message: raw.message.as_str().into() });
        }
        Ok(match name {
            "ServerCheckResponse" => Self::Server {
                connection_id: raw.connection_id.as_str().into(),
                negotiates: raw.support_ability_negotiation.0.unwrap_or(false),
            },
            "HealthCheckResponse" | "InstanceResponse" | "BatchInstanceResponse" => Self::Done,
            "QueryServiceResponse" | "SubscribeServiceResponse" => {
                Self::Service(raw.service_info.unwrap_or_default().seen()?)
            }
            "ServiceListResponse" => {
                within(raw.service_names.0.len(), NAMES_MAX, "service names")?;
                let names = raw.service_names.0.iter().map(|name| name.as_str().into()).collect();
                Self::Services { count: raw.count.whole("count", 0, u64::from(u32::MAX))?, names }
            }
            _ => Self::Unknown,
        })
    }
}

fn within(count: usize, max: usize, what: &str) -> Result<(), Refusal> {
    if count > max { Err(Refusal::invalid(format_args!("more than {max} {what}"))) } else { Ok(()) }
}

/// Everything that answers have, in one struct: each uses its part.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Raw<'a> {
    result_code: Number,
    error_code: Number,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow)]
    request_id: Text<'a>,
    #[serde(borrow)]
    connection_id: Text<'a>,
    support_ability_negotiation: Flag,
    count: Number,
    #[serde(borrow)]
    service_names: List<Text<'a>, NAMES_MAX>,
    #[serde(borrow)]
    service_info: Option<RawService<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawService<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    group_name: Text<'a>,
    #[serde(borrow)]
    hosts: List<RawInstance<'a>, HOSTS_MAX>,
    last_ref_time: Number,
}

impl RawService<'_> {
    fn seen(self) -> Result<Seen, Refusal> {
        within(self.hosts.0.len(), HOSTS_MAX, "instances")?;
        let name = self.name.as_str();
        Ok(Seen {
            name: name.split_once("@@").map_or(name, |(_, name)| name).into(),
            group: self.group_name.as_str().into(),
            last_ref_ms: self.last_ref_time.whole("lastRefTime", 0, 1 << 53)?,
            hosts: self.hosts.0.into_iter().map(RawInstance::enrolment).collect::<Result<_, _>>()?,
        })
    }
}
