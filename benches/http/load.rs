//! Load from wrk.

use std::io::Write;

use crate::target::{Target, pinned};

/// The core that the load runs on, besides the servers'.
const LOAD_CORE: &str = "1";

/// Connections that wrk keeps busy, from one thread.
const CONNECTIONS: &str = "-c32";

/// Requests a second that a target answers when `path` is asked again and again.
pub(crate) fn requests_per_second(target: &Target, path: &str, body: &str, seconds: u64) -> f64 {
    let mut script = tempfile::Builder::new().suffix(".lua").tempfile().expect("a file");
    writeln!(
        script,
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [[{body}]]"
    )
    .expect("it is written");
    let output = pinned(LOAD_CORE)
        .args(["wrk", "-t1", CONNECTIONS, &format!("-d{seconds}s"), "-s"])
        .arg(script.path())
        .arg(format!("{}{path}", target.url))
        .output()
        .expect("wrk is installed (Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx"), "the target failed: {text}");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("wrk said: {text}"))
}
