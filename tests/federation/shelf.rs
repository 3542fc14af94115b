//! Copies on disk: what is saved is exact, and what is damaged is only absent.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landbridge_carrier::{Loaded, Shelf};
use landbridge_model::{Record, RecordKey};
use landbridge_tests::authority::Authority;

use crate::keeper::Keeper;

/// What the member holds, in the form in which a shelf gives it back.
fn held(member: &Keeper) -> Vec<Loaded> {
    let copies = member.holder.copies();
    let mut held: Vec<Loaded> = copies
        .map(|(feed, copy)| Loaded {
            feed: feed.clone(),
            view: copy.view().clone(),
            position: copy.position(),
            records: copy.records().map(|(key, record)| (key.clone(), record.clone())).collect(),
        })
        .collect();
    held.iter_mut().for_each(sort);
    held
}

fn sort(loaded: &mut Loaded) {
    loaded.records.sort_by(|(left, _): &(RecordKey, Record), (right, _)| left.cmp(right));
}

fn reopened(folder: &Path) -> Vec<Loaded> {
    let (shelf, mut loaded) = Shelf::open(folder).expect("a shelf that opens");
    shelf.close();
    loaded.iter_mut().for_each(sort);
    loaded
}

/// A member with a saved feed of some size, and the folder.
async fn saved(folder: &Path) -> Keeper {
    let mut member = Keeper::member(&Authority::new(), "east", &["west"]).await;
    let (mut shelf, loaded) = Shelf::open(folder).expect("an empty shelf");
    assert_eq!(loaded, []);
    member.register("orders", 0..300);
    shelf.save(member.holder.copies());
    member.register("orders", 300..320);
    member.deregister("orders", 7);
    shelf.save(member.holder.copies());
    shelf.close();
    member
}

#[tokio::test]
async fn steps_and_removals_are_saved_and_read_back_exactly() {
    let folder = tempfile::tempdir().expect("a folder");

    let member = saved(folder.path()).await;

    assert_eq!(reopened(folder.path()), held(&member));
}

#[tokio::test]
async fn saving_goes_on_where_the_last_process_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut member = saved(folder.path()).await;
    let (mut shelf, _) = Shelf::open(folder.path()).expect("a full shelf");

    member.deregister("orders", 8);
    member.register("orders", 400..410);
    shelf.save(member.holder.copies());
    shelf.close();

    assert_eq!(reopened(folder.path()), held(&member));
}

#[tokio::test]
async fn a_forgotten_feed_does_not_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let member = saved(folder.path()).await;
    let (mut shelf, _) = Shelf::open(folder.path()).expect("a full shelf");

    shelf.forget(|feed| *feed != member.own_feed());
    shelf.close();

    let feeds: Vec<String> = reopened(folder.path()).iter().map(|loaded| loaded.feed.to_string()).collect();
    assert_eq!(feeds, ["east/raft"]);
}

#[tokio::test]
async fn a_shelf_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shelf, _) = Shelf::open(folder.path()).expect("an empty shelf");

    let second = Shelf::open(folder.path()).map(drop);

    assert!(second.is_err_and(|why| why.contains("another process")));
    shelf.close();
}

/// Every file below a folder that holds something.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn is_journal(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jnl")
}

/// How long a file is without the zeros at its end.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

#[tokio::test]
async fn a_torn_or_garbled_file_leaves_an_older_copy_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = folder.path().join("whole");
    let member = saved(&whole).await;
    let good = held(&member);
    let mut tried = 0;
    for journal in files(&whole).iter().filter(|file| is_journal(file)) {
        // It is allocated far beyond its use; without that the copies below are small.
        let bytes = fs::read(journal).expect("readable");
        fs::write(journal, &bytes[..used(&bytes)]).expect("written");
    }

    for file in files(&whole) {
        let bytes = fs::read(&file).expect("readable");
        for share in [0, 4, 9] {
            // A garbled table of contents makes fjall ask for more memory than there is, which ends the process; how a
            // shelf comes out of that is the next test.
            for garble in if is_journal(&file) { vec![false, true] } else { vec![false] } {
                let hurt = folder.path().join("hurt");
                copy_tree(&whole, &hurt);
                let at = used(&bytes) * share / 10;
                let mut damaged = bytes.clone();
                if garble {
                    damaged[at..(at + 8).min(bytes.len())].fill(0xa5);
                } else {
                    damaged.truncate(at);
                }
                fs::write(hurt.join(file.strip_prefix(&whole).expect("inside")), damaged).expect("written");

                for loaded in reopened(&hurt) {
                    let known = good.iter().find(|copy| copy.feed == loaded.feed).expect("a feed of ours");
                    let is_older = loaded.position < known.position;
                    assert!(is_older || loaded == *known, "{} garbled at {at}: {garble}", file.display());
                }
                tried += 1;
                fs::remove_dir_all(&hurt).expect("removed");
                let _ = fs::remove_dir_all(folder.path().join("hurt.unreadable"));
            }
        }
    }

    assert!(tried >= 20, "only {tried} damages were tried");
}

#[tokio::test]
async fn a_folder_that_ended_the_process_three_times_is_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("copies");
    let member = saved(&place).await;
    fs::write(place.join("attempts"), "..").expect("written");
    assert_eq!(reopened(&place), held(&member), "two may have been kills at a bad moment");
    assert_eq!(reopened(&place), held(&member), "an attempt that ended well was counted");

    fs::write(place.join("attempts"), "...").expect("written");

    assert_eq!(reopened(&place), []);
    assert!(folder.path().join("copies.unreadable").is_dir(), "an operator may want to look");
}

#[tokio::test]
async fn a_folder_of_another_format_is_set_aside_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("copies");
    fs::create_dir_all(&place).expect("made");
    let other = fjall::Database::builder(&place).open().expect("a database");
    let heads = other.keyspace("heads", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
    heads.insert("format", [99]).expect("written");
    drop((heads, other));

    let loaded = reopened(&place);

    assert_eq!(loaded, []);
    assert!(folder.path().join("copies.unreadable").is_dir(), "an operator may want to go back");
}
