//! Instances: how they are made, and what they share.

use serde_json::json;

use super::support::{COUNTER, Session};
use crate::support::guests::DOUBLE;
use crate::support::server::Server;

#[tokio::test]
async fn an_instance_keeps_its_state_between_calls() {
    let server = Server::start().await;
    let session = Session::new(&server).await;
    let made = session.instance("M", COUNTER).await.created();
    assert_eq!(made["name"], "M");
    assert_eq!(made["exports"][0]["name"], "count");
    assert_eq!(made["exports"][0]["type"], "(mut i32)");
    for count in 1..4 {
        session
            .call("M", "next", json!([]))
            .await
            .ok(json!({ "outcome": "ok", "results": [count] }));
    }
    session.get("/instances/M/globals/count").await.answers(json!({ "type": "i32", "value": 3 }));
}

#[tokio::test]
async fn imports_come_from_links_from_instances_of_that_name_and_from_registered_modules() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    let session = Session::new(&server).await;
    session.instance("counter", COUNTER).await.created();
    let importing = r#"
        (module
          (import "counter" "next" (func $next (result i32)))
          (import "any string!" "next" (func $again (result i32)))
          (import "utils" "double" (func $double (param i32) (result i32)))
          (func (export "f") (result i32)
            (drop (call $next)) (call $double (call $again))))"#;
    let links = json!({ "any string!": { "instance": "counter" }, "utils": "utils" });
    session.linked("M", importing, links).await.created();
    session.call("M", "f", json!([])).await.ok(json!({ "results": [4] }));
    session.call("counter", "next", json!([])).await.ok(json!({ "results": [3] }));
}
