//! API keys: who gets in, with which scope, how often, and what is private to whom.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::guests::{DOUBLE, DOUBLE_BLOB, DOUBLE_DIGEST, DOUBLE_HEX, TWICE_HEX, UNRULY};
use crate::support::keyring::Keyring;
use crate::support::request::Request;
use crate::support::response::{Problem, Response};
use crate::support::server::Server;

/// Every route with the scope that it needs: `-` is none, `key` any.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/", "-"),
    ("HEAD", "/", "-"),
    ("GET", "/healthz", "-"),
    ("GET", "/readyz", "-"),
    ("GET", "/openapi.json", "-"),
    ("GET", "/problems", "-"),
    ("GET", "/problems/trap", "-"),
    ("GET", "/v1/limits", "key"),
    ("GET", "/v1/modules", "key"),
    ("GET", "/v1/modules?unnamed=true", "key"),
    ("GET", "/v1/modules/utils", "key"),
    ("HEAD", "/v1/modules/utils", "key"),
    ("GET", "/v1/modules/utils/wasm", "key"),
    ("GET", "/v1/modules/utils/wat", "key"),
    ("GET", "/nothing", "key"),
    ("OPTIONS", "/v1/call", "key"),
    ("GET", "/register", "key"),
    ("POST", "/", "call"),
    ("POST", "/execute", "call"),
    ("POST", "/v1/call", "call"),
    ("POST", "/v1/modules/utils/functions/double", "call"),
    ("POST", "/v1/modules/ut%69ls/functions/double", "call"),
    ("POST", "/register", "register"),
    ("PUT", "/v1/modules/other", "register"),
    ("POST", "/v1/modules", "register"),
    ("DELETE", "/v1/modules/nobody", "register"),
    ("POST", "/v1/modules/utils/functions/", "register"),
    ("PATCH", "/healthz", "register"),
    ("POST", "/nothing", "register"),
    ("GET", "/metrics", "admin"),
    ("GET", "/v1/network", "admin"),
];

fn request(server: &Server, method: &str, path: &str) -> Request {
    server.request(Method::from_bytes(method.as_bytes()).unwrap(), path)
}

/// What each route says to whoever has `key`, who has the scopes that it `allows`.
async fn try_every_route(server: &Server, key: &str, allows: &[&str]) {
    for (method, path, scope) in ROUTES {
        let response = request(server, method, path).key(key).await;
        let context = format!("{method} {path}: {response:?}");
        if allows.contains(scope) {
            assert!(![401, 403].contains(&response.status.as_u16()), "{context}");
        } else {
            response.problem(403, "forbidden").says(&[*scope]).has(json!({ "scope": scope }));
        }
    }
}

#[tokio::test]
async fn each_route_needs_its_scope() {
    let mut keyring = Keyring::new();
    let call = keyring.scoped("call");
    let register = keyring.scoped("register");
    let both = keyring.scoped("register call");
    let admin = keyring.scoped("admin");
    let server = keyring.server().await;
    server.put("/v1/modules/utils").key(&admin).wat(DOUBLE).await.created();
    try_every_route(&server, &call, &["-", "key", "call"]).await;
    try_every_route(&server, &register, &["-", "key", "register"]).await;
    try_every_route(&server, &both, &["-", "key", "call", "register"]).await;
    try_every_route(&server, &admin, &["-", "key", "call", "register", "admin"]).await;
}

