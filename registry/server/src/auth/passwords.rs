//! Passwords: bcrypt, off the reactor, a few at a time, and remembered once right for clients that send them always.
//!
//! Invariant: no password is kept, only a keyed digest of those that were right, under a key that this process drew.

use std::{collections::BTreeSet, sync::Arc};

use landbridge_runtime::dice;
use parking_lot::Mutex;
use ring::hmac;
use tokio::sync::Semaphore;

/// Passwords that are looked at together; each keeps a processor busy.
const TOGETHER_MAX: usize = 2;

/// Passwords that wait for that; further ones are told to try again.
const WAITING_MAX: usize = 64;

/// Right passwords that are remembered; then all are forgotten and looked at again.
const KNOWN_MAX: usize = 10_000;

/// The longest password, in bytes: bcrypt looks at no more, and a part of a password must not do for all of it.
pub(crate) const PASSWORD_BYTES_MAX: usize = 72;

/// The shortest password that is taken, in characters.
pub(crate) const PASSWORD_CHARS_MIN: usize = 8;

/// Too many passwords wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// The keeper of passwords.
pub(crate) struct Passwords {
    cost: u32,
    key: hmac::Key,
    known: Mutex<BTreeSet<[u8; 32]>>,
    waiting: Semaphore,
    together: Arc<Semaphore>,
    /// What a password of nobody is compared with, so that time does not tell who exists.
    nobody: tokio::sync::OnceCell<String>,
}

impl Passwords {
    /// New hashes have this cost: each step doubles the work.
    pub(crate) fn new(cost: u32) -> Self {
        Self {
            cost,
            key: hmac::Key::new(hmac::HMAC_SHA256, &dice::bytes::<32>()),
            known: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
            together: Arc::new(Semaphore::new(TOGETHER_MAX)),
            nobody: tokio::sync::OnceCell::new(),
        }
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Busy> {
        let (password, cost) = (password.to_owned(), self.cost);
        let hashed = self.work(move || bcrypt::hash(password, cost).ok()).await?;
        hashed.ok_or(Busy)
    }

    /// Whether a password fits a user's hash; without a hash it fits nobody, which takes as long to find out.
    pub(crate) async fn fits(&self, name: &str, password: &str, hash: Option<String>) -> Result<bool, Busy> {
        let exists = hash.is_some();
        let hash = match hash {
            Some(hash) => hash,
            None => self.nobody.get_or_try_init(|| self.hash("nobody's password")).await?.clone(),
        };
        let digest = self.digest(name, password, &hash);
        if self.known.lock().contains(&digest) {
            return Ok(exists);
        }
        let short = password.len() <= PASSWORD_BYTES_MAX;
        let password: String = if short { password.to_owned() } else { String::new() };
        let right = self.work(move || bcrypt::verify(password, &hash).unwrap_or(false)).await?;
        let right = right && short && exists;
        if right {
            let mut known = self.known.lock();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(digest);
        }
        Ok(right)
    }

    fn digest(&self, name: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, password, hash] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.together).acquire_owned().await.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: u32 = 4;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other() {
        let passwords = Passwords::new(CHEAP);
        let hash = passwords.hash("correct horse").await.expect("not busy");

        for _ in 0..2 {
            assert_eq!(passwords.fits("alice", "correct horse", Some(hash.clone())).await, Ok(true));
            assert_eq!(passwords.fits("alice", "wrong horse", Some(hash.clone())).await, Ok(false));
            assert_eq!(passwords.fits("alice", "", Some(hash.clone())).await, Ok(false));
            assert_eq!(passwords.fits("nobody", "correct horse", None).await, Ok(false));
            assert_eq!(passwords.fits("nobody", "nobody's password", None).await, Ok(false));
        }
    }

    #[tokio::test]
    async fn a_right_password_is_wrong_once_the_hash_is_another() {
        let passwords = Passwords::new(CHEAP);
        let before = passwords.hash("correct horse").await.expect("not busy");
        let after = passwords.hash("another horse").await.expect("not busy");

        assert_eq!(passwords.fits("alice", "correct horse", Some(before)).await, Ok(true));
        assert_eq!(passwords.fits("alice", "correct horse", Some(after)).await, Ok(false));
    }

    #[tokio::test]
    async fn a_longer_password_does_not_pass_for_its_first_72_bytes() {
        let passwords = Passwords::new(CHEAP);
        let longest = "x".repeat(PASSWORD_BYTES_MAX);
        let hash = passwords.hash(&longest).await.expect("not busy");

        assert_eq!(passwords.fits("alice", &longest, Some(hash.clone())).await, Ok(true));
        assert_eq!(passwords.fits("alice", &format!("{longest}y"), Some(hash)).await, Ok(false));
    }
}
