//! What the tests are written in: servers, requests, responses, and the guests that are sent.

pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod guests;
pub(crate) mod kernel;
pub(crate) mod keyring;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod server;
pub(crate) mod tls;

use std::time::Instant;

pub(crate) use server::PATIENCE;

/// Asks again and again until the answer is the one that is waited for.
///
/// # Panics
///
/// When it does not come.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(result) = attempt().await {
            return result;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not happen: {what}");
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
