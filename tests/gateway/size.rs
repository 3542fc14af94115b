//! How much a run does: CI's size unless the command line says otherwise.

use crate::{bounds::Bounds, cases::Fault};

/// What may be made bigger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Calls a second in each case of the fault table.
    pub(crate) rate: u32,
    /// Seconds watched after a fault, at least.
    pub(crate) watch_s: u32,
    /// Cases of the fault table at once.
    pub(crate) jobs: usize,
    /// The only fault of the fault table that is played.
    pub(crate) fault: Option<Fault>,
    /// Threads of the gateway in the fault table.
    pub(crate) threads: usize,
    /// Table changes.
    pub(crate) changes: u32,
    /// Table changes a second.
    pub(crate) pace: u32,
    /// Services in the changing table.
    pub(crate) services: u32,
    /// What times and shares are held against.
    pub(crate) bounds: Bounds,
}

impl Size {
    /// What CI runs: under a minute on two busy cores.
    const CI: Self = Self {
        rate: 100,
        watch_s: 4,
        jobs: 2,
        fault: None,
        threads: 1,
        changes: 60,
        pace: 20,
        services: 500,
        bounds: Bounds::ANYWHERE,
    };

    /// Reads `--key number` pairs, `--fault NAME` and `--strict`; the other words choose tests. Flags of the standard harness are passed over.
    pub(crate) fn read(words: &[String]) -> Result<(Self, Vec<String>), String> {
        let (mut size, mut wanted) = (Self::CI, Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--fault" {
                let name = words.next().map(String::as_str).unwrap_or_default();
                size.fault =
                    Some(Fault::named(name).ok_or(format!("--fault wants one of {}", Fault::names()))?);
                continue;
            }
            let mut number = || {
                let value =
                    words.next().and_then(|value| value.parse::<u32>().ok()).filter(|value| *value > 0);
                value.ok_or(format!("{word} wants a number above 0"))
            };
            match word.as_str() {
                "--strict" => size.bounds = Bounds::WANTED,
                "--rate" => size.rate = number()?,
                "--watch" => size.watch_s = number()?,
                "--jobs" => size.jobs = number()? as usize,
                "--threads" => size.threads = number()? as usize,
                "--changes" => size.changes = number()?,
                "--pace" => size.pace = number()?,
                "--services" => size.services = number()?,
                flag if flag.starts_with('-') => {}
                name => wanted.push(name.to_owned()),
            }
        }
        Ok((size, wanted))
    }
}
