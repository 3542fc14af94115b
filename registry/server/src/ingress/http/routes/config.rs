//! Configs and the registries for AI, of which nothing is kept here: what clients ask at start is answered, the rest named.

use super::{
    Call, ConfigCall as C,
    Right::{Look, Open},
    Route,
    Shape::{Plain, Rest, Result},
    row,
};

const fn c(call: C) -> Call {
    Call::Config(call)
}

pub(super) const ROUTES: &[Route] = &[
    row("GET", "/v1/cs/configs", Plain, Open, c(C::Get)),
    row("POST", "/v1/cs/configs/listener", Plain, Open, c(C::Listen)),
    row("GET", "/v2/cs/config", Result, Open, c(C::GetResult)),
    row("GET", "/v3/client/cs/config", Result, Open, c(C::GetResult)),
    row("GET", "/v3/admin/cs/config", Result, Open, c(C::GetResult)),
    row("GET", "/v3/console/cs/config", Result, Open, c(C::GetResult)),
    row("POST", "/v1/cs/configs", Plain, Look, c(C::Unserved)),
    row("DELETE", "/v1/cs/configs", Plain, Look, c(C::Unserved)),
    row("ANY", "/v1/cs/{*rest}", Plain, Look, c(C::Unserved)),
    row("POST", "/v2/cs/config", Result, Look, c(C::Unserved)),
    row("DELETE", "/v2/cs/config", Result, Look, c(C::Unserved)),
    row("ANY", "/v2/cs/{*rest}", Result, Look, c(C::Unserved)),
    row("POST", "/v3/admin/cs/config", Result, Look, c(C::Unserved)),
    row("DELETE", "/v3/admin/cs/config", Result, Look, c(C::Unserved)),
    row("ANY", "/v3/admin/cs/{*rest}", Result, Look, c(C::Unserved)),
    row("POST", "/v3/console/cs/config", Result, Look, c(C::Unserved)),
    row("DELETE", "/v3/console/cs/config", Result, Look, c(C::Unserved)),
    row("ANY", "/v3/console/cs/{*rest}", Result, Look, c(C::Unserved)),
    row("ANY", "/v3/admin/ai/{*rest}", Result, Look, c(C::Unserved)),
    row("ANY", "/v3/console/ai/{*rest}", Result, Look, c(C::Unserved)),
    row("ANY", "/v3/client/ai/{*rest}", Result, Look, c(C::Unserved)),
    row("ANY", "/v1/cs", Rest, Look, c(C::Unserved)),
];
