//! Request bodies: JSON that is broken, too large, too slow, or says something twice.

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::guests::{DOUBLE, DOUBLE_HEX};
use crate::support::server::Server;

#[tokio::test]
async fn broken_json_is_told_with_its_place() {
    let server = Server::start().await;
    server.put("/v1/modules/utils").wat(DOUBLE).await.created();
    for path in ["/", "/register", "/execute", "/v1/call", "/v1/modules/utils/functions/double"] {
        for (body, place) in [
            ("{", "line 1 column 1"),
            ("{\n\n  \"params\": [1 2]}", "line 3 column"),
            ("nul", "line 1 column"),
            ("{\"params\":[1,]}", "line 1 column"),
            ("{'params':[1]}", "line 1 column 2"),
            ("\u{feff}{}", "line 1 column 1"),
            ("{\"params\":[\"\u{1}\"]}", "line 1 column"),
        ] {
            let refused = server.post(path).json_text(body).await;
            refused.problem(400, "invalid-request").says(&["JSON", place]);
        }
        let latin = server.post(path).json_text(b"{\"params\":[\"\xe9\"]}".to_vec()).await;
        latin.problem(400, "invalid-request");
    }
    let twice = server.post("/v1/modules/utils/functions/double").json_text("{} {}").await;
    twice.problem(400, "invalid-request").says(&["line 1 column 4"]);
}

