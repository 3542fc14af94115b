//! Logs: one JSON object a line on stderr with a stable `event` field, or text for a terminal.
//!
//! Invariant: nothing of a log goes to stdout, which is data; a panic is a log line too.

use std::panic;
use std::str::FromStr;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or levels by room: `info`, `info,landbridge_feed=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("log format `{other}` is unknown: write json or text")),
        }
    }
}

impl LogConfig {
    /// Checks the level without starting to log.
    pub fn check(&self) -> Result<(), String> {
        self.filter().map(|_| ())
    }

    fn filter(&self) -> Result<EnvFilter, String> {
        EnvFilter::try_new(&self.level).map_err(|error| {
            format!("log level `{}` cannot be read ({error}): write for example info or info,landbridge_feed=debug", self.level)
        })
    }
}

/// Starts to log; a process does this once, first of all.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let lines = tracing_subscriber::fmt().with_env_filter(config.filter()?).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            lines.finish().try_init()
        }
        LogFormat::Text => lines.with_ansi(false).finish().try_init(),
    };
    started.map_err(|error| format!("logging is already set up: {error}"))?;
    log_panics();
    Ok(())
}

/// A panic ends a task, not the process; whoever reads the logs must see it.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let message =
            payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("without a message");
        tracing::error!(event = "panic", place, message, "a task panicked: please report this");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(level: &str) -> LogConfig {
        LogConfig { level: level.to_owned(), format: LogFormat::Json }
    }

    #[test]
    fn levels_by_room_are_understood() {
        assert_eq!(config("info,landbridge_feed=debug").check(), Ok(()));
    }

    #[test]
    fn a_wrong_level_is_named_with_a_way_to_mend_it() {
        let mistake = config("landbridge_feed=loud").check().unwrap_err();

        assert!(mistake.contains("landbridge_feed=loud") && mistake.contains("info"), "{mistake}");
    }

    #[test]
    fn formats_have_two_names() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
