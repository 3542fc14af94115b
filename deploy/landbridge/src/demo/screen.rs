//! The first screen: where everything is, and what to try.

use std::path::Path;

use super::layout::{GREETER, Layout, REPORTS, Region};
use super::report::Talk;

/// Tells where everything is, and three commands to paste.
pub(super) fn show(talk: Talk, layout: &Layout) {
    let regions = &layout.regions;
    talk.line("");
    talk.line(&format!(
        "{} regions run on this machine; logs and data lie in {}",
        regions.len(),
        layout.dir.display()
    ));
    talk.line("");
    talk.line(&row(&["region", "registry (Nacos)", "gateway", "bridge admin", "gateway admin"]));
    for region in regions {
        talk.line(&row(&[
            region.name,
            &region.registry().to_string(),
            &region.gateway().to_string(),
            &region.bridge_admin().to_string(),
            &region.gateway_admin().to_string(),
        ]));
    }
    talk.line("");
    talk.line("Try in another terminal:");
    for (command, what) in commands(regions[0].name, &regions[1]) {
        talk.line(&format!("  {command}"));
        talk.line(&format!("      {what}"));
    }
    talk.line("");
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<18}")).collect();
    format!("  {}", cells.concat().trim_end())
}

fn commands(near: &str, far: &Region) -> [(String, String); 3] {
    let Region { name, .. } = far;
    [
        (
            format!("curl -s 'http://{}/nacos/v1/ns/instance/list?serviceName={REPORTS}'", far.registry()),
            format!("what Nacos clients in {name} are told: instances of {near}, each with its origin"),
        ),
        (
            format!("curl -s http://{}/svc/{REPORTS}/", far.gateway()),
            format!("a call through {name}'s gateway, answered by {near}"),
        ),
        (
            format!("{} instances {GREETER} --at {}", program(), far.registry()),
            format!("every instance that {name} knows, and what it thinks of it"),
        ),
    ]
}

/// This program as it can be called from here.
fn program() -> String {
    let Ok(program) = std::env::current_exe() else { return "landbridge".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    let near: &Path = program.strip_prefix(&here).unwrap_or(&program);
    near.display().to_string()
}
