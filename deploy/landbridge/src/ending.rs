//! How the program ends: one status for each kind of trouble, so that scripts can tell them apart.

use std::process::ExitCode;

use landbridge_client::AdminError;

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ending {
    /// All went well.
    Done = 0,
    /// It was tried and failed, or the answer is no.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nobody answered.
    Unreachable = 3,
    /// The other side does not let us, or does not understand.
    Refused = 4,
    /// It does not go with what is there.
    Conflict = 5,
    /// The configuration is wrong; nothing was started.
    WrongConfig = 64,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending as u8)
    }
}

/// Why the program ends otherwise than well.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) ending: Ending,
    pub(crate) sentences: Vec<String>,
}

impl Trouble {
    pub(crate) fn new(ending: Ending, sentence: impl Into<String>) -> Self {
        Self { ending, sentences: vec![sentence.into()] }
    }

    pub(crate) fn failed(sentence: impl Into<String>) -> Self {
        Self::new(Ending::Failed, sentence)
    }

    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Ending::Usage, sentence)
    }

    /// Tells the trouble on stderr.
    pub(crate) fn tell(&self) -> ExitCode {
        for sentence in &self.sentences {
            eprintln!("landbridge: {sentence}");
        }
        self.ending.into()
    }
}

impl From<AdminError> for Trouble {
    fn from(error: AdminError) -> Self {
        let ending = match &error {
            AdminError::Unreachable(_) => Ending::Unreachable,
            AdminError::Refused(_) => Ending::Refused,
            AdminError::Conflict(_) => Ending::Conflict,
            AdminError::Failed(_) => Ending::Failed,
        };
        Self::new(ending, error.to_string())
    }
}

/// Shows help on stdout and mistakes on stderr, as clap words them.
pub(crate) fn of_usage(usage: &clap::Error) -> ExitCode {
    // A closed pipe leaves nobody to tell.
    let _ = usage.print();
    if usage.use_stderr() { Ending::Usage.into() } else { Ending::Done.into() }
}
