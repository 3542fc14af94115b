//! Logins, users, roles and permissions.
//!
//! Invariant: no answer holds a password or a hash, and the last admin cannot be taken away.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use ecow::{EcoString, eco_format};
use landbridge_registry_core::{Command, Input};
use landbridge_runtime::dice;
use landbridge_wire::nacos::{codes, http::answer as wire};
use serde_json::{Value, json};

use super::{
    ask::Ask,
    door,
    reply::{Answer, Said},
    routes::{Shape, UserCall},
};
use crate::{
    auth::{
        Denied, Principal,
        book::{self, ADMIN, PERMISSION, ROLE, USER, User, is_name, is_resource},
        passwords::{Busy, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN},
    },
    desk::Desk,
    ingress::status::{self, Refused},
    metrics,
};

/// The name of the first admin, unless another is given.
const FIRST: &str = "nacos";

/// Where the one-time secret may be sent.
const SECRET_HEADER: &str = "x-landbridge-bootstrap";

pub(super) async fn answer(ask: &Ask, call: UserCall) -> Answer {
    match call {
        UserCall::Login => login(ask).await,
        UserCall::Bootstrap => bootstrap(ask).await,
        UserCall::Create => create(ask).await,
        UserCall::Delete => delete(ask).await,
        UserCall::SetPassword => set_password(ask).await,
        UserCall::List => list(ask),
        UserCall::Search => Ok(search(ask)),
        UserCall::Roles => roles(ask),
        UserCall::SearchRoles => Ok(search_roles(ask)),
        UserCall::Grant => grant(ask).await,
        UserCall::Revoke => revoke(ask).await,
        UserCall::Permissions => permissions(ask),
        UserCall::Permit => permit(ask).await,
        UserCall::Forbid => forbid(ask).await,
        UserCall::IsPermitted => is_permitted(ask),
    }
}

/// SDKs that are given a user log in at any server; where nobody asks for names they get a token that says so.
async fn login(ask: &Ask) -> Answer {
    let name = ask.text("username").to_owned();
    if !ask.shared.auth_enabled() {
        metrics::login("off");
        return Ok(Said::Whole(Box::new(super::json(wire::login("AUTH_DISABLED", 18_000, false, &name)))));
    }
    let desk = ask.shared.desk();
    let mut shown = door::shown(ask);
    (shown.token, shown.operator) = (None, false);
    let now_s = ask.shared.now_s();
    match ask.shared.auth.identify(&shown, desk.book(), now_s).await {
        Ok(Principal::User(name)) => {
            let token = ask.shared.auth.token(&name, desk.book(), now_s);
            let token = token.ok_or_else(|| Refused::denied("unknown user!"))?;
            metrics::login("ok");
            let admin = desk.book().is_admin(&name);
            let body = wire::login(&token, ask.shared.auth.token_ttl_s(), admin, &name);
            let response = super::json(body);
            Ok(Said::Whole(Box::new(response)))
        }
        Ok(Principal::Anyone | Principal::Operator)
        | Err(Denied::Stranger | Denied::Worthless(_) | Denied::NoRight) => {
            metrics::login("wrong");
            Err(Refused::denied("unknown user!"))
        }
        Err(Denied::Busy) => {
            metrics::login("busy");
            Err(status::busy())
        }
    }
}

/// Makes the first admin for whoever knows the secret in the data folder.
async fn bootstrap(ask: &Ask) -> Answer {
    let conflict = |text: &str| Err(Refused::new(StatusCode::CONFLICT, codes::RESULT_CONFLICT, text));
    if !ask.shared.auth_enabled() {
        return conflict("auth.enabled is false: there is nobody to be");
    }
    if ask.shared.desk().book().has_users() {
        return conflict("have admin user cannot use it");
    }
    let header = ask.headers.get(SECRET_HEADER).and_then(|value| value.to_str().ok());
    let secret = header.or_else(|| ask.asked.value(&["secret"])).unwrap_or_default();
    if !ask.shared.auth.bootstrap().knows(secret) {
        return Err(Refused::denied(
            "send the secret of the file admin-bootstrap in the data folder as header x-landbridge-bootstrap",
        ));
    }
    let name = ask.asked.value(&["username"]).unwrap_or(FIRST);
    let drawn = dice::secret();
    let password = ask.asked.value(&["password"]).unwrap_or(&drawn[..32]);
    keep_user(ask, name, password).await?;
    note(ask, role_note(ADMIN, name), Some("{}".into())).await?;
    ask.shared.auth.bootstrap().end();
    Ok(Said::Value(json!({ "username": name, "password": password })))
}

