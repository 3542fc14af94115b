//! A foreign registry that a bridge hosts: how it stands, and what crosses.

use http::Method;
use landbridge_client::Admin;
use serde_json::{Value, json};

use super::{DOOR, percent};
use crate::arguments::{GuestVerb, Output};
use crate::ending::{Ending, Trouble};
use crate::output::{self, Shape};

/// How it stands.
const GUEST: Shape = Shape {
    columns: &["state", "settling", "why", "heard", "watched", "instances", "held", "put", "refused"],
    name: "state",
};

/// What crosses.
const TASKS: Shape = Shape { columns: &["name", "services", "from", "paused"], name: "name" };

/// Does what the verb says.
pub(crate) async fn run(admin: &Admin, verb: GuestVerb, output: Output) -> Result<(), Trouble> {
    let tasks: Value = match verb {
        GuestVerb::Status => return output::print(&guest(admin).await?, GUEST, output),
        GuestVerb::Tasks => guest(admin).await?["tasks"].take(),
        GuestVerb::Add(wish) => {
            let page = json!({ "services": wish.services, "from": wish.from });
            admin.write(Method::PUT, &of(&wish.name), &page).await?
        }
        GuestVerb::Pause { tasks } => each(admin, Method::POST, &tasks, "/pause").await?,
        GuestVerb::Resume { tasks } => each(admin, Method::POST, &tasks, "/resume").await?,
        GuestVerb::Delete { tasks } => each(admin, Method::DELETE, &tasks, "").await?,
        GuestVerb::Release => admin.write(Method::POST, &format!("{DOOR}/guest/release"), &json!({})).await?,
    };
    output::print(&tasks, TASKS, output)
}

async fn guest(admin: &Admin) -> Result<Value, Trouble> {
    let guest: Value = admin.read(&format!("{DOOR}/guest")).await?;
    if guest.is_null() {
        return Err(Trouble::new(Ending::Refused, "this bridge hosts no guest".to_owned()));
    }
    Ok(guest)
}

/// The same for several tasks, in order; the first failure ends it.
async fn each(admin: &Admin, method: Method, tasks: &[String], verb: &str) -> Result<Value, Trouble> {
    let mut left = Value::Null;
    for task in tasks {
        left = admin.write(method.clone(), &format!("{}{verb}", of(task)), &json!({})).await?;
    }
    Ok(left)
}

fn of(task: &str) -> String {
    format!("{DOOR}/guest/tasks/{}", percent(task))
}