#[tokio::test]
async fn without_a_known_key_only_what_is_the_same_for_everybody_is_told() {
    let mut keyring = Keyring::new();
    let key = keyring.scoped("admin");
    let stranger = Keyring::new().scoped("admin");
    let server = keyring.server().await;
    let (id, secret) = key.split_at(15);
    let forged = format!("{id}{}", secret.chars().rev().collect::<String>());
    let headers = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer nonsense".to_owned()),
        Some(format!("Bearer {stranger}")),
        Some(format!("Bearer {forged}")),
        Some(format!("Bearer {key}x")),
        Some(format!("Bearer {key} {key}")),
        Some(format!("Basic {key}")),
        Some(key.clone()),
    ];
    for (method, path, scope) in ROUTES {
        for header in &headers {
            let mut request = request(&server, method, path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let response = request.await;
            if *scope == "-" {
                response.has_status(200);
            } else {
                let response = response.has_status(401).has_header("www-authenticate", "Bearer");
                if *method != "HEAD" {
                    response.problem(401, "unauthenticated");
                }
            }
        }
    }
    // The scheme is read in any case, as the RFC says.
    let limits = server.get("/v1/limits").header("authorization", &format!("bearer {key}"));
    limits.await.has_status(200);
    let twice = server.get("/v1/limits").key(&key).key(&key).await;
    twice.problem(401, "unauthenticated").says(&["two"]);
}

/// For the list of all problems.
pub(crate) async fn asking_without_a_key() -> Response {
    let mut keyring = Keyring::new();
    keyring.scoped("call");
    keyring.server().await.get("/v1/modules").await
}

#[tokio::test]
async fn a_call_that_is_refused_says_its_outcome() {
    let mut keyring = Keyring::new();
    let register = keyring.scoped("register");
    let server = keyring.server().await;
    let problem = server.post("/v1/call").await.problem(401, "unauthenticated");
    problem.has(json!({ "outcome": "unauthenticated" }));
    let problem = server.post("/").key(&register).await.problem(403, "forbidden");
    problem.has(json!({ "outcome": "forbidden" }));
}

#[tokio::test]
async fn a_key_is_asked_for_before_a_body_is_read() {
    let mut keyring = Keyring::new();
    let call = keyring.scoped("call");
    let server = keyring.server().await;
    for (authorization, code) in [("", 401), (&*format!("Authorization: Bearer {call}\r\n"), 403)] {
        let mut connection = server.connect().await;
        let head = format!(
            "PUT /v1/modules/m HTTP/1.1\r\nHost: localhost\r\n{authorization}\
             Content-Type: text/wat\r\nContent-Length: 1000\r\n\r\n"
        );
        // The body never comes.
        connection.send(head).await;
        connection.response().await.has_status(code);
    }
}

#[tokio::test]
async fn with_keys_any_host_is_answered_for_and_foreign_origins_are_not() {
    const ORIGIN: &str = "https://console.example.org";
    let mut keyring = Keyring::new();
    let key = keyring.scoped("call");
    let server = keyring.server_for(ORIGIN).await;
    let get = || server.get("/v1/modules").key(&key);
    get().header("host", "wasm.example.org").await.has_status(200);
    get().header("host", "192.0.2.1:4000").await.has_status(200);
    get().header("origin", "https://evil.example").await.problem(403, "forbidden");
    get().header("origin", ORIGIN).await.has_header("access-control-allow-origin", ORIGIN);
    let refused = server.get("/v1/modules").header("origin", ORIGIN).await.has_status(401);
    refused.has_header("access-control-allow-origin", ORIGIN);
    // A browser asks what it may send without the key.
    let preflight = server
        .request(Method::OPTIONS, "/v1/call")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization")
        .await
        .has_status(204);
    let allowed = preflight.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("authorization"), "{allowed}");
}

