//! Streams a backup of everything the region has decided, from whichever member is asked.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use landbridge_store::Backup;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::info;

use super::refuse;
use crate::member::Shared;

/// One part of the stream.
const PART_BYTES: usize = 256 << 10;

/// Parts that wait for a slow reader.
const PARTS_MAX: usize = 4;

/// How fresh it must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// What this member holds will do, though it may lag, or nobody may be able to decide.
    #[serde(default)]
    stale: bool,
}

/// Gives a backup.
pub(super) async fn backup(State(shared): State<Arc<Shared>>, Query(wish): Query<Wish>) -> Response {
    let backup = match shared.store.backup(!wish.stale).await {
        Ok(backup) => backup,
        Err(error) => {
            let why = format!("{error}; with stale=true what this member holds is given");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, why);
        }
    };
    let bytes = backup.bytes();
    info!(event = "backup_given", bytes, stale = wish.stale);
    shared.audit.note(shared.clock.unix_ms(), "operator", "backup", shared.region.as_str(), "done");
    let (parts, stream) = mpsc::channel(PARTS_MAX);
    tokio::task::spawn_blocking(move || read(&backup, &parts));
    let kind = [(header::CONTENT_TYPE, "application/octet-stream".to_owned())];
    let length = [(header::CONTENT_LENGTH, bytes.to_string())];
    (kind, length, Body::from_stream(ReceiverStream::new(stream))).into_response()
}

fn read(backup: &Backup, parts: &mpsc::Sender<std::io::Result<bytes::Bytes>>) {
    let mut offset = 0;
    while offset < backup.bytes() {
        let part = backup.part(offset, PART_BYTES);
        offset += part.as_ref().map_or(u64::MAX, |part| part.len() as u64).min(backup.bytes() - offset);
        // Who went away wants no more.
        if parts.blocking_send(part).is_err() {
            return;
        }
    }
}
