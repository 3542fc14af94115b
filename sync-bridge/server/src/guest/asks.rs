//! What operators ask about a hosted guest: its tasks, and what is held back.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{post, put},
};
use landbridge_bridge_core::guest::Task;
use landbridge_feed::{Holder, Input};
use landbridge_model::Moment;
use landbridge_runtime::{audit::Audit, clock::Clock};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::{Host, TaskPage};

/// Asks that wait for the loop; one more is turned away.
const ASKS_MAX: usize = 16;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Verb {
    /// Follow this task, in place of one of the same name.
    Put(Task),
    /// Leave everything of a task as it is, or go on.
    Pause(String, bool),
    /// Follow a task no longer, and take away what it brought.
    Delete(String),
    /// Let go what is held back.
    Release,
}

impl Verb {
    fn name(&self) -> &'static str {
        match self {
            Self::Put(_) => "guest task put",
            Self::Pause(_, true) => "guest task pause",
            Self::Pause(_, false) => "guest task resume",
            Self::Delete(_) => "guest task delete",
            Self::Release => "guest release",
        }
    }

    fn target(&self) -> &str {
        match self {
            Self::Put(task) => &task.name,
            Self::Pause(name, _) | Self::Delete(name) => name,
            Self::Release => "guest",
        }
    }
}

/// Why an ask came to nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// What it names is not there.
    Unknown(String),
    /// The disk or the loop does not take it.
    Broken(String),
}

/// The tasks as they stand after an ask.
type Answer = Result<Vec<TaskPage>, Failed>;

/// One ask and whom to answer.
pub(crate) struct Ask {
    verb: Verb,
    answer: oneshot::Sender<Answer>,
}

impl Ask {
    /// Does it; what the holder is to be told follows.
    pub fn perform(self, host: &mut Host, now: Moment, unix_ms: u64, holder: &Holder) -> Vec<Input> {
        let done = match self.verb {
            Verb::Release => Ok(host.release(now, unix_ms, holder)),
            verb => tasks(host.tasks(), verb)
                .and_then(|tasks| host.assign(now, unix_ms, tasks, holder).map_err(Failed::Broken)),
        };
        let (inputs, said) = match done {
            Ok(inputs) => (inputs, Ok(host.tasks().iter().map(TaskPage::of).collect())),
            Err(failed) => (Vec::new(), Err(failed)),
        };
        // Who has gone away need not know.
        let _ = self.answer.send(said);
        inputs
    }
}

/// The tasks as the verb would have them.
fn tasks(tasks: &[Task], verb: Verb) -> Result<Vec<Task>, Failed> {
    let mut tasks = tasks.to_vec();
    let place = |tasks: &[Task], name: &str| {
        let place = tasks.iter().position(|task| task.name == name);
        place.ok_or_else(|| Failed::Unknown(format!("there is no task {}", name.escape_default())))
    };
    match verb {
        Verb::Put(task) => match place(&tasks, &task.name) {
            Ok(at) => tasks[at] = task,
            Err(_) => tasks.push(task),
        },
        Verb::Pause(name, paused) => {
            let at = place(&tasks, &name)?;
            tasks[at].paused = paused;
        }
        Verb::Delete(name) => {
            let at = place(&tasks, &name)?;
            tasks.remove(at);
        }
        Verb::Release => {}
    }
    Ok(tasks)
}

/// The way to the loop, for the admin pages.
#[derive(Clone)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
    audit: Arc<Audit>,
    clock: Clock,
}

impl Desk {
    pub fn new(audit: Arc<Audit>, clock: Clock) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        (Self { asks, audit, clock }, asked)
    }

    async fn ask(&self, verb: Verb) -> Response {
        let (name, target) = (verb.name(), verb.target().to_owned());
        let (answer, said) = oneshot::channel();
        let said = match self.asks.try_send(Ask { verb, answer }) {
            Ok(()) => {
                said.await.unwrap_or_else(|_| Err(Failed::Broken("this bridge hosts no guest".to_owned())))
            }
            Err(_) => Err(Failed::Broken("too many asks wait: try again".to_owned())),
        };
        let outcome = match &said {
            Ok(_) => "done",
            Err(Failed::Unknown(why) | Failed::Broken(why)) => why,
        };
        self.audit.note(self.clock.unix_ms(), "operator", name, &target, outcome);
        let status = match &said {
            Ok(tasks) => return Json(tasks).into_response(),
            Err(Failed::Unknown(_)) => StatusCode::NOT_FOUND,
            Err(Failed::Broken(_)) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(serde_json::json!({ "error": outcome }))).into_response()
    }
}

/// A task without its name, as it is put.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    services: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    paused: bool,
}

/// The pages that change something; what stands is shown by the board.
pub(crate) fn routes(desk: Desk) -> Router {
    let task = put(async |desk: State<Desk>, Path(name): Path<String>, Json(page): Json<Page>| {
        let Page { services, from, paused } = page;
        match (TaskPage { name, services, from, paused }).task() {
            Ok(task) => desk.ask(Verb::Put(task)).await,
            Err(why) => (StatusCode::BAD_REQUEST, Json(serde_json::json!({ "error": why }))).into_response(),
        }
    });
    let task =
        task.delete(async |desk: State<Desk>, Path(name): Path<String>| desk.ask(Verb::Delete(name)).await);
    Router::new()
        .route("/landbridge/v1/guest/tasks/{name}", task)
        .route(
            "/landbridge/v1/guest/tasks/{name}/pause",
            post(async |desk: State<Desk>, Path(name): Path<String>| desk.ask(Verb::Pause(name, true)).await),
        )
        .route(
            "/landbridge/v1/guest/tasks/{name}/resume",
            post(async |desk: State<Desk>, Path(name): Path<String>| {
                desk.ask(Verb::Pause(name, false)).await
            }),
        )
        .route("/landbridge/v1/guest/release", post(async |desk: State<Desk>| desk.ask(Verb::Release).await))
        .with_state(desk)
}
