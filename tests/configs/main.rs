//! Reads every page of `configs/` with the code that the roles read it with, so that no page can be wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landbridge_bridge::Config as Bridge;
use landbridge_gateway::Config as Gateway;
use landbridge_registry::{Config as Registry, ListedIn};
use landbridge_runtime::config::Layers;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lives in the workspace")
        .join("configs")
}

/// Every page in a folder of `configs/`, sorted; the pages beside the folders are the defaults.
fn layouts() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![configs()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if folder != configs() {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// What is wrong with a page, by the role that its name says.
fn mistakes(page: &Path) -> Vec<String> {
    let name = page.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let role = name.trim_end_matches(".toml").split('-').next().unwrap_or_default();
    match role {
        "gateway" => Gateway::load(Some(page), &[], &[]).err().unwrap_or_default(),
        "registry" => registry(page),
        "bridge" => Bridge::load(Some(page), &[], &[]).err().unwrap_or_default(),
        _ => vec!["no role reads it".to_owned()],
    }
}

/// What is wrong with a registry's page, but for the secret, which no repository holds.
fn registry(page: &Path) -> Vec<String> {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "sixteen letters at least").expect("written");
    let sets = [format!("admin.token_file={}", secret.path().display())];
    let layers = Layers { defaults: "", file: Some(page), environment: &[], sets: &sets };
    Registry::read(&layers).err().unwrap_or_default()
}

#[test]
fn every_page_of_every_layout_is_read_without_a_mistake() {
    let pages = layouts();

    assert!(pages.len() > 11, "only {pages:?}");
    for page in pages {
        assert_eq!(mistakes(&page), [""; 0], "{}", page.display());
    }
}

#[test]
fn two_gateways_of_a_layout_never_share_a_place_or_a_port() {
    let gateways: Vec<Gateway> = layouts()
        .iter()
        .filter(|page| page.starts_with(configs().join("two-regions")))
        .filter_map(|page| Gateway::load(Some(page), &[], &[]).ok())
        .collect();
    let unique = |mut places: Vec<String>| {
        let all = places.len();
        places.sort();
        places.dedup();
        (all, places.len())
    };

    assert_eq!(unique(gateways.iter().map(|gateway| gateway.name.to_string()).collect()), (6, 6));
    assert_eq!(
        unique(gateways.iter().map(|gateway| gateway.listeners[0].listen.to_string()).collect()),
        (6, 6)
    );
}

#[test]
fn a_page_with_an_unknown_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("gateway.toml");
    let good = fs::read_to_string(configs().join("one-member/gateway.toml")).expect("the page");

    fs::write(&page, good.replace("by_path", "by_road")).expect("written");

    assert!(mistakes(&page).iter().any(|mistake| mistake.contains("by_road")), "{:?}", mistakes(&page));
}

/// The Kubernetes page and flags as a pod's container is given them, for the member of this number.
fn pod(member: u16) -> (String, Vec<String>) {
    let file = configs().with_file_name("deploy/kubernetes/registry.yaml");
    let text = fs::read_to_string(file).expect("a readable manifest");
    let inside = text.lines().skip_while(|line| line.trim() != "registry.toml: |").skip(1);
    let page = inside.take_while(|line| line.is_empty() || line.starts_with("    "));
    let page = page.map(|line| format!("{}\n", line.trim_start())).collect();
    let sets = text.lines().filter_map(|line| line.trim().strip_prefix("- --set="));
    let fill = |set: &str| set.replace("$(MEMBER)", &member.to_string()).replace("$(POD_IP)", "10.1.2.3");
    (page, sets.map(fill).collect())
}

#[test]
fn a_pod_is_told_its_number_its_address_and_by_which_name_the_others_are_found() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    fs::write(secret.path(), "sixteen letters at least").expect("written");
    let (page, mut sets) = pod(2);
    sets.push(format!("admin.token_file={}", secret.path().display()));
    let written = tempfile::NamedTempFile::new().expect("a file");
    fs::write(written.path(), page).expect("written");

    let layers = Layers { defaults: "", file: Some(written.path()), environment: &[], sets: &sets };
    let read = Registry::read(&layers).expect("the manifest's page is right");

    assert_eq!(read.member.0, 2);
    assert_eq!(read.company.numbers.len(), 3, "three found the region");
    assert_eq!(read.company.places[&read.member].feeds(), "10.1.2.3:9849");
    assert!(matches!(read.company.listed_in, ListedIn::Name(name) if name.host == "landbridge-registry"));
}