#[tokio::test]
async fn a_key_writes_only_to_its_namespaces() {
    let mut keyring = Keyring::new();
    let bound = keyring.add("scopes = [\"register\"]\nnamespaces = [\"acme\", \"beta\"]");
    let unbound = keyring.scoped("register");
    let server = keyring.server().await;
    let put =
        |key: &str, name: &str| server.put(&format!("/v1/modules/{name}")).key(key).wat(DOUBLE);
    put(&bound, "acme:utils").await.created();
    put(&bound, "beta:utils@1.0.0").await.created();
    put(&bound, "gamma:utils").await.problem(403, "forbidden").says(&["`gamma`"]);
    put(&bound, "utils").await.problem(403, "forbidden").says(&["namespaces"]);
    put(&bound, "a b").await.problem(422, "invalid-name");
    server.post("/v1/modules").key(&bound).wat(DOUBLE).await.problem(403, "forbidden");
    let register = |name: &str| {
        let body = json!({ "module_name": name, "wasm_hex": DOUBLE_HEX });
        server.post("/register").key(&bound).json(body)
    };
    register("acme:double").await.has_status(200);
    register("double").await.problem(403, "forbidden");
    // What is registered is for all to read, and for those who may write to delete.
    put(&unbound, "utils").await.created();
    server.get("/v1/modules/utils").key(&bound).await.has_status(200);
    let delete = |key: &str, module: &str| server.delete(&format!("/v1/modules/{module}")).key(key);
    delete(&bound, "utils").await.problem(403, "forbidden");
    delete(&bound, DOUBLE_DIGEST).await.problem(403, "forbidden");
    delete(&bound, "acme:utils").await.no_content();
    delete(&unbound, "acme:double").await.no_content();
}

/// A server with a private namespace `acme`, in which `secret@1.0.0` is `DOUBLE`, and the keys of
/// its owner, of somebody else, and of an administrator.
async fn with_a_secret() -> (Server, String, String, String) {
    let mut keyring = Keyring::new();
    let owner = keyring.add("scopes = [\"call\", \"register\"]\nnamespaces = [\"acme\"]");
    let other = keyring.scoped("call register");
    let admin = keyring.scoped("admin");
    keyring.say("[[namespace]]\nname = \"acme\"\nprivate = true");
    let server = keyring.server().await;
    server.put("/v1/modules/acme:secret@1.0.0").key(&owner).wat(DOUBLE).await.created();
    (server, owner, other, admin)
}

#[tokio::test]
async fn what_is_private_is_there_for_its_keys_and_for_administrators() {
    let (server, owner, _, admin) = with_a_secret().await;
    for key in [&owner, &admin] {
        for module in ["acme:secret", "acme:secret@1.0.0", DOUBLE_DIGEST] {
            let described = server.get(&format!("/v1/modules/{module}")).key(key).await;
            described.ok(json!({ "name": "acme:secret@1.0.0", "digest": DOUBLE_DIGEST }));
            let call = server.post(&format!("/v1/modules/{module}/functions/double")).key(key);
            call.json(json!({ "params": [2] })).await.ok(json!({ "results": [4] }));
        }
        let list = server.get("/v1/modules").key(key).await.ok(json!({}));
        assert_eq!(list["modules"].as_array().unwrap().len(), 1);
    }
}

/// A problem without what names the request.
fn anonymous(problem: Problem, module: &str) -> Value {
    let mut body = problem.body;
    body["detail"] = body["detail"].as_str().unwrap().replace(module, "MODULE").into();
    body
}