/// Keeps a user with this password.
async fn keep_user(ask: &Ask, name: &str, password: &str) -> Result<(), Refused> {
    checked_name("username", name)?;
    let long_enough = password.chars().count() >= PASSWORD_CHARS_MIN;
    if !long_enough || password.len() > PASSWORD_BYTES_MAX {
        return Err(Refused::invalid(format!(
            "a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
        )));
    }
    let hash = ask.shared.auth.passwords().hash(password).await;
    let password = hash.map_err(|Busy| status::busy())?;
    let text =
        serde_json::to_string(&User { password }).map_err(|error| Refused::invalid(error.to_string()))?;
    note(ask, eco_format!("{USER}{name}"), Some(text.into())).await
}

async fn note(ask: &Ask, name: EcoString, text: Option<EcoString>) -> Result<(), Refused> {
    ask.write(|ticket| Input::Submit { ticket, command: Command::Note { name, text } }).await.map(|_| ())
}

fn role_note(role: &str, user: &str) -> EcoString {
    eco_format!("{ROLE}{role}/{user}")
}

fn permission_note(role: &str, action: &str, resource: &str) -> EcoString {
    eco_format!("{PERMISSION}{role}/{action}/{resource}")
}

fn checked_name<'a>(what: &str, name: &'a str) -> Result<&'a str, Refused> {
    let wrong = || Refused::invalid(format!("{what} has 1 to 64 letters, digits, '_', '-', '.' and '@'"));
    is_name(name).then_some(name).ok_or_else(wrong)
}

/// A parameter that is a name.
fn named<'a>(ask: &'a Ask, what: &str) -> Result<&'a str, Refused> {
    checked_name(what, ask.required(what)?)
}

fn done(text: impl Into<String>) -> Answer {
    Ok(Said::Value(Value::from(text.into())))
}

async fn create(ask: &Ask) -> Answer {
    let name = named(ask, "username")?;
    if ask.shared.desk().book().user(name).is_some() {
        return Err(Refused::conflict(codes::RESULT_CONFLICT, format!("user '{name}' already exist!")));
    }
    keep_user(ask, name, ask.required("password")?).await?;
    done("create user ok!")
}

/// Refuses to take the last admin away.
fn not_the_last(desk: &Desk, name: &str) -> Result<(), Refused> {
    let book = desk.book();
    if book.is_admin(name) && book.admins_without(name) == 0 {
        return Err(Refused::conflict(codes::RESULT_CONFLICT, "cannot delete admin: it is the last one"));
    }
    Ok(())
}

async fn delete(ask: &Ask) -> Answer {
    let name = named(ask, "username")?;
    let desk = ask.shared.desk();
    not_the_last(&desk, name)?;
    if desk.book().user(name).is_none() {
        return done("delete user ok!");
    }
    note(ask, eco_format!("{USER}{name}"), None).await?;
    let roles = desk.book().roles().filter(|(_, user)| user.as_str() == name);
    let roles: Vec<EcoString> = roles.map(|(role, _)| role_note(role, name)).collect();
    for role in roles {
        note(ask, role, None).await?;
    }
    done("delete user ok!")
}

/// A user changes its own password, an admin any.
async fn set_password(ask: &Ask) -> Answer {
    let name = named(ask, "username")?;
    let desk = ask.shared.desk();
    let may = match &ask.principal {
        Principal::User(own) => own == name || desk.book().is_admin(own),
        Principal::Operator => true,
        Principal::Anyone => false,
    };
    if !may {
        return Err(Refused::denied("authorization failed!"));
    }
    if desk.book().user(name).is_none() {
        return Err(Refused::conflict(codes::RESULT_NOT_FOUND, format!("user {name} not exist!")));
    }
    keep_user(ask, name, ask.required("newPassword")?).await?;
    done("update user ok!")
}

/// Whether a search for `wanted` finds this: exactly, or with `search=blur` by a part, `*` being no matter.
fn found(ask: &Ask, wanted: &str, text: &str) -> bool {
    let blur = ask.text("search") == "blur";
    wanted.is_empty() || if blur { text.contains(wanted.trim_matches('*')) } else { text == wanted }
}

fn list(ask: &Ask) -> Answer {
    let (desk, wanted) = (ask.shared.desk(), ask.text("username"));
    let names = desk.book().users().filter(|name| found(ask, wanted, name));
    Ok(Said::page(ask.page(100)?, names.map(|name| json!({ "username": name.as_str() })).collect()))
}

