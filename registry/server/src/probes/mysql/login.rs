//! Logs in to a MySQL server: its greeting, our answer, and the other way of proof it may ask for.

use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    END, Ended, OK, error, first,
    packet::{Packets, Reader, broken},
};

/// What we can: long passwords, the protocol of 4.1, transactions, proofs of 4.1, named ways of proof.
const ABILITIES: u32 = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;

/// The longest packet that we would send, as told to the server.
const SENT_BYTES_MAX: u32 = 1 << 24;

/// UTF-8 in the numbering of character sets.
const UTF8: u8 = 33;

/// The server's only version of a greeting.
const GREETING: u8 = 10;

/// More of a login follows.
const MORE: u8 = 0x01;
/// The proof was known already.
const KNOWN: u8 = 0x03;

/// The bytes of a challenge.
const CHALLENGE_BYTES: usize = 20;

/// Rounds of a login; a server that asks on is no server.
const ROUNDS_MAX: usize = 4;

/// Reads the greeting and logs in.
pub(super) async fn log_in<S>(packets: &mut Packets<S>, user: &str, password: &str) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = packets.read().await?;
    if first(&greeting)? != GREETING {
        return Err(Ended::Refused("it greets in an unknown way".to_owned()));
    }
    let (challenge, way) = read(&greeting).ok_or_else(|| broken("a greeting is too short"))?;
    let proof = prove(&way, password, &challenge).unwrap_or_default();
    packets.write(&answer(user, &proof, &way)).await?;
    for _ in 0..ROUNDS_MAX {
        let said = packets.read().await?;
        let mut reader = Reader(&said);
        match (first(&said)?, said.get(1)) {
            (OK, _) => return Ok(()),
            (MORE, Some(&KNOWN)) => {}
            (MORE, _) => {
                return Err(Ended::Unable(format!("{user} can only log in to this server over TLS")));
            }
            (END, Some(_)) => {
                reader.bytes(1);
                let way = String::from_utf8_lossy(reader.until_zero()).into_owned();
                let challenge = reader.until_zero();
                let proof = prove(&way, password, challenge)
                    .ok_or_else(|| Ended::Unable(format!("{user} would have to log in by {way}")))?;
                packets.write(&proof).await?;
            }
            _ => return Err(Ended::Refused(error(&said))),
        }
    }
    Err(Ended::Refused("its login has no end".to_owned()))
}

/// The challenge and the way of proof of a greeting.
fn read(greeting: &[u8]) -> Option<(Vec<u8>, String)> {
    let mut reader = Reader(greeting.get(1..)?);
    reader.until_zero();
    reader.bytes(4)?;
    let mut challenge = reader.bytes(8)?.to_vec();
    // A filler, abilities, character set, status, abilities, the challenge's length, reserved.
    reader.bytes(1 + 2 + 1 + 2 + 2 + 1 + 10)?;
    challenge.extend(reader.until_zero());
    challenge.truncate(CHALLENGE_BYTES);
    let way = match reader.until_zero() {
        [] => "mysql_native_password".to_owned(),
        way => String::from_utf8_lossy(way).into_owned(),
    };
    Some((challenge, way))
}

fn answer(user: &str, proof: &[u8], way: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + user.len() + proof.len() + way.len());
    body.extend(ABILITIES.to_le_bytes());
    body.extend(SENT_BYTES_MAX.to_le_bytes());
    body.push(UTF8);
    body.extend([0; 23]);
    body.extend(user.bytes().filter(|byte| *byte != 0));
    body.push(0);
    body.push(u8::try_from(proof.len()).unwrap_or(0));
    body.extend(proof);
    body.extend(way.bytes());
    body.push(0);
    body
}

/// The proof that we know a password; none for a way that we do not know.
fn prove(way: &str, password: &str, challenge: &[u8]) -> Option<Vec<u8>> {
    let (algorithm, first) = match way {
        "mysql_native_password" => (&SHA1_FOR_LEGACY_USE_ONLY, true),
        "caching_sha2_password" => (&SHA256, false),
        _ => return None,
    };
    if password.is_empty() {
        return Some(Vec::new());
    }
    let hash = |parts: &[&[u8]]| -> Digest {
        let mut context = Context::new(algorithm);
        parts.iter().for_each(|part| context.update(part));
        context.finish()
    };
    let secret = hash(&[password.as_bytes()]);
    let twice = hash(&[secret.as_ref()]);
    let mask = if first { hash(&[challenge, twice.as_ref()]) } else { hash(&[twice.as_ref(), challenge]) };
    Some(secret.as_ref().iter().zip(mask.as_ref()).map(|(secret, mask)| secret ^ mask).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_what_servers_compute() {
        let challenge: Vec<u8> = (1..=20).collect();

        // Computed by another implementation of SHA-1 and SHA-256 (Python's hashlib).
        let of = |way| prove(way, "secret", &challenge).map(|proof| hex(&proof));

        assert_eq!(of("mysql_native_password").as_deref(), Some(NATIVE));
        assert_eq!(of("caching_sha2_password").as_deref(), Some(CACHING));
        assert_eq!(of("client_ed25519"), None);
        assert_eq!(prove("mysql_native_password", "", &challenge), Some(Vec::new()));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const NATIVE: &str = "b32bb3a583e1340c0a1108d58b1be49781ad8c2f";
    const CACHING: &str = "746ebe205d56a0707acb3e796e834e0dd7b1d61743b26bd5202c7a623230c7c9";
}