#[tokio::test]
async fn what_is_private_is_for_others_as_if_it_were_not() {
    let (server, owner, other, _) = with_a_secret().await;
    // The owner's calls fill every cache that there is.
    for module in ["acme:secret", "acme:secret@1.0.0", DOUBLE_DIGEST] {
        let call = server.post(&format!("/v1/modules/{module}/functions/double")).key(&owner);
        call.json(json!({ "params": [2] })).await.ok(json!({}));
    }
    let nothing = format!("sha256:{}", "5a".repeat(32));
    let requests = |module: &str| {
        let at = |rest: &str| format!("/v1/modules/{module}{rest}");
        let inline = json!({ "wasm_hex": TWICE_HEX, "function": "double_twice", "params": [2] });
        let with = |member: &str, value: Value| {
            let mut body = inline.clone();
            body[member] = value;
            body
        };
        let host_modules = json!({
            "wasm_hex": TWICE_HEX, "function_name": "double_twice", "host_modules": [module],
        });
        let execute = json!({ "module_name": module, "function_name": "double", "params": [2] });
        [
            server.get(&at("")),
            server.get(&at("/wasm")),
            server.get(&at("/wat")),
            server.delete(&at("")),
            server.post(&at("/functions/double")).json(json!({ "params": [2] })),
            server.post(&at("/functions/nothing")),
            server.post("/v1/call").json(json!({ "module": module, "function": "double" })),
            server.post("/v1/call").json(with("links", json!({ "utils": module }))),
            server.put(&format!("/v1/modules/mine?link=utils={module}")).wasm(twice()),
            server.post(&format!("/v1/modules?link=utils={module}")).wasm(twice()),
        ]
        .into_iter()
        .chain((!module.starts_with("sha256:")).then(|| server.post("/execute").json(execute)))
        .chain((!module.starts_with("sha256:")).then(|| server.post("/").json(host_modules)))
        .map(|request| request.key(&other))
        .collect::<Vec<_>>()
    };
    for (private, missing) in [
        ("acme:secret", "acme:nothing"),
        ("acme:secret@1.0.0", "acme:secret@2.0.0"),
        ("acme:secret", "public:nothing"),
        (DOUBLE_DIGEST, &*nothing),
        (DOUBLE_BLOB, &*nothing),
    ] {
        for (asked, unasked) in requests(private).into_iter().zip(requests(missing)) {
            let asked = anonymous(asked.await.problem(404, "unknown-module"), private);
            let unasked = anonymous(unasked.await.problem(404, "unknown-module"), missing);
            assert_eq!(asked, unasked, "{private}");
        }
    }
    let put = server.put("/v1/modules/acme:mine").key(&other).wat(DOUBLE).await;
    put.problem(403, "forbidden");
    server.get("/v1/modules/acme:secret").key(&owner).await.has_status(200);
}

fn twice() -> Vec<u8> {
    crate::support::guests::bytes(TWICE_HEX)
}

#[tokio::test]
async fn what_others_register_with_the_same_content_says_nothing_of_what_is_private() {
    let (server, owner, other, _) = with_a_secret().await;
    let put = server.put("/v1/modules/copy").key(&other).wat(DOUBLE).await.created();
    assert_eq!(put["names"], json!(["copy"]));
    // Now the digest is known by a name that everybody sees.
    let described = server.get(&format!("/v1/modules/{DOUBLE_DIGEST}")).key(&other).await;
    let described = described.ok(json!({ "name": "copy", "names": ["copy"] }));
    assert_eq!(described["digest"], DOUBLE_DIGEST);
    let described = server.get("/v1/modules/copy").key(&owner).await;
    described.ok(json!({ "names": ["acme:secret@1.0.0", "copy"] }));
    let delete = || server.delete(&format!("/v1/modules/{DOUBLE_DIGEST}")).key(&other);
    let problem = delete().await.problem(409, "in-use").says(&["`copy`"]);
    assert!(!problem.body.to_string().contains("acme"), "{}", problem.body);
    problem.has(json!({ "names": 1, "links": 0 }));
    // What links to it names it by the name that is seen.
    let path = "/v1/modules/twice?link=utils=copy";
    let twice = server.put(path).key(&other).wasm(twice()).await.created();
    assert_eq!(twice["links"]["utils"], json!({ "name": "copy", "digest": DOUBLE_DIGEST }));
    server.delete("/v1/modules/twice").key(&other).await.no_content();
    server.delete("/v1/modules/copy").key(&other).await.no_content();
    delete().await.problem(404, "unknown-module");
    // Content without a name is nobody's, and anybody's who knows its digest.
    server.post("/v1/modules").key(&other).wat(DOUBLE).await.created();
    delete().await.no_content();
    delete().await.problem(404, "unknown-module");
    server.get("/v1/modules/acme:secret").key(&owner).await.has_status(200);
}

