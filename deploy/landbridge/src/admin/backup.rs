//! Writes a backup into a file.
//!
//! Invariant: a file under the given name is whole; it is read to its end and synced before it gets the name.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

use serde_json::json;

use super::DOOR;
use crate::arguments::Output;
use crate::call::Caller;
use crate::ending::{Ending, Trouble};
use crate::output::{self, Shape};

/// What a backup holds.
pub(crate) const BACKUP: Shape = Shape { columns: &["file", "era", "seq", "items", "bytes"], name: "file" };

/// Asks for a backup and keeps it.
pub(crate) async fn run(caller: &Caller, file: &Path, stale: bool, output: Output) -> Result<(), Trouble> {
    if file.exists() {
        return Err(Trouble::new(Ending::Conflict, format!("{} is there already", file.display())));
    }
    let draft = file.with_extension("part");
    let wrong = |error: std::io::Error| Trouble::failed(format!("{}: {error}", draft.display()));
    let mut into = File::create(&draft).map_err(wrong)?;
    let path = format!("{DOOR}/raft/backup{}", if stale { "?stale=true" } else { "" });
    let came = caller.bytes(&path, |bytes| into.write_all(bytes)).await;
    match came {
        Ok(written) => written.map_err(wrong)?,
        Err(error) => {
            // What came is of no use to anybody.
            let _ = fs::remove_file(&draft);
            return Err(error.into());
        }
    }
    into.sync_all().map_err(wrong)?;
    let says = landbridge_registry::verify_backup(&draft).map_err(wrong)?;
    fs::rename(&draft, file).map_err(wrong)?;
    let bytes = fs::metadata(file).map_err(wrong)?.len();
    let said = json!({
        "file": file.display().to_string(), "era": says.era, "seq": says.seq, "items": says.items, "bytes": bytes,
    });
    output::print(&said, BACKUP, output)
}
