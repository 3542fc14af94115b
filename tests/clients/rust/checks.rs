//! Counts the sentences that held, and asks the server over plain HTTP where the SDK must not be its own witness.

use std::{
    any::Any,
    env,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    process::{Command, exit},
    task::Poll,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::task::spawn_blocking;

/// The address of the server under test.
pub(crate) fn server() -> String {
    env::var("SERVER").expect("SERVER is set")
}

/// The user and the password of a server that asks for names.
pub(crate) fn user() -> Option<(String, String)> {
    Some((env::var("NACOS_USER").ok()?, env::var("NACOS_PASSWORD").ok()?))
}

/// Whether the server may be restarted.
pub(crate) fn owned() -> bool {
    env::var("SERVER_CONTROL").is_ok_and(|control| !control.is_empty())
}

/// Lets the server under test be killed or restarted.
pub(crate) async fn control(verb: &'static str) {
    let program = env::var("SERVER_CONTROL").expect("SERVER_CONTROL is set");
    let status = spawn_blocking(move || Command::new(program).arg(verb).status()).await;
    let status = status.expect("no panic").expect("the control runs");
    assert!(status.success(), "{verb}: {status}");
}

/// The ports that a plain HTTP reader is told about a service, sorted; nothing while the server does not answer.
pub(crate) async fn listed(service: &str) -> Option<Vec<i64>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut address = format!("http://{}/nacos/v1/ns/instance/list?serviceName={service}", server());
    if let Some((user, password)) = user() {
        address += &format!("&username={user}&password={password}");
    }
    let answer = client.get(address.parse().expect("an address")).await.ok()?;
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    let page: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let mut ports: Vec<i64> =
        page["hosts"].as_array()?.iter().filter_map(|host| host["port"].as_i64()).collect();
    ports.sort_unstable();
    Some(ports)
}

/// The count of sentences, by how they went.
pub(crate) struct Checks {
    sdk: &'static str,
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Checks {
    pub(crate) fn new(sdk: &'static str) -> Self {
        Self { sdk, passed: 0, failed: 0, skipped: 0 }
    }

    /// One sentence: it holds unless its proof panics.
    pub(crate) async fn holds<T>(&mut self, sentence: &str, proof: impl Future<Output = T>) -> Option<T> {
        let sdk = self.sdk;
        match caught(proof).await {
            Ok(value) => {
                self.passed += 1;
                println!("{sdk}: {sentence} ... ok");
                Some(value)
            }
            Err(why) => {
                self.failed += 1;
                println!("{sdk}: {sentence} ... FAILED\n    {why}");
                None
            }
        }
    }

    pub(crate) fn skip(&mut self, sentences: &[&str], why: &str) {
        for sentence in sentences {
            self.skipped += 1;
            println!("{}: {sentence} ... skipped: {why}", self.sdk);
        }
    }

    /// Says the counts and ends the process: the SDK leaves tasks behind that would hold it.
    pub(crate) fn close(self) -> ! {
        println!("counts {} {} {}", self.passed, self.failed, self.skipped);
        exit(i32::from(self.failed > 0))
    }
}

/// The proof's value, or the text of its panic.
async fn caught<T>(proof: impl Future<Output = T>) -> Result<T, String> {
    let mut proof = pin!(proof);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| proof.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(reason(panic.as_ref()))),
    })
    .await
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
    text.lines().collect::<Vec<_>>().join(" ")
}