#[tokio::test]
async fn a_module_that_links_to_what_is_private_publishes_what_it_does_and_no_more() {
    let mut keyring = Keyring::new();
    let owner = keyring.add("scopes = [\"register\"]\nnamespaces = [\"acme\", \"public\"]");
    let other = keyring.scoped("call");
    keyring.say("[[namespace]]\nname = \"acme\"\nprivate = true");
    let server = keyring.server().await;
    server.put("/v1/modules/acme:secret").key(&owner).wat(DOUBLE).await.created();
    let path = "/v1/modules/public:twice?link=utils=acme:secret";
    server.put(path).key(&owner).wasm(twice()).await.created();
    let call = server.post("/v1/modules/public:twice/functions/double_twice").key(&other);
    call.json(json!({ "params": [2] })).await.ok(json!({ "results": [8] }));
    let described = server.get("/v1/modules/public:twice").key(&other).await.ok(json!({}));
    assert_eq!(described["links"]["utils"], json!({ "name": null, "digest": DOUBLE_DIGEST }));
    let direct = server.get(&format!("/v1/modules/{DOUBLE_DIGEST}")).key(&other).await;
    direct.problem(404, "unknown-module");
}

#[tokio::test]
async fn listings_leave_out_what_is_private() {
    let mut keyring = Keyring::new();
    let admin = keyring.scoped("admin");
    let other = keyring.scoped("call");
    let owner = keyring.add("scopes = [\"call\"]\nnamespaces = [\"acme\"]");
    for name in ["acme", "nemo"] {
        keyring.say(&format!("[[namespace]]\nname = {name:?}\nprivate = true"));
    }
    let server = keyring.server().await;
    let all = ["aa:x", "acme", "acme:a", "acme:b", "acme_:x", "nemo:a", "nemo:b", "z"];
    for name in all {
        server.put(&format!("/v1/modules/{name}")).key(&admin).wat(DOUBLE).await.created();
    }
    let list = async |key: &str, query: &str| {
        let mut names = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/modules?{query}{cursor}");
            let page = server.get(&path).key(key).await.ok(json!({}));
            let modules = page["modules"].as_array().unwrap();
            names.extend(modules.iter().map(|module| module["name"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { return names };
            cursor = format!("&cursor={next}");
        }
    };
    for limit in ["limit=1", "limit=2", "limit=100"] {
        assert_eq!(list(&admin, limit).await, all);
        assert_eq!(list(&other, limit).await, ["aa:x", "acme", "acme_:x", "z"]);
        let own = ["aa:x", "acme", "acme:a", "acme:b", "acme_:x", "z"];
        assert_eq!(list(&owner, limit).await, own);
    }
    assert_eq!(list(&other, "limit=1&prefix=acme").await, ["acme", "acme_:x"]);
    assert_eq!(list(&other, "prefix=acme:").await, [""; 0]);
    assert_eq!(list(&other, "cursor=acme:a").await, ["acme_:x", "z"]);
}

#[tokio::test]
async fn a_key_makes_no_more_requests_than_its_rate() {
    requests_beyond_the_rate().await.problem(429, "rate-limited");
}

/// For the list of all problems.
pub(crate) async fn requests_beyond_the_rate() -> Response {
    let mut keyring = Keyring::new();
    let limited = keyring.add("scopes = [\"call\"]\nrequests-per-second = 0.001\nburst = 2");
    let other = keyring.scoped("call");
    let server = keyring.server().await;
    for _ in 0..2 {
        server.get("/v1/modules").key(&limited).await.has_status(200);
    }
    let refused = server.get("/v1/modules").key(&limited).await;
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&seconds), "{seconds}");
    // It concerns nobody else, and nothing that needs no key.
    server.get("/v1/modules").key(&other).await.has_status(200);
    server.get("/healthz").key(&limited).await.has_status(200);
    refused
}

#[tokio::test]
async fn a_key_calls_no_more_than_its_quota() {
    let refused = calling_beyond_the_quota().await.problem(429, "quota-exceeded");
    refused.says(&["calls"]).has(json!({ "outcome": "quota-exceeded", "quota": "calls" }));
}

/// For the list of all problems.
pub(crate) async fn calling_beyond_the_quota() -> Response {
    let mut keyring = Keyring::new();
    let key = keyring.add("scopes = [\"admin\"]\ncalls = 2\nper = \"hour\"");
    let server = keyring.server().await;
    server.put("/v1/modules/utils").key(&key).wat(DOUBLE).await.created();
    let call = || server.post("/v1/modules/utils/functions/double").key(&key);
    call().json(json!({ "params": [2] })).await.has_status(200);
    call().await.problem(422, "invalid-params");
    let refused = call().json(json!({ "params": [2] })).await;
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
    // Only calls count.
    server.get("/v1/modules/utils").key(&key).await.has_status(200);
    refused
}

