//! The first admin: whoever can read a random secret in a file of the data folder may make it, once.
//!
//! Invariant: while there is a user there is no secret, neither in memory nor on disk.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use landbridge_runtime::dice;
use parking_lot::Mutex;
use tracing::{info, warn};

/// The file's name in the data folder.
pub(crate) const FILE: &str = "admin-bootstrap";

/// The secret, while there is one.
pub(crate) struct Bootstrap {
    file: PathBuf,
    secret: Mutex<Option<String>>,
}

impl Bootstrap {
    /// With `wanted` draws a secret and lays it in a file that nobody else can read.
    pub(crate) fn open(data_dir: &Path, wanted: bool) -> Result<Self, String> {
        let file = data_dir.join(FILE);
        let about = |error: io::Error| format!("{}: {error}", file.display());
        forget(&file).map_err(about)?;
        if !wanted {
            return Ok(Self { file, secret: Mutex::new(None) });
        }
        let secret = dice::secret();
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        opened.and_then(|mut opened| opened.write_all(secret.as_bytes())).map_err(about)?;
        info!(event = "admin_bootstrap", file = %file.display(), "no user yet: the secret in this file makes the first admin");
        Ok(Self { file, secret: Mutex::new(Some(secret)) })
    }

    /// Whether this is the secret.
    pub(crate) fn knows(&self, given: &str) -> bool {
        let secret = self.secret.lock();
        secret.as_ref().is_some_and(|secret| same(given.as_bytes(), secret.as_bytes()))
    }

    /// There are users: the secret is worth nothing any more.
    pub(crate) fn end(&self) {
        if self.secret.lock().take().is_some()
            && let Err(error) = forget(&self.file)
        {
            warn!(event = "admin_bootstrap_left", file = %self.file.display(), %error);
        }
    }
}

fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Compares without telling by its time where the first difference is.
pub(crate) fn same(given: &[u8], secret: &[u8]) -> bool {
    given.len() == secret.len() && given.iter().zip(secret).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_secret_lies_in_a_file_that_nobody_else_can_read_and_goes_with_the_first_user() {
        let folder = tempfile::tempdir().expect("a folder");
        let bootstrap = Bootstrap::open(folder.path(), true).expect("a secret");
        let file = folder.path().join(FILE);

        let secret = fs::read_to_string(&file).expect("a file");
        let mode = fs::metadata(&file).expect("a file").permissions().mode() & 0o777;

        assert_eq!((secret.len(), mode), (64, 0o600));
        assert!(bootstrap.knows(&secret) && !bootstrap.knows("") && !bootstrap.knows(&secret[1..]));
        bootstrap.end();
        assert!(!bootstrap.knows(&secret) && !file.exists());
    }

    #[test]
    fn without_need_there_is_no_secret_and_an_old_one_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), "older").expect("written");

        let bootstrap = Bootstrap::open(folder.path(), false).expect("none");

        assert!(!bootstrap.knows("") && !bootstrap.knows("older") && !folder.path().join(FILE).exists());
    }
}
