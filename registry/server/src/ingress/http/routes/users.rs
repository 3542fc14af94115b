//! Logins, users, roles and permissions.

use super::{
    Call,
    Right::{Admin, Look, Open},
    Route,
    Shape::{Plain, Rest, Result},
    UserCall as U, row,
};

const fn u(call: U) -> Call {
    Call::User(call)
}

pub(super) const ROUTES: &[Route] = &[
    row("POST", "/v1/auth/login", Plain, Open, u(U::Login)),
    row("POST", "/v1/auth/users/login", Plain, Open, u(U::Login)),
    row("POST", "/v3/auth/user/login", Plain, Open, u(U::Login)),
    row("POST", "/v1/auth/admin", Rest, Open, u(U::Bootstrap)),
    row("POST", "/v1/auth/users/admin", Rest, Open, u(U::Bootstrap)),
    row("POST", "/v3/auth/user/admin", Result, Open, u(U::Bootstrap)),
    row("POST", "/v1/auth", Rest, Admin, u(U::Create)),
    row("POST", "/v1/auth/users", Rest, Admin, u(U::Create)),
    row("POST", "/v3/auth/user", Result, Admin, u(U::Create)),
    row("DELETE", "/v1/auth", Rest, Admin, u(U::Delete)),
    row("DELETE", "/v1/auth/users", Rest, Admin, u(U::Delete)),
    row("DELETE", "/v3/auth/user", Result, Admin, u(U::Delete)),
    row("PUT", "/v1/auth", Rest, Look, u(U::SetPassword)),
    row("PUT", "/v1/auth/users", Rest, Look, u(U::SetPassword)),
    row("PUT", "/v3/auth/user", Result, Look, u(U::SetPassword)),
    row("GET", "/v1/auth", Plain, Admin, u(U::List)),
    row("GET", "/v1/auth/users", Plain, Admin, u(U::List)),
    row("GET", "/v3/auth/user/list", Result, Admin, u(U::List)),
    row("GET", "/v1/auth/search", Plain, Admin, u(U::Search)),
    row("GET", "/v1/auth/users/search", Plain, Admin, u(U::Search)),
    row("GET", "/v3/auth/user/search", Result, Admin, u(U::Search)),
    row("GET", "/v1/auth/roles", Plain, Admin, u(U::Roles)),
    row("GET", "/v3/auth/role/list", Result, Admin, u(U::Roles)),
    row("GET", "/v1/auth/roles/search", Plain, Admin, u(U::SearchRoles)),
    row("GET", "/v3/auth/role/search", Result, Admin, u(U::SearchRoles)),
    row("POST", "/v1/auth/roles", Rest, Admin, u(U::Grant)),
    row("POST", "/v3/auth/role", Result, Admin, u(U::Grant)),
    row("DELETE", "/v1/auth/roles", Rest, Admin, u(U::Revoke)),
    row("DELETE", "/v3/auth/role", Result, Admin, u(U::Revoke)),
    row("GET", "/v1/auth/permissions", Plain, Admin, u(U::Permissions)),
    row("GET", "/v3/auth/permission/list", Result, Admin, u(U::Permissions)),
    row("GET", "/v3/auth/permission", Result, Admin, u(U::IsPermitted)),
    row("POST", "/v1/auth/permissions", Rest, Admin, u(U::Permit)),
    row("POST", "/v3/auth/permission", Result, Admin, u(U::Permit)),
    row("DELETE", "/v1/auth/permissions", Rest, Admin, u(U::Forbid)),
    row("DELETE", "/v3/auth/permission", Result, Admin, u(U::Forbid)),
];
