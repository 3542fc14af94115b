//! The Raft group as operators see it, and their orders about its members.
//!
//! Invariant: an order reaches the leader, whichever member is asked, and is refused there if it would harm the group.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use landbridge_model::MemberId;
use landbridge_store::{Change, ChangeError, ProposeError};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::refuse;
use crate::{member::Shared, peers::MEMBERS_MAX};

/// An order as operators write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderPage {
    order: String,
    /// Who comes, where somebody is replaced.
    #[serde(default)]
    with: Option<u16>,
}

/// The group as this member sees it; what only the leader knows is there if it leads.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let store = &shared.store;
    let (standing, members, places) = (*store.standing().borrow(), store.members(), store.places());
    let (disk, admitted) = store.disk();
    let part = |member: MemberId| match (standing.leader == Some(member), members.voters.contains(&member)) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    };
    let rows = store.followers().into_iter().map(|row| {
        json!({
            "member": row.member.0,
            "part": part(row.member),
            "lag": row.lag,
            "silent_ms": row.silent_ms,
            "disk": row.disk.map(|disk| format!("{disk:016x}")),
            "refilled": row.refilled,
        })
    });
    Json(json!({
        "member": shared.member.0,
        "leader": standing.leader.map(|leader| leader.0),
        "term": standing.term,
        "disk": format!("{disk:016x}"),
        "admitted": admitted,
        "halfway": store.halfway(),
        "last": places.last,
        "applied": places.applied,
        "snapshot": places.snapshot,
        "purged": places.purged,
        "members": rows.collect::<Vec<_>>(),
    }))
}

/// Gives an order about a member.
pub(super) async fn order(
    State(shared): State<Arc<Shared>>,
    Path(member): Path<u16>,
    Json(page): Json<OrderPage>,
) -> Response {
    let change = match read(MemberId(member), &page) {
        Ok(change) => change,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let done = match sensible(&shared, change) {
        Ok(()) => shared.store.order(change).await,
        Err(why) => Err(ChangeError::Unsafe(why)),
    };
    let outcome = done.as_ref().map_or_else(|_| "refused", |()| "done");
    shared.audit.note(shared.clock.unix_ms(), "operator", verb(change), &member.to_string(), outcome);
    match done {
        Ok(()) => {
            info!(event = "raft_ordered", order = page.order, %member);
            Json(json!({ "member": member, "order": page.order })).into_response()
        }
        Err(ChangeError::Unsafe(why)) => refuse(StatusCode::CONFLICT, why),
        Err(ChangeError::Undecided(error @ ProposeError::Full(_))) => {
            refuse(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
        }
        Err(ChangeError::Undecided(error)) => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// What the list of members has to say to an order.
fn sensible(shared: &Shared, change: Change) -> Result<(), String> {
    let Change::Add(new) = change else { return Ok(()) };
    if shared.company.addresses.of(new).is_none() {
        return Err(format!("no address of member {new} is known: add it to the list of members first"));
    }
    let members = shared.store.members();
    if members.voters.len() + members.learners.len() >= MEMBERS_MAX {
        return Err(format!("at most {MEMBERS_MAX} members make a region"));
    }
    Ok(())
}

fn verb(change: Change) -> &'static str {
    match change {
        Change::Add(_) => "raft add",
        Change::Promote(_) => "raft promote",
        Change::Remove(_) => "raft remove",
        Change::Replace { .. } => "raft replace",
        Change::Transfer(_) => "raft transfer",
    }
}

/// Reads an order, or tells what is wrong with it.
fn read(member: MemberId, page: &OrderPage) -> Result<Change, String> {
    match (page.order.as_str(), page.with) {
        ("add", None) => Ok(Change::Add(member)),
        ("promote", None) => Ok(Change::Promote(member)),
        ("remove", None) => Ok(Change::Remove(member)),
        ("transfer", None) => Ok(Change::Transfer(member)),
        ("replace", Some(new)) if new != member.0 => Ok(Change::Replace { old: member, new: MemberId(new) }),
        ("replace", _) => Err("name another member to come in its place".to_owned()),
        (other, None) => {
            Err(format!("\"{}\" is none of add, promote, remove, replace, transfer", other.escape_default()))
        }
        (_, Some(_)) => Err("\"with\" belongs to replace".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(order: &str, with: Option<u16>) -> Result<Change, String> {
        read(MemberId(2), &OrderPage { order: order.to_owned(), with })
    }

    #[test]
    fn every_order_is_read_and_no_other() {
        assert_eq!(said("add", None), Ok(Change::Add(MemberId(2))));
        assert_eq!(said("replace", Some(4)), Ok(Change::Replace { old: MemberId(2), new: MemberId(4) }));
        for (order, with) in [("replace", None), ("replace", Some(2)), ("add", Some(4)), ("drop", None)] {
            assert!(said(order, with).is_err(), "{order} {with:?} was taken");
        }
    }
}
