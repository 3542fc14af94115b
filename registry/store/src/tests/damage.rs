//! A directory that comes back with less, or with something else, than was written.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use super::{config, installed, open, opened};
use crate::{NoPeers, Store, StoreError, manifest};

/// Feeds in a directory that is about to be damaged.
const FEEDS: u64 = 200;

/// A directory of a store that ended well.
async fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut applied) = open(config(dir.path())).await;
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    for nonce in 0..FEEDS {
        opened(&store, nonce).await;
    }
    store.shutdown().await.unwrap();
    dir
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy_into(&path, &to.join(name));
        } else if path.extension().is_some_and(|ending| ending == "jnl") {
            copy_sparse(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Journals are allocated 64 MiB at a time and mostly holes.
fn copy_sparse(from: &Path, to: &Path) {
    let used = used(from);
    let mut content = vec![0; used as usize];
    fs::File::open(from).unwrap().read_exact_at(&mut content, 0).unwrap();
    fs::write(to, content).unwrap();
    fs::File::options().write(true).open(to).unwrap().set_len(fs::metadata(from).unwrap().len()).unwrap();
}

fn journal(dir: &Path, database: &str) -> PathBuf {
    let files = fs::read_dir(dir.join(database)).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "jnl")).collect();
    journals.sort();
    journals.pop().expect("a journal")
}

/// How far a journal is written.
fn used(path: &Path) -> u64 {
    let file = fs::File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut piece = vec![0; 1 << 16];
    let mut used = 0;
    for at in (0..length).step_by(piece.len()) {
        let read = file.read_at(&mut piece, at).unwrap();
        match piece[..read].iter().rposition(|byte| *byte != 0) {
            Some(last) => used = at + last as u64 + 1,
            None => break,
        }
    }
    used
}

/// Opens the directory: damage, or the number of feeds.
async fn reopened(dir: &Path) -> Result<usize, String> {
    match Store::open(config(dir), Arc::new(NoPeers)).await {
        Ok((store, mut applied)) => {
            let feeds = installed(&mut applied).await;
            store.shutdown().await.unwrap();
            Ok(feeds)
        }
        Err(StoreError::Damaged { what, .. }) => Err(what),
        Err(other) => panic!("neither whole nor damaged: {other}"),
    }
}

#[tokio::test]
async fn a_process_that_is_killed_loses_nothing_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;
    for nonce in 0..100 {
        opened(&store, nonce).await;
    }

    let as_the_kernel_has_it = copy(dir.path());

    assert_eq!(reopened(as_the_kernel_has_it.path()).await, Ok(100));
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_cut_short_is_found_out() {
    let whole = written().await;
    let end = used(&journal(whole.path(), "log"));
    assert_eq!(reopened(copy(whole.path()).path()).await, Ok(FEEDS as usize));

    // The very last bytes are a commit point, which the state machine knows without them.
    for lost in [100, 1_000, 5_000, end / 2, end] {
        let dir = copy(whole.path());
        let file = fs::File::options().write(true).open(journal(dir.path(), "log")).unwrap();
        file.set_len(end - lost).unwrap();

        let found = reopened(dir.path()).await;

        assert!(found.is_err(), "{lost} of {end} bytes were lost, and it opened with {found:?}");
    }
}

#[tokio::test]
async fn no_fault_in_the_log_passes_for_a_shorter_log() {
    let whole = written().await;
    let end = used(&journal(whole.path(), "log"));
    let (mut refused, mut harmless) = (0, 0);

    for trial in 0..60 {
        let at = end * trial / 60;
        let dir = copy(whole.path());
        let file = fs::File::options().read(true).write(true).open(journal(dir.path(), "log")).unwrap();
        if trial % 2 == 0 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1 << (trial % 8)], at).unwrap();
        } else {
            file.write_all_at(&[0; 512], at).unwrap();
        }

        match reopened(dir.path()).await {
            Ok(feeds) => {
                assert_eq!(feeds, FEEDS as usize, "a fault at {at} of {end}");
                harmless += 1;
            }
            Err(_) => refused += 1,
        }
    }

    println!("60 faults in the log: {refused} refused, {harmless} without effect");
    assert!(refused > 40, "the faults did not hit: {harmless} had no effect");
}

