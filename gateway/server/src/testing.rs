//! A page for tests.

/// The smallest page.
pub(crate) const PAGE: &str = r#"
region = "east"
zone = "a"
[[listeners]]
name = "calls"
listen = "127.0.0.1:0"
by_path = true
"#;