#[tokio::test]
async fn unknown_members_are_refused() {
    let server = Server::start().await;
    for (path, body) in [
        ("/", json!({ "wasm_hex": DOUBLE_HEX, "function_name": "double", "parms": [2] })),
        ("/", json!({ "wasm_hex": DOUBLE_HEX, "function_name": "double", "limits": {} })),
        ("/register", json!({ "wasm_hex": DOUBLE_HEX, "module_name": "m", "links": {} })),
        ("/execute", json!({ "module_name": "m", "function_name": "double", "Params": [] })),
        ("/v1/call", json!({ "wat": DOUBLE, "function": "double", "function_name": "double" })),
        ("/v1/modules", json!({ "wat": DOUBLE, "name": "m" })),
        ("/v1/modules", json!({ "wat": DOUBLE, "Wat": DOUBLE })),
    ] {
        let refused = server.post(path).json(body).await.problem(400, "invalid-request");
        refused.says(&["unknown field"]);
    }
    let listed = server.get("/v1/modules").await;
    listed.answers(json!({ "modules": [], "next_cursor": null }));
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(DOUBLE).await.created();
    let call = "/v1/modules/m/functions/double";
    for (path, body) in [
        (call, r#"{"params":[1],"params":[2]}"#),
        (call, r#"{"params":[1],"\u0070arams":[1]}"#),
        (call, r#"{"params":[1],"limits":{"fuel":1000,"fuel":2000}}"#),
        (call, r#"{"params":[1],"limits":{"fuel":null,"fuel":2000}}"#),
        (call, r#"{"params":[1],"limits":{},"limits":{}}"#),
        ("/execute", r#"{"module_name":"m","module_name":"m","function_name":"double"}"#),
        ("/v1/call", r#"{"module":"m","module":null,"function":"double","params":[1]}"#),
        ("/v1/modules", r#"{"wat":"(module)","links":{"a":"m","a":"m"}}"#),
    ] {
        let refused = server.post(path).json_text(body).await.problem(400, "invalid-request");
        refused.says(&["duplicate"]);
    }
}

#[tokio::test]
async fn members_of_the_wrong_kind_are_refused() {
    let server = Server::start().await;
    for (path, body) in [
        ("/", r#"{"wasm_hex":1,"function_name":"f"}"#),
        ("/", r#"{"wasm_hex":["00"],"function_name":"f"}"#),
        ("/", r#"{"wat":"(module)","function_name":null}"#),
        ("/", r#"{"wat":"(module)","function_name":"f","host_modules":"utils"}"#),
        ("/", r#"{"wat":"(module)","function_name":"f","host_modules":[1]}"#),
        ("/register", r#"{"wat":"(module)","module_name":["m"]}"#),
        ("/execute", r#"{"module_name":"m","function_name":"f","params":{"0":1}}"#),
        ("/v1/call", r#"{"module":1,"function":"f"}"#),
    ] {
        server.post(path).json_text(body).await.problem(400, "invalid-request").says(&["JSON"]);
    }
}

#[tokio::test]
async fn an_array_is_no_object_whose_names_were_left_out() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(DOUBLE).await.created();
    for (path, body) in [
        ("/v1/modules/m/functions/double", "[[2]]".to_owned()),
        ("/v1/modules/m/functions/double", "[]".to_owned()),
        ("/v1/modules/m/functions/double", r#"{"params":[2],"limits":[]}"#.to_owned()),
        ("/v1/modules/m/functions/double", r#"{"params":[2],"limits":[1000]}"#.to_owned()),
        ("/v1/modules/m/functions/double", "[".repeat(100_000) + &"]".repeat(100_000)),
        ("/v1/call", r#"["m",null,null,null,null,"double",[2]]"#.to_owned()),
        ("/execute", r#"["m","double",[2]]"#.to_owned()),
        ("/v1/modules", r#"[null,null,"(module)"]"#.to_owned()),
        ("/register", r#"["other",null,null,"(module)"]"#.to_owned()),
        ("/", r#"[null,null,"(module (func (export \"f\")))","f"]"#.to_owned()),
    ] {
        server.post(path).json_text(body).await.problem(400, "invalid-request").says(&["JSON"]);
    }
}

#[tokio::test]
async fn json_nested_a_hundred_thousand_deep_is_an_error_and_no_crash() {
    let server = Server::start().await;
    server.put("/v1/modules/m").wat(DOUBLE).await.created();
    let call = "/v1/modules/m/functions/double";
    let nest =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for nested in [nest("[", "]"), nest("{\"a\":", "}"), "[".repeat(100_000)] {
        for (path, body) in [
            (call, format!(r#"{{"limits":{nested}}}"#)),
            (call, format!(r#"{{"limits":{{"fuel":{nested}}}}}"#)),
            (call, format!(r#"{{"unknown":{nested}}}"#)),
            ("/v1/modules", format!(r#"{{"wat":{nested}}}"#)),
            ("/v1/modules", format!(r#"{{"links":{nested}}}"#)),
            ("/register", format!(r#"{{"module_name":{nested}}}"#)),
        ] {
            server.post(path).json_text(body).await.problem(400, "invalid-request");
        }
    }
    server.post(call).json(json!({ "params": [2] })).await.ok(json!({ "results": [4] }));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_known_or_not() {
    const MAXIMUM: usize = 10_000;
    let server = Server::with(|setup| setup.server.request_bytes = MAXIMUM as u64).await;
    let limits = server.get("/v1/limits").await;
    limits.ok(json!({ "request_bytes": { "maximum": MAXIMUM } }));
    let padded = |size: usize| {
        let body = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
        let padding = " ".repeat(size - body.len());
        body + &padding
    };
    let fits = server.post("/v1/call").json_text(padded(MAXIMUM)).await;
    fits.ok(json!({ "results": [4] }));
    for path in ["/", "/register", "/execute", "/v1/call", "/v1/modules"] {
        let large = server.post(path).json_text(padded(MAXIMUM + 1)).await;
        let problem = large.problem(413, "too-large").has(json!({ "maximum": MAXIMUM }));
        problem.says(&["10000"]);
    }
    let chunked = async |size: usize| {
        let mut connection = server.connect().await;
        connection
            .send(
                "POST /v1/call HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
        for chunk in padded(size).as_bytes().chunks(1000) {
            connection.send(format!("{:x}\r\n", chunk.len())).await;
            connection.send(chunk).await;
            connection.send("\r\n").await;
        }
        connection.send("0\r\n\r\n").await;
        connection.response().await
    };
    chunked(MAXIMUM).await.ok(json!({ "results": [4] }));
    chunked(MAXIMUM + 1).await.problem(413, "too-large").has(json!({ "maximum": MAXIMUM }));
}

#[tokio::test]
async fn a_length_that_is_a_lie_is_refused_before_anything_comes() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    connection
        .send(
            "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000000000\r\n\r\n",
        )
        .await;
    connection.response().await.problem(413, "too-large");
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_is_read_whole() {
    let server = Server::start().await;
    let body = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
    let mut connection = server.connect().await;
    connection
        .send(format!(
            "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        ))
        .await;
    // The server asks for the body, so it waits for it when the first byte comes.
    connection.response().await.has_status(100);
    for byte in body.as_bytes() {
        connection.send([*byte]).await;
    }
    connection.response().await.ok(json!({ "results": [4] }));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_request() {
    let server = Server::start().await;
    for head in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3e8\r\n"] {
        let mut connection = server.connect().await;
        let request = format!(
            "PUT /v1/modules/m HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/wat\r\n{head}(module)"
        );
        connection.send(request).await;
        connection.finish().await;
        if let Some(response) = connection.next_response().await {
            response.problem(400, "invalid-request");
        }
        server.get("/v1/modules/m").await.problem(404, "unknown-module");
    }
}

#[tokio::test]
async fn bodies_together_take_bounded_memory() {
    // Room for two bodies of the largest size, which is the least that there can be.
    let server = Server::with(|setup| {
        setup.server.request_bytes = 1 << 20;
        setup.server.bodies_bytes = 0;
    })
    .await;
    let body = json!({ "wat": DOUBLE, "function": "double", "params": [2] }).to_string();
    let large = body.clone() + &" ".repeat(200_000);
    let ask = async || server.post("/v1/call").json_text(large.clone()).await;
    ask().await.ok(json!({ "results": [4] }));
    // What is only announced keeps nobody out.
    let mut sending = Vec::new();
    for _ in 0..3 {
        let mut connection = server.connect().await;
        let head = "POST /v1/call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Content-Length: 1048576\r\nExpect: 100-continue\r\n\r\n";
        connection.send(head).await;
        connection.response().await.has_status(100);
        sending.push(connection);
    }
    ask().await.ok(json!({ "results": [4] }));
    // Of three that come but for their last byte, two have room, and wait.
    let mut sent = JoinSet::new();
    for mut connection in sending {
        sent.spawn(async move {
            connection.try_send(" ".repeat((1 << 20) - 1)).await;
            connection.response().await
        });
    }
    let refused = sent.join_next().await.unwrap().unwrap();
    refused.problem(503, "overloaded").may_come_again();
    // Small ones are not counted.
    server.post("/v1/call").json_text(body).await.ok(json!({ "results": [4] }));
    // Whoever goes away makes room.
    drop(sent);
    eventually("there is room again", async || (ask().await.status == 200).then_some(())).await;
}
