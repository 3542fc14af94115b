//! Mass lapses that a member holds back.

use http::Method;
use landbridge_client::Admin;
use serde_json::{Value, json};

use super::{DOOR, percent};
use crate::arguments::{HoldsVerb, Output};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// What is held.
const HOLDS: Shape = Shape { columns: &["origin", "held", "what"], name: "origin" };

/// What was let go.
const RELEASED: Shape = Shape { columns: &["origin", "released"], name: "origin" };

/// Does what the verb says.
pub(crate) async fn run(admin: &Admin, verb: HoldsVerb, output: Output) -> Result<(), Trouble> {
    match verb {
        HoldsVerb::List => {
            let held: Value = admin.read(&format!("{DOOR}/holds")).await?;
            output::print(&held, HOLDS, output)
        }
        HoldsVerb::Release { region } => {
            let path = format!("{DOOR}/holds/{}", percent(&region));
            let said: Value = admin.write(Method::DELETE, &path, &json!({})).await?;
            output::print(&said, RELEASED, output)
        }
    }
}