#[tokio::test]
async fn the_time_of_calls_counts() {
    let mut keyring = Keyring::new();
    let quota = "scopes = [\"admin\"]\ncall-seconds = 1\nper = \"week\"";
    let (key, leaver) = (keyring.add(quota), keyring.add(quota));
    let server = keyring.server().await;
    server.put("/v1/modules/unruly").key(&key).wat(UNRULY).await.created();
    let call = |key: &str, function: &str| {
        server.post(&format!("/v1/modules/unruly/functions/{function}")).key(key)
    };
    let limits = json!({ "limits": { "timeout_ms": 1100 } });
    for _ in 0..3 {
        call(&key, "fine").await.has_status(200);
    }
    call(&key, "loop").json(limits).await.problem(422, "timeout");
    let refused = call(&key, "fine").await.problem(429, "quota-exceeded");
    refused.has(json!({ "quota": "call-seconds" }));
    // Whoever leaves before the end has used the time all the same.
    eventually("the time of calls that are given up counts", async || {
        let limits = json!({ "limits": { "timeout_ms": 60_000 } });
        let response = call(&leaver, "loop").json(limits).within(500).await;
        response.map(|response| response.problem(429, "quota-exceeded"))
    })
    .await;
}

#[tokio::test]
async fn the_time_of_calls_counts_that_all_guests_memory_ends() {
    // So many turns of a loop, and then more memory than there is.
    const GREEDY: &str = r#"
        (module
          (memory 0 1000)
          (func (export "f") (param $turns i32)
            (loop $again
              (br_if $again (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
            (drop (memory.grow (i32.const 1000)))))"#;
    let mut keyring = Keyring::new();
    let key = keyring.add("scopes = [\"admin\"]\ncall-seconds = 1\nper = \"week\"");
    let server = keyring
        .server_with(|setup| {
            setup.engine.memory_maximum = 64 << 20;
            setup.engine.guest_memory = 64 << 20;
            setup.engine.concurrent_calls = 1;
            setup.limits.memory_bytes.maximum = 64 << 20;
        })
        .await;
    server.put("/v1/modules/greedy").key(&key).wat(GREEDY).await.created();
    let session = server.post("/v1/sessions").key(&key).json(json!({})).await.created();
    let instances = format!("/v1/sessions/{}/instances", session["id"].as_str().unwrap());
    let holds = json!({ "name": "a", "wat": "(module (memory 200))" });
    server.post(&instances).key(&key).json(holds).await.created();
    eventually("the quota is used up", async || {
        let call = server.post("/v1/modules/greedy/functions/f").key(&key);
        let response = call.json(json!({ "params": [100_000_000] })).await;
        match response.status.as_u16() {
            503 => response.problem(503, "overloaded"),
            _ => return Some(response.problem(429, "quota-exceeded")),
        };
        None
    })
    .await;
}

#[tokio::test]
async fn what_a_key_registered_holds_no_more_than_its_quota() {
    let manifest = format!(r#"{{"links":{{}},"wasm":"{DOUBLE_BLOB}"}}"#);
    let size = DOUBLE_HEX.len() / 2 + manifest.len();
    let mut keyring = Keyring::new();
    let bounded = keyring.add(&format!("scopes = [\"register\"]\nstored-bytes = {}", 2 * size + 1));
    let other = keyring.scoped("register");
    let server = keyring.server().await;
    let put =
        |key: &str, name: &str| server.put(&format!("/v1/modules/{name}")).key(key).wat(DOUBLE);
    server.get("/v1/limits").key(&bounded).await.ok(json!({
        "stored_bytes": { "maximum": 2 * size + 1 },
    }));
    let unbounded = server.get("/v1/limits").key(&other).await.ok(json!({}));
    assert_eq!(unbounded.get("stored_bytes"), None);
    put(&bounded, "a").await.created();
    server.post("/v1/modules").key(&bounded).wat(DOUBLE).await.created();
    // What is registered already is not stored again.
    put(&bounded, "a").await.has_status(200);
    let refused = put(&bounded, "b").await;
    assert!(refused.header("retry-after").is_some());
    refused.problem(429, "quota-exceeded").has(json!({
        "quota": "stored-bytes", "held": 2 * size, "asked": size, "maximum": 2 * size + 1,
    }));
    let original = json!({ "module_name": "b", "wasm_hex": DOUBLE_HEX });
    let register = server.post("/register").key(&bounded).json(original);
    register.await.problem(429, "quota-exceeded");
    put(&other, "b").await.created();
    // Whoever deletes, it is given back to whom it was charged to.
    server.delete("/v1/modules/b").key(&bounded).await.no_content();
    put(&bounded, "b").await.problem(429, "quota-exceeded");
    server.delete("/v1/modules/a").key(&other).await.no_content();
    put(&bounded, "b").await.created();
    put(&bounded, "a").await.problem(429, "quota-exceeded");
    server.delete(&format!("/v1/modules/{DOUBLE_DIGEST}")).key(&bounded).await.no_content();
    put(&bounded, "a").await.created();
}

#[tokio::test]
async fn a_key_has_limits_of_its_own() {
    let mut keyring = Keyring::new();
    let low = keyring.add(
        "scopes = [\"call\"]\ntimeout-ms = 500\nmemory-bytes = 65536\nfuel = 10\noutput-bytes = 64",
    );
    let high = keyring.add("scopes = [\"admin\"]\ntimeout-ms = 1000000\nmemory-bytes = 100000000");
    let server = keyring.server().await;
    server.put("/v1/modules/unruly").key(&high).wat(UNRULY).await.created();
    server.get("/v1/limits").key(&low).await.ok(json!({
        "timeout_ms": { "default": 500, "maximum": 500 },
        "memory_bytes": { "default": 65536, "maximum": 65536 },
        "fuel": { "maximum": 10 },
        "output_bytes": { "default": 64, "maximum": 64 },
    }));
    // A key lowers limits, and never raises them.
    server.get("/v1/limits").key(&high).await.ok(json!({
        "timeout_ms": { "default": 1000, "maximum": 60000 },
        "memory_bytes": { "default": 67108864, "maximum": 100000000 },
    }));
    let call = |limits| {
        let call = server.post("/v1/modules/unruly/functions/fine").key(&low);
        call.json(json!({ "limits": limits }))
    };
    call(json!({ "timeout_ms": 500, "fuel": 10 })).await.has_status(200);
    for (limit, asked, maximum) in [("timeout_ms", 501, 500), ("fuel", 11, 10)] {
        let refused = call(json!({ limit: asked })).await.problem(422, "limit-too-high");
        refused.has(json!({ "limit": limit, "maximum": maximum }));
    }
    let grow = server.post("/v1/modules/unruly/functions/grow").key(&low);
    grow.json(json!({ "params": [1] })).await.ok(json!({ "results": [-1] }));
}

#[tokio::test]
async fn a_changed_file_counts_from_then_on() {
    let mut keyring = Keyring::new();
    let used = keyring.add("scopes = [\"call\"]\ncalls = 1\nper = \"day\"");
    let server = keyring.server().await;
    let call = |key: &str| server.post("/v1/call").key(key);
    call(&used).await.problem(415, "unsupported-media-type");
    let added = keyring.scoped("call");
    eventually("the added key is known", async || {
        (server.get("/v1/modules").key(&added).await.status == 200).then_some(())
    })
    .await;
    // What was used of a key that stays is not forgotten.
    call(&used).await.problem(429, "quota-exceeded");
    keyring.write("");
    eventually("the revoked keys are unknown", async || {
        (server.get("/v1/modules").key(&added).await.status == 401).then_some(())
    })
    .await;
    call(&used).await.problem(401, "unauthenticated");
}
