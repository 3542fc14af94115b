//! Stands for a long text where there is room for a short one: the same text has the same everywhere, others another.

use ecow::EcoString;
use ring::digest::{SHA256, digest};

/// How much of the digest is told, in bytes: enough that nobody finds two texts with one.
const TOLD_BYTES: usize = 16;

/// How long a fingerprint is, in characters.
pub(crate) const FINGERPRINT_CHARS: usize = 2 * TOLD_BYTES;

/// The fingerprint of a text, in hexadecimal digits.
pub(crate) fn fingerprint(text: &str) -> EcoString {
    let whole = digest(&SHA256, text.as_bytes());
    whole.as_ref().iter().take(TOLD_BYTES).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}