fn search(ask: &Ask) -> Said {
    let (desk, wanted) = (ask.shared.desk(), ask.text("username"));
    let names = desk.book().users().filter(|name| name.contains(wanted));
    Said::Value(names.map(|name| Value::from(name.as_str())).collect())
}

fn roles(ask: &Ask) -> Answer {
    let (desk, role, user) = (ask.shared.desk(), ask.text("role"), ask.text("username"));
    let rows = desk.book().roles().filter(|row| found(ask, role, row.0) && found(ask, user, row.1));
    let rows = rows.map(|(role, user)| json!({ "role": role.as_str(), "username": user.as_str() }));
    Ok(Said::page(ask.page(100)?, rows.collect()))
}

fn search_roles(ask: &Ask) -> Said {
    let (desk, wanted) = (ask.shared.desk(), ask.text("role"));
    let names: BTreeSet<&EcoString> = desk.book().roles().map(|(role, _)| role).collect();
    let names = names.into_iter().filter(|name| name.contains(wanted));
    Said::Value(names.map(|name| Value::from(name.as_str())).collect())
}

async fn grant(ask: &Ask) -> Answer {
    let (role, user) = (named(ask, "role")?, named(ask, "username")?);
    if ask.shared.desk().book().user(user).is_none() {
        return Err(Refused::conflict(codes::RESULT_NOT_FOUND, format!("user '{user}' not found!")));
    }
    note(ask, role_note(role, user), Some("{}".into())).await?;
    done("add role ok!")
}

async fn revoke(ask: &Ask) -> Answer {
    let role = named(ask, "role")?;
    let desk = ask.shared.desk();
    let users: Vec<EcoString> = match ask.asked.value(&["username"]) {
        Some(user) => vec![checked_name("username", user)?.into()],
        None => desk.book().roles().filter(|row| row.0 == role).map(|row| row.1.clone()).collect(),
    };
    if role == ADMIN {
        let kept = desk.book().users().filter(|name| desk.book().is_admin(name) && !users.contains(name));
        if kept.count() == 0 {
            return Err(Refused::conflict(codes::RESULT_CONFLICT, "somebody must be left with this role"));
        }
    }
    for user in users.iter().filter(|user| desk.book().has_role(user, role)) {
        note(ask, role_note(role, user), None).await?;
    }
    done(match users.as_slice() {
        [user] => format!("delete role of user {user} ok!"),
        _ => format!("delete role {role} ok!"),
    })
}

/// Role, action and resource of a permission.
fn permission(ask: &Ask) -> Result<(&str, &str, &str), Refused> {
    let (role, resource, action) = (named(ask, "role")?, ask.required("resource")?, ask.required("action")?);
    if !["r", "w", "rw"].contains(&action) {
        return Err(Refused::invalid("action is r, w or rw"));
    }
    if !is_resource(resource) {
        return Err(Refused::invalid(
            "resource is namespace:group:naming/service, each with '*', at most 512 bytes",
        ));
    }
    Ok((role, action, resource))
}

fn permissions(ask: &Ask) -> Answer {
    if ask.route.shape == Shape::Plain && ask.asked.value(&["resource"]).is_some() {
        return is_permitted(ask);
    }
    let (desk, wanted) = (ask.shared.desk(), ask.text("role"));
    let rows = desk.book().permissions().filter(|(role, _)| found(ask, wanted, role));
    let rows = rows.map(|(role, book::Permission { resource, action })| {
        json!({ "role": role.as_str(), "resource": resource.as_str(), "action": action.as_str() })
    });
    Ok(Said::page(ask.page(100)?, rows.collect()))
}

async fn permit(ask: &Ask) -> Answer {
    let (role, action, resource) = permission(ask)?;
    note(ask, permission_note(role, action, resource), Some("{}".into())).await?;
    done("add permission ok!")
}

async fn forbid(ask: &Ask) -> Answer {
    let (role, action, resource) = permission(ask)?;
    note(ask, permission_note(role, action, resource), None).await?;
    done("delete permission ok!")
}

fn is_permitted(ask: &Ask) -> Answer {
    let (role, action, resource) = permission(ask)?;
    let note = permission_note(role, action, resource);
    let there = ask.shared.desk().note(&note).is_some();
    let value = json!(there);
    if ask.route.shape == Shape::Plain {
        return Ok(Said::Encoded(wire::result(value.to_string().as_bytes())));
    }
    Ok(Said::Value(value))
}