#[tokio::test]
async fn a_fault_in_the_state_is_mended_from_the_log_or_found_out() {
    let whole = written().await;
    let end = used(&journal(whole.path(), "state"));

    for trial in 0..20 {
        let dir = copy(whole.path());
        let file = fs::File::options().write(true).open(journal(dir.path(), "state")).unwrap();
        file.write_all_at(&[0; 512], end * trial / 20).unwrap();

        if let Ok(feeds) = reopened(dir.path()).await {
            assert_eq!(feeds, FEEDS as usize, "a fault at {} of {end}", end * trial / 20);
        }
    }
}

/// The files that the databases go by and that are neither journals nor tables; older manifests lie beside them.
fn manifests(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for database in ["log", "state"] {
        found.push(dir.join(database).join("version"));
        for keyspace in ["0", "1"] {
            let current = dir.join(database).join("keyspaces").join(keyspace).join("current");
            let number = u64::from_le_bytes(*fs::read(&current).unwrap().first_chunk().unwrap());
            found.extend([current.with_file_name(format!("v{number}")), current]);
        }
    }
    found
}

#[tokio::test]
async fn no_changed_bit_in_the_databases_manifests_passes() {
    let whole = written().await;
    let files = manifests(whole.path());
    let newest = files.iter().filter(|path| path.ends_with("current")).count();
    assert!(newest >= 4, "of which keyspaces are these? {files:?}");
    let mut flips = 0;

    for path in files.iter().filter(|path| !path.ends_with("version")) {
        let database = path.ancestors().nth(3).expect("a file of a keyspace of a database");
        let content = fs::read(path).unwrap();
        for byte in 0..content.len() {
            let mut changed = content.clone();
            changed[byte] ^= 1 << (byte % 8);
            fs::write(path, changed).unwrap();
            assert!(manifest::check(database).is_err(), "a bit of byte {byte} of {}", path.display());
            flips += 1;
        }
        fs::write(path, &content[..content.len() / 2]).unwrap();
        assert!(manifest::check(database).is_err(), "{} was cut", path.display());
        fs::write(path, content).unwrap();
        manifest::check(database).expect("it is whole again");
    }
    for path in &files {
        let dir = copy(whole.path());
        let path = dir.path().join(path.strip_prefix(whole.path()).unwrap());
        let mut content = fs::read(&path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 4;
        fs::write(&path, content).unwrap();

        let found = reopened(dir.path()).await;

        assert!(found.is_err(), "a bit of {} was changed, and it opened with {found:?}", path.display());
    }
    println!("{} files, {flips} changed bits, none passed", files.len());
}

#[tokio::test]
async fn a_missing_piece_is_named() {
    let whole = written().await;
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("high-water mark", |dir| fs::remove_file(dir.join("mark")).unwrap()),
        ("high-water mark", |dir| fs::write(dir.join("mark"), [7; 8192]).unwrap()),
        ("database", |dir| fs::remove_dir_all(dir.join("log")).unwrap()),
        ("owner", |dir| fs::remove_file(dir.join("identity")).unwrap()),
    ];
    for (named, damage) in cases {
        let dir = copy(whole.path());
        damage(dir.path());

        let what = reopened(dir.path()).await.expect_err("damage");

        assert!(what.contains(named), "{what}");
    }
}

#[tokio::test]
async fn a_vote_that_the_log_forgot_is_found_out() {
    let whole = written().await;
    let younger = copy(whole.path());
    let (store, _applied) = open(config(whole.path())).await;
    store.shutdown().await.unwrap();

    fs::copy(whole.path().join("mark"), younger.path().join("mark")).unwrap();

    let what = reopened(younger.path()).await.expect_err("damage");
    assert!(what.contains("durable") || what.contains("vote"), "{what}");
}
