//! One HTTP probe: a page is asked for, and the status of its answer counts.

use landbridge_registry_core::probing::Finding;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::checker::Page;

/// The longest status line that is read, in bytes.
const LINE_BYTES_MAX: usize = 1_024;

/// Asks for the page on an open stream; an error means that the conversation broke.
pub(super) async fn ask<S>(mut stream: S, host: &str, page: &Page) -> std::io::Result<Finding>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request(host, page).as_bytes()).await?;
    let mut line = Vec::with_capacity(64);
    while !line.contains(&b'\n') && line.len() < LINE_BYTES_MAX {
        if stream.read_buf(&mut line).await? == 0 {
            break;
        }
    }
    Ok(status(&line).map_or(Finding::Hard, |status| judge(status, &page.expected)))
}

fn request(host: &str, page: &Page) -> String {
    let mut head = format!("GET {} HTTP/1.1\r\n", page.path);
    let names_host = page.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !names_host {
        head.push_str(&format!("host: {host}\r\n"));
    }
    for (name, value) in &page.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("user-agent: landbridge-probe\r\nconnection: close\r\n\r\n");
    head
}

fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// Who is busy or moved asks for patience, all else is an answer (Nacos 2.5 `HttpHealthCheckProcessor`).
fn judge(status: u16, expected: &[u16]) -> Finding {
    match status {
        status if expected.contains(&status) => Finding::Well,
        302 | 503 => Finding::Soft,
        _ => Finding::Hard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(expected: &[u16]) -> Page {
        Page {
            path: "/health".into(),
            headers: vec![("X-Probe".into(), "yes".into())],
            expected: expected.into(),
        }
    }

    async fn answered(with: &str, expected: &[u16]) -> (Finding, String) {
        let (ours, mut theirs) = tokio::io::duplex(4_096);
        theirs.write_all(with.as_bytes()).await.expect("it is read");
        let finding = ask(ours, "10.0.0.1:80", &page(expected)).await.expect("a conversation");
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).await.expect("it is text");
        (finding, asked)
    }

    #[tokio::test]
    async fn the_expected_code_is_honoured_unlike_in_nacos() {
        for (code, expected, finding) in [
            (200, 200, Finding::Well),
            (204, 200, Finding::Hard),
            (204, 204, Finding::Well),
            (503, 200, Finding::Soft),
            (302, 200, Finding::Soft),
            (302, 302, Finding::Well),
            (404, 200, Finding::Hard),
            (500, 200, Finding::Hard),
        ] {
            let (found, _) = answered(&format!("HTTP/1.1 {code} Whatever\r\n\r\n"), &[expected]).await;
            assert_eq!(found, finding, "{code} where {expected} is expected");
        }
    }

    #[tokio::test]
    async fn a_probe_names_its_host_its_headers_and_that_it_ends() {
        let (_, asked) = answered("HTTP/1.0 200 OK\r\n\r\n", &[200]).await;

        assert!(
            asked.starts_with("GET /health HTTP/1.1\r\nhost: 10.0.0.1:80\r\nX-Probe: yes\r\n"),
            "{asked}"
        );
        assert!(asked.ends_with("connection: close\r\n\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn what_speaks_no_http_is_not_well() {
        assert_eq!(answered("+OK ready\r\n", &[200]).await.0, Finding::Hard);
        assert_eq!(answered(&"x".repeat(2_000), &[200]).await.0, Finding::Hard);
    }
}
