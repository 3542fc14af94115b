//! A whole federation on loopback, from this one program: starts it, breaks it, and tells what it saw.

pub(crate) mod layout;
pub(crate) mod process;
pub(crate) mod sample;

mod federation;
mod lookout;

mod failover;
mod load;
mod news;
mod probe;

mod drill;
mod report;
mod screen;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::arguments::DemoWish;
use crate::ending::{Ending, Trouble};

use drill::Drill;
use federation::Federation;
use layout::{GREETER, Layout, REPORTS};
use load::Load;
use lookout::Lookout;
use report::{Report, Talk};

/// Whoever watches has so long to read the first screen.
const READ_SCREEN: Duration = Duration::from_secs(15);

/// Far longer than anybody watches.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Runs the demo until its drill is over or, with a person watching, until the interrupt.
pub(crate) fn run(wish: &DemoWish) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::failed(format!("cannot start: {error}")))?;
    runtime.block_on(play(wish))
}

async fn play(wish: &DemoWish) -> Result<(), Trouble> {
    let mut interrupts = Interrupts::heard().map_err(Trouble::failed)?;
    let home = Home::new(wish.keep.as_deref()).map_err(Trouble::failed)?;
    let layout = Layout::new(home.path(), wish.regions.into(), wish.base_port).map_err(Trouble::failed)?;
    let talk = Talk::new(!wish.check);
    talk.line(&format!(
        "landbridge: {} regions start; they are ready in a few seconds",
        layout.regions.len()
    ));
    let mut federation = Federation::start(layout).map_err(Trouble::failed)?;
    let mut report = Report::new(talk);
    let interrupted = tokio::select! {
        shown = show(wish, &mut federation, &mut report) => {
            if let Err(why) = shown {
                let (sentence, more) = why.split_once('\n').unwrap_or((&why, ""));
                report.check("every process stays up and can be asked", false, sentence);
                talk.line(more);
            }
            false
        }
        () = interrupts.next() => true,
    };
    talk.line("landbridge: every process is asked to end");
    let wrong = tokio::select! {
        wrong = federation.end() => wrong,
        () = interrupts.next() => vec!["interrupted: the rest was killed".to_owned()],
    };
    report.check("every process ends in order when asked", wrong.is_empty(), &wrong.join("; "));
    let all_held = report.holds();
    if !all_held {
        home.keep(talk);
    }
    report.close();
    if wish.check && interrupted {
        return Err(Trouble::failed("interrupted before the end"));
    }
    // Every check that failed has been told.
    if all_held { Ok(()) } else { Err(Trouble { ending: Ending::Failed, sentences: Vec::new() }) }
}

/// Everything from the first process that is ready to the closing table.
async fn show(wish: &DemoWish, federation: &mut Federation, report: &mut Report) -> Result<(), String> {
    let talk = report.talk;
    let layout = federation.layout.clone();
    let lookout = Lookout::new(&layout);
    let mut drill = Drill { federation, lookout, report };
    drill.settle().await?;
    // Ends with this function: how registries end is no news.
    let mut news = JoinSet::new();
    for region in &layout.regions {
        news.spawn(news::tell(region.name, region.registry(), talk));
    }
    screen::show(talk, &layout);
    if !wish.check {
        talk.line(&format!("The drill begins in {} s; Ctrl-C ends everything.\n", READ_SCREEN.as_secs()));
        drill.federation.until(READ_SCREEN, async || false).await?;
    }
    talk.part(&format!("{} services register in {}", wish.registrations, layout.regions[0].name));
    drill.propagate(wish.registrations.into()).await?;
    talk.part("calls begin through every gateway");
    let gateways: Vec<_> = layout.regions.iter().map(|region| (region.name, region.gateway())).collect();
    let load = Load::start(&gateways, &[GREETER, REPORTS]);
    let steady = drill.steady(&load).await?;
    drill.zone_dies(&load, &steady).await?;
    drill.region_empties(&load, &steady).await?;
    let feeds = drill.feeds().await;
    let guard = drill.region_is_cut_off(&load).await?;
    drill.old_feed_closes(&guard, &feeds).await?;
    drill.close_load(&load);
    drill.report.table();
    if !wish.check {
        talk.line("The federation and the calls go on until Ctrl-C.");
        drill.federation.until(FOR_EVER, async || false).await?;
    }
    Ok(())
}

/// The interrupt of a person and the wish of a process manager.
struct Interrupts {
    typed: Signal,
    asked: Signal,
}

impl Interrupts {
    fn heard() -> Result<Self, String> {
        let hear = |kind| signal(kind).map_err(|error| format!("signals cannot be heard: {error}"));
        Ok(Self { typed: hear(SignalKind::interrupt())?, asked: hear(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.typed.recv() => {}
            _ = self.asked.recv() => {}
        }
    }
}

/// The folder of the demo: one that is kept, or one that goes with the demo.
enum Home {
    Kept(PathBuf),
    Passing(tempfile::TempDir),
}

impl Home {
    fn new(keep: Option<&Path>) -> Result<Self, String> {
        let Some(dir) = keep else {
            let passing = tempfile::Builder::new().prefix("landbridge-demo-").tempdir();
            return passing.map(Self::Passing).map_err(|error| format!("no temporary folder: {error}"));
        };
        let about = |error| format!("{}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(about)?;
        if fs::read_dir(dir).map_err(about)?.next().is_some() {
            return Err(format!("{} is not empty: name a folder of its own with --keep", dir.display()));
        }
        fs::canonicalize(dir).map(Self::Kept).map_err(about)
    }

    /// Keeps what would pass, for whoever wants to know why something failed.
    fn keep(self, talk: Talk) {
        let path = match self {
            Self::Kept(path) => path,
            Self::Passing(dir) => dir.keep(),
        };
        talk.line(&format!("landbridge: logs and data are kept in {}", path.display()));
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(dir) => dir.path(),
        }
    }
}
