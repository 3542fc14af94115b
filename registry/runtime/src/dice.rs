//! Chance: seeds for cores and secrets for operators, from the operating system's randomness.

use rustls::crypto::ring;

/// A seed nobody can foretell.
pub fn seed() -> u64 {
    u64::from_le_bytes(bytes())
}

/// Random bytes fit for secrets.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut drawn = [0; N];
    ring::default_provider()
        .secure_random
        .fill(&mut drawn)
        .expect("the operating system hands out randomness, or nothing secret can be made here");
    drawn
}

/// A secret of 32 random bytes as 64 hexadecimal digits.
pub fn secret() -> String {
    bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_throws_differ() {
        assert_ne!(seed(), seed());
        assert_ne!(secret(), secret());
    }

    #[test]
    fn a_secret_is_64_hexadecimal_digits() {
        let secret = secret();

        assert_eq!(secret.len(), 64);
        assert!(secret.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
