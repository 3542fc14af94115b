//! A region's Raft group: who belongs to it, and orders that change that.

use http::Method;
use landbridge_client::Admin;
use serde_json::{Value, json};

use super::DOOR;
use crate::arguments::{Output, RaftVerb};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// The members of the group.
const MEMBERS: Shape =
    Shape { columns: &["member", "part", "lag", "silent_ms", "refilled", "disk"], name: "member" };

/// An order that was carried out.
const ORDERED: Shape = Shape { columns: &["member", "order"], name: "member" };

/// Does what the verb says.
pub(crate) async fn run(admin: &Admin, verb: RaftVerb, output: Output) -> Result<(), Trouble> {
    let (member, page) = match verb {
        RaftVerb::Status => return status(admin, output).await,
        RaftVerb::Add { member } => (member, json!({ "order": "add" })),
        RaftVerb::Promote { member } => (member, json!({ "order": "promote" })),
        RaftVerb::Remove { member } => (member, json!({ "order": "remove" })),
        RaftVerb::Replace { old, new } => (old, json!({ "order": "replace", "with": new })),
        RaftVerb::Transfer { member } => (member, json!({ "order": "transfer" })),
    };
    let said: Value = admin.write(Method::PUT, &format!("{DOOR}/raft/members/{member}"), &page).await?;
    output::print(&said, ORDERED, output)
}

async fn status(admin: &Admin, output: Output) -> Result<(), Trouble> {
    let said: Value = admin.read(&format!("{DOOR}/raft")).await?;
    if output == Output::Json {
        return output::print(&said, MEMBERS, output);
    }
    eprintln!("{}", summary(&said));
    output::print(&said["members"], MEMBERS, output)
}

/// The asked member and its log in a sentence.
fn summary(said: &Value) -> String {
    let leader = match said["leader"].as_u64() {
        Some(leader) => format!("member {leader} leads in term {}", said["term"]),
        None => "no leader is known".to_owned(),
    };
    let part = if said["admitted"] == true { "" } else { ", has no part in the group so far," };
    let halfway = if said["halfway"] == true {
        "; voters are being changed, the old and the new must agree"
    } else {
        ""
    };
    format!(
        "{leader}; member {}, which was asked{part}, has applied {} of {} entries{halfway}",
        said["member"], said["applied"], said["last"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_leader_an_empty_disk_and_a_change_that_is_halfway_are_told() {
        let said = json!({ "member": 2, "leader": null, "term": 0, "admitted": false, "halfway": true, "applied": null, "last": null });

        let told = summary(&said);

        assert!(told.contains("no leader is known") && told.contains("no part in the group"), "{told}");
        assert!(told.contains("the old and the new must agree"), "{told}");
    }
}
