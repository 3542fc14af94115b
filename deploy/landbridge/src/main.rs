//! The one program: every role, the tools around them, and the command line.
//!
//! Invariant: stdout is data, stderr is talk, and the exit status says what kind of end it was.

mod arguments;
mod ending;
mod output;

mod roles;

mod certs;
mod tools;

mod admin;
mod call;

mod demo;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, ConfigVerb, Verb};
use crate::ending::{Ending, Trouble};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match Arguments::try_parse() {
        Ok(arguments) => begin(arguments),
        Err(usage) => return ending::of_usage(&usage),
    };
    match ended {
        Ok(()) => Ending::Done.into(),
        Err(trouble) => trouble.tell(),
    }
}

fn begin(arguments: Arguments) -> Result<(), Trouble> {
    if arguments.end_with_parent {
        let watched = demo::process::end_with_parent();
        watched.map_err(|error| Trouble::failed(format!("the parent cannot be watched: {error}")))?;
    }
    run(arguments)
}

fn run(arguments: Arguments) -> Result<(), Trouble> {
    let output = arguments.output;
    match arguments.verb {
        Verb::Registry(wish) => roles::registry(&wish),
        Verb::Bridge(wish) => roles::bridge(&wish),
        Verb::Gateway(wish) => roles::gateway(&wish),
        Verb::Config(ConfigVerb::Validate(wish)) => roles::validate(&wish, output),
        Verb::Restore(wish) => roles::restore(&wish, output),
        Verb::Certs(wish) => certs::issue(&wish, output),
        Verb::Demo(wish) => demo::run(&wish),
        Verb::Sample(wish) => demo::sample::run(&wish),
        Verb::Completion { shell } => tools::completion(shell),
        Verb::Version => tools::version(output),
        Verb::Admin(verb) => admin::run(verb, &arguments.target, output),
    }
}
