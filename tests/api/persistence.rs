//! The data directory: what is registered outlives the server, and compiled code may get lost.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::support::guests::{DOUBLE, DOUBLE_DIGEST, TRIPLE, TWICE_HEX, answering, bytes};
use crate::support::server::Server;

const CALL: &str = "/v1/modules/twice/functions/double_twice";

/// Registers two modules, one linked to the other, and calls them.
async fn fill(server: &Server) {
    server.put("/v1/modules/utils@1.0.0").wat(DOUBLE).await.created();
    server.put("/v1/modules/twice?link=utils=utils").wasm(bytes(TWICE_HEX)).await.created();
    expect_filled(server).await;
}

async fn expect_filled(server: &Server) {
    let call = server.post(CALL).json(json!({ "params": [2] })).await;
    call.ok(json!({ "results": [8] }));
    let limits = json!({ "fuel": 1000 });
    let call = server.post(CALL).json(json!({ "params": [2], "limits": limits })).await;
    call.ok(json!({ "results": [8] }));
}

/// The files of compiled code.
fn artifacts(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.join("artifacts")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if !path.ends_with("key") {
                files.push(path);
            }
        }
    }
    files
}

#[tokio::test]
async fn what_is_registered_outlives_the_server() {
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    fill(&server).await;
    let unnamed = server.post("/v1/modules").wat(answering(1)).await.created();
    let described = server.get("/v1/modules/twice").await.ok(json!({}));
    let listed = server.get("/v1/modules").await.ok(json!({}));
    server.stop().await;

    let server = Server::on(directory.path()).await;
    expect_filled(&server).await;
    server.get("/v1/modules/twice").await.answers(described);
    server.get("/v1/modules").await.answers(listed);
    let path = format!("/v1/modules/{}", unnamed["digest"].as_str().unwrap());
    server.get(&path).await.answers(unnamed);
    server.put("/v1/modules/utils@1.0.0").wat(DOUBLE).await.has_status(200);
    server.put("/v1/modules/utils@1.0.0").wat(TRIPLE).await.problem(409, "name-taken");
}

#[tokio::test]
async fn what_was_deleted_stays_deleted() {
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    fill(&server).await;
    server.delete("/v1/modules/twice").await.no_content();
    server.delete("/v1/modules/utils@1.0.0").await.no_content();
    server.stop().await;

    let server = Server::on(directory.path()).await;
    server.post(CALL).json(json!({ "params": [2] })).await.problem(404, "unknown-module");
    for module in ["twice", "utils", "utils@1.0.0", DOUBLE_DIGEST] {
        server.get(&format!("/v1/modules/{module}")).await.problem(404, "unknown-module");
    }
    let listed = server.get("/v1/modules").await;
    listed.answers(json!({ "modules": [], "next_cursor": null }));
    // A version is remembered.
    let other = server.put("/v1/modules/utils@1.0.0").wat(TRIPLE).await;
    other.problem(409, "name-taken").has(json!({ "digest": DOUBLE_DIGEST }));
}

#[tokio::test]
async fn a_server_that_was_killed_kept_what_it_acknowledged() {
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    fill(&server).await;
    drop(server);
    expect_filled(&Server::on(directory.path()).await).await;
}

#[tokio::test]
async fn compiled_code_that_is_damaged_or_gone_is_compiled_again() {
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    fill(&server).await;
    server.stop().await;
    // Two modules, each fast and metered.
    assert_eq!(artifacts(directory.path()).len(), 4);
    type Damage = fn(&Path, Vec<u8>);
    let damages: [Damage; 5] = [
        |path, mut code| {
            let middle = code.len() / 2;
            code[middle] ^= 1;
            fs::write(path, code).unwrap();
        },
        |path, code| fs::write(path, &code[..code.len() / 2]).unwrap(),
        |path, _| fs::write(path, "").unwrap(),
        |path, code| fs::write(path, vec![0; code.len()]).unwrap(),
        |_, _| {},
    ];
    for damage in damages {
        for path in artifacts(directory.path()) {
            let code = fs::read(&path).unwrap();
            // They are read-only, so another file takes the place.
            fs::remove_file(&path).unwrap();
            damage(&path, code);
        }
        let server = Server::on(directory.path()).await;
        expect_filled(&server).await;
        server.stop().await;
        assert_eq!(artifacts(directory.path()).len(), 4);
    }
}

#[tokio::test]
async fn one_modules_code_is_not_taken_for_anothers() {
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    server.put("/v1/modules/one").wat(answering(1)).await.created();
    let first = artifacts(directory.path());
    server.put("/v1/modules/two").wat(answering(2)).await.created();
    server.stop().await;
    let both = artifacts(directory.path());
    let [one] = &first[..] else { panic!("{first:?}") };
    let two = both.iter().find(|path| *path != one).unwrap();
    let code = fs::read(one).unwrap();
    fs::remove_file(two).unwrap();
    fs::write(two, code).unwrap();

    let server = Server::on(directory.path()).await;
    for (module, number) in [("one", 1), ("two", 2)] {
        let call = server.post(&format!("/v1/modules/{module}/functions/answer")).await;
        call.ok(json!({ "results": [number] }));
    }
}

#[tokio::test]
async fn wasm_that_is_sent_along_leaves_nothing_on_disk() {
    let directory = TempDir::new().unwrap();
    let server = Server::on(directory.path()).await;
    let body = json!({ "wat": answering(1), "function": "answer" });
    server.post("/v1/call").json(body).await.ok(json!({ "results": [1] }));
    let refused = r#"(module (import "nobody" "f" (func)))"#;
    server.put("/v1/modules/m").wat(refused).await.problem(422, "link-error");
    assert_eq!(artifacts(directory.path()), Vec::<PathBuf>::new());
    server.put("/v1/modules/m").wat(answering(1)).await.created();
}
