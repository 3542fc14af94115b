//! The federation of the demo: which processes there are, and how they are started, killed and brought back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::arguments::CertsWish;
use crate::certs;

use super::layout::{DEPLOYMENT, GREETER, INSTANCES_PER_ZONE, Layout, REPORTS, Region, ZONES};
use super::process::Process;

/// How long a condition rests between two questions.
const REST: Duration = Duration::from_millis(50);

/// Certificates of the demo last so long.
const CERTIFICATE_DAYS: u16 = 30;

/// What a process is in its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The one member of the registry.
    Registry,
    /// The bridge.
    Bridge,
    /// The gateway, in the first zone.
    Gateway,
    /// The sample instances of a zone.
    Samples(usize),
}

/// All processes, by the place of their region and by what they are.
pub(super) struct Federation {
    pub(super) layout: Layout,
    processes: BTreeMap<(usize, Part), Process>,
}

impl Federation {
    /// Makes certificates and configurations and starts every process; does not wait until they are ready.
    pub(super) fn start(layout: Layout) -> Result<Self, String> {
        let wish = CertsWish {
            dir: layout.certificates(),
            deployment: DEPLOYMENT.to_owned(),
            regions: layout.regions.iter().map(|region| region.name.to_owned()).collect(),
            each: 1,
            names: Vec::new(),
            days: CERTIFICATE_DAYS,
        };
        certs::make(&wish).map_err(|trouble| trouble.sentences.join("; "))?;
        let mut federation = Self { layout, processes: BTreeMap::new() };
        for place in 0..federation.layout.regions.len() {
            let zones = (0..ZONES.len()).map(Part::Samples);
            for part in [Part::Registry, Part::Bridge, Part::Gateway].into_iter().chain(zones) {
                federation.launch(place, part)?;
            }
        }
        Ok(federation)
    }

    fn launch(&mut self, place: usize, part: Part) -> Result<(), String> {
        let layout = &self.layout;
        let (arguments, page) = match part {
            Part::Registry => (vec!["registry".to_owned()], Some(layout.registry_page(place))),
            Part::Bridge => (vec!["bridge".to_owned()], Some(layout.bridge_page(place))),
            Part::Gateway => (vec!["gateway".to_owned()], Some(layout.gateway_page(place))),
            Part::Samples(zone) => (samples(place, &layout.regions[place], zone), None),
        };
        let name = name(&layout.regions[place], part);
        let mut arguments = arguments;
        if let Some(page) = page {
            let page = page.map_err(|error| format!("the configuration of {name}: {error}"))?;
            arguments.extend(["-c".to_owned(), shown(&page)]);
        }
        let process = Process::start(&name, arguments, &layout.log(&name))
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        self.processes.insert((place, part), process);
        Ok(())
    }

    /// Kills processes of a region, all at once as far as that can be.
    pub(super) fn kill(&mut self, place: usize, parts: &[Part]) {
        for part in parts {
            if let Some(process) = self.processes.get_mut(&(place, *part)) {
                process.kill();
            }
        }
    }

    /// Starts killed processes of a region again.
    pub(super) fn bring_back(&mut self, place: usize, parts: &[Part]) -> Result<(), String> {
        for part in parts {
            if let Some(process) = self.processes.get_mut(&(place, *part)) {
                process.restart().map_err(|error| format!("it cannot be started again: {error}"))?;
            }
        }
        Ok(())
    }

    /// Asks until the condition holds: true; or until the deadline passes: false. A process that ends by itself meanwhile
    /// is an error.
    pub(super) async fn until(
        &mut self,
        within: Duration,
        mut holds: impl AsyncFnMut() -> bool,
    ) -> Result<bool, String> {
        let begun = Instant::now();
        loop {
            if let Some(fault) = self.processes.values_mut().find_map(Process::fault) {
                return Err(fault);
            }
            if holds().await {
                return Ok(true);
            }
            if begun.elapsed() > within {
                return Ok(false);
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Ends everything in order, those that register first; tells who did not end well.
    pub(super) async fn end(&mut self) -> Vec<String> {
        let processes = std::mem::take(&mut self.processes).into_iter();
        let (samples, others): (Vec<_>, Vec<_>) = processes.partition(|((_, part), _)| is_sample(*part));
        let mut wrong = Vec::new();
        for stage in [samples, others] {
            let mut ending = JoinSet::new();
            for (_, mut process) in stage {
                ending.spawn(async move { process.end().await });
            }
            wrong.extend(ending.join_all().await.into_iter().filter_map(Result::err));
        }
        wrong
    }
}

fn is_sample(part: Part) -> bool {
    match part {
        Part::Samples(_) => true,
        Part::Registry | Part::Bridge | Part::Gateway => false,
    }
}

fn name(region: &Region, part: Part) -> String {
    let region = region.name;
    match part {
        Part::Registry => format!("{region}-registry"),
        Part::Bridge => format!("{region}-bridge"),
        Part::Gateway => format!("{region}-gateway"),
        Part::Samples(zone) => format!("{region}-samples-{}", ZONES[zone]),
    }
}

/// How the samples of a zone are started.
fn samples(place: usize, region: &Region, zone: usize) -> Vec<String> {
    let services = if place == 0 { format!("{GREETER},{REPORTS}") } else { GREETER.to_owned() };
    let told = [
        ("--region", region.name.to_owned()),
        ("--zone", ZONES[zone].to_owned()),
        ("--registry", region.registry().to_string()),
        ("--services", services),
        ("--port", region.samples(zone).to_string()),
        ("--count", INSTANCES_PER_ZONE.to_string()),
    ];
    let told = told.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("sample".to_owned()).chain(told).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
