//! A session, as tests use one.

use serde_json::{Value, json};

use crate::support::request::Request;
use crate::support::server::Server;

/// Counts, and exports all it counts with.
pub(super) const COUNTER: &str = r#"
    (module
      (global $count (export "count") (mut i32) (i32.const 0))
      (memory (export "memory") 1 4)
      (table (export "table") 2 funcref)
      (tag (export "tag") (param i32))
      (func (export "next") (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (global.get $count))
      (func (export "trap") (global.set $count (i32.const 100)) unreachable)
      (func (export "loop") (loop (br 0)))
      (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
      (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

/// A session of a server.
#[derive(Debug)]
pub(super) struct Session<'a> {
    server: &'a Server,
    pub(super) path: String,
    key: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) async fn new(server: &'a Server) -> Self {
        Self::with(server, json!({})).await
    }

    pub(super) async fn with(server: &'a Server, body: Value) -> Self {
        let made = server.post("/v1/sessions").json(body).await.created();
        let path = format!("/v1/sessions/{}", made["id"].as_str().unwrap());
        Self { server, path, key: None }
    }

    /// One that is made, and used from then on, with a key.
    pub(super) async fn of(server: &'a Server, key: &str) -> Self {
        let made = server.post("/v1/sessions").key(key).json(json!({})).await.created();
        let path = format!("/v1/sessions/{}", made["id"].as_str().unwrap());
        Self { server, path, key: Some(key.to_owned()) }
    }

    fn sent(&self, request: Request) -> Request {
        match &self.key {
            Some(key) => request.key(key),
            None => request,
        }
    }

    pub(super) fn get(&self, path: &str) -> Request {
        self.sent(self.server.get(&format!("{}{path}", self.path)))
    }

    pub(super) fn put(&self, path: &str) -> Request {
        self.sent(self.server.put(&format!("{}{path}", self.path)))
    }

    pub(super) fn post(&self, path: &str) -> Request {
        self.sent(self.server.post(&format!("{}{path}", self.path)))
    }

    pub(super) fn delete(&self) -> Request {
        self.sent(self.server.delete(&self.path))
    }

    /// Asks for an instance of a module that is sent along.
    pub(super) fn instance(&self, name: &str, wat: &str) -> Request {
        self.linked(name, wat, json!({}))
    }

    /// The same with links.
    pub(super) fn linked(&self, name: &str, wat: &str, links: Value) -> Request {
        self.post("/instances").json(json!({ "name": name, "wat": wat, "links": links }))
    }

    pub(super) fn call(&self, instance: &str, function: &str, params: Value) -> Request {
        let path = format!("/instances/{instance}/functions/{function}");
        self.post(&path).json(json!({ "params": params }))
    }
}
