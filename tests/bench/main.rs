//! Measures a registry from outside: CPU per operation beside a bare echo, start, memory, and a restart under eyes.
//!
//! `cargo bench -p landbridge-tests --bench registry [-- ROW ...]`, rows: `grpc`, `push`, `start`, `restart`, `three` (of
//! three members); all unless named. `quick` beside `push` and `three` measures next to nothing and shows that everything runs.
//! Servers are processes of their own (this program again), so that their CPU is theirs alone.

mod servers;

mod grpc;
mod push;
mod restart;
mod start;
mod three;

use std::process::ExitCode;

/// As the deployed program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some(role) = arguments.first().and_then(|word| word.strip_prefix("serve-")) {
        return servers::serve(role, &arguments[1..]);
    }
    let is_quick = arguments.iter().any(|word| word == "quick");
    arguments.retain(|word| word != "quick");
    if arguments.is_empty() {
        arguments = ["grpc", "push", "start", "restart", "three"].map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let mut failed = false;
    for row in &arguments {
        let done = match row.as_str() {
            "grpc" => runtime.block_on(grpc::measure()),
            "push" => {
                let scale = if is_quick { push::QUICK } else { push::WHOLE };
                runtime.block_on(push::measure(&scale))
            }
            "start" => runtime.block_on(start::measure()),
            "restart" => runtime.block_on(restart::measure()),
            "three" => {
                let scale = if is_quick { three::QUICK } else { three::WHOLE };
                runtime.block_on(three::measure(&scale))
            }
            other => Err(anyhow::anyhow!("no such row: {other} (grpc, push, start, restart, three)")),
        };
        if let Err(error) = done {
            println!("{row}: FAILED: {error:#}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
