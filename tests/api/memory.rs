//! The member `memory` of calls: bytes into memories before the function, out of them after it.

use serde_json::{Value, json};

use crate::support::response::Response;
use crate::support::server::Server;

/// Two memories; functions that sum bytes, give ranges, and fail in every way.
const GUEST: &str = r#"
    (module
      (memory (export "memory") 1 3)
      (memory $other (export "other") 1)
      (data (i32.const 16) "hello")
      (data (memory $other) (i32.const 0) "other")
      (start $start)
      (func $start (i32.store8 (i32.const 32) (i32.const 33)))
      (func (export "nothing"))
      (func (export "sum") (param $at i32) (param $length i32) (result i32)
        (local $sum i32)
        (block $end
          (loop $next
            (br_if $end (i32.eqz (local.get $length)))
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (br $next)))
        (local.get $sum))
      (func (export "range") (result i32 i64) (i32.const 16) (i64.const 5))
      (func (export "far") (result i32 i64) (i32.const -1) (i64.const -1))
      (func (export "float") (result f64) (f64.const 1))
      (func (export "grow") (result i32)
        (drop (memory.grow (i32.const 1)))
        (i32.store8 (i32.const 65536) (i32.const 71))
        (i32.const 65536))
      (func (export "trap")
        (i32.store8 (i32.const 16) (i32.const 84))
        (drop (memory.grow (i32.const 1)))
        unreachable)
      (func (export "overflow") (i32.store8 (i32.const 16) (i32.const 84)) (call $recurse))
      (func $recurse (call $recurse))
      (func (export "loop") (i32.store8 (i32.const 16) (i32.const 84)) (loop (br 0)))
      (func (export "starve") (i32.store8 (i32.const 16) (i32.const 84))
        (if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))))"#;

async fn guest() -> Server {
    let server = Server::start().await;
    server.put("/v1/modules/guest").wat(GUEST).await.created();
    server
}

async fn call(server: &Server, function: &str, body: Value) -> Response {
    server.post(&format!("/v1/modules/guest/functions/{function}")).json(body).await
}

/// A call of `nothing` that does this with memories.
async fn access(server: &Server, memory: Value) -> Response {
    call(server, "nothing", json!({ "memory": memory })).await
}

/// One that reads this, after writing nothing.
async fn read(server: &Server, read: Value) -> Value {
    let answer = access(server, json!({ "read": [read] })).await.ok(json!({ "outcome": "ok" }));
    answer["memory"]["read"][0].clone()
}

#[tokio::test]
async fn what_is_written_is_there_for_the_function_and_can_be_read_after_it() {
    let server = guest().await;
    let body = json!({
        "params": [1024, 2],
        "memory": {
            "write": [{ "offset": 1024, "base64": "aGk=" }],
            "read": [{ "offset": 1024, "length": 2 }],
        },
    });
    let answer = call(&server, "sum", body).await.ok(json!({
        "outcome": "ok",
        "results": [104 + 105],
        "memory": { "read": [{ "offset": 1024, "base64": "aGk=" }] },
        "usage": { "memory_bytes": 131_072 },
    }));
    let members: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(members, ["memory", "module", "outcome", "results", "usage"]);
}

#[tokio::test]
async fn inline_wasm_and_both_notations_of_bytes() {
    let server = Server::start().await;
    let body = json!({
        "wat": GUEST, "function": "sum", "params": [0, 4],
        "memory": {
            "write": [
                { "offset": 0, "utf8": "é" },
                { "offset": 2, "base64": "/w" },
                { "offset": 3, "base64": "/w==" },
            ],
            "read": [{ "offset": 0, "length": 4 }],
        },
    });
    let answer = json!({
        "results": [0xc3 + 0xa9 + 0xff + 0xff],
        "memory": { "read": [{ "offset": 0, "base64": "w6n//w==" }] },
    });
    server.post("/v1/call").json(body).await.ok(answer);
}

#[tokio::test]
async fn writes_come_after_start_functions_and_in_order() {
    let server = guest().await;
    // The start function wrote 33 (`!`) at 32.
    assert_eq!(
        read(&server, json!({ "offset": 32, "length": 1 })).await,
        json!({ "offset": 32, "base64": "IQ==" })
    );
    let memory = json!({
        "write": [
            { "offset": 31, "utf8": "abc" },
            { "offset": 32, "utf8": "B" },
        ],
        "read": [{ "offset": 31, "length": 3 }],
    });
    access(&server, memory).await.ok(json!({ "memory": { "read": [{ "base64": "YUJj" }] } }));
}

#[tokio::test]
async fn an_answer_has_memory_only_if_something_was_to_be_read() {
    let server = guest().await;
    for memory in [
        json!(null),
        json!({}),
        json!({ "read": [] }),
        json!({ "memory": null, "write": [{ "offset": 0, "utf8": "a" }] }),
        json!({ "memory": "nowhere" }),
    ] {
        let answer = access(&server, memory).await.ok(json!({ "outcome": "ok" }));
        assert!(answer.get("memory").is_none(), "{answer}");
    }
}

#[tokio::test]
async fn offsets_and_lengths_can_be_results_without_sign() {
    let server = guest().await;
    let results = json!({ "offset": { "result": 0 }, "length": { "result": 1 } });
    let body =
        json!({ "memory": { "read": [results, { "offset": 0, "length": { "result": 1 } }] } });
    call(&server, "range", body.clone()).await.ok(json!({
        "results": [16, "5"],
        "memory": { "read": [
            { "offset": 16, "base64": "aGVsbG8=" },
            { "offset": 0, "base64": "AAAAAAA=" },
        ] },
    }));
    // 2³²−1 and 2⁶⁴−1, whose sum would wrap.
    call(&server, "far", body).await.ok(json!({
        "results": [-1, "-1"],
        "memory": { "read": [{ "error": "out-of-range" }, { "error": "out-of-range" }] },
    }));
    let body = json!({ "memory": { "read": [{ "offset": { "result": 0 }, "length": 1 }] } });
    let grown = json!({ "memory": { "read": [{ "offset": 65_536, "base64": "Rw==" }] } });
    call(&server, "grow", body).await.ok(grown);
}

#[tokio::test]
async fn a_result_that_is_no_integer_or_not_there_is_refused_before_the_call() {
    let server = guest().await;
    for (function, result, says) in [
        ("float", 0, "of type f64"),
        ("range", 2, "has 2"),
        ("nothing", 0, "has 0"),
        ("range", usize::MAX, "has 2"),
    ] {
        let reads = json!([
            { "offset": 0, "length": 1 },
            { "offset": 0, "length": { "result": result } },
        ]);
        let refused = call(&server, function, json!({ "memory": { "read": reads } })).await;
        let problem = refused.problem(422, "invalid-params");
        problem.says(&["memory.read[1]", says]).has(json!({ "index": 1 })).has_not("usage");
    }
    let refused = access(&server, json!({ "write": [{ "offset": { "result": 0 }, "utf8": "" }] }));
    refused.await.problem(400, "invalid-request").says(&["JSON", "u64"]);
}

#[tokio::test]
async fn a_read_past_the_end_is_its_own_result() {
    let server = guest().await;
    let out = json!({ "error": "out-of-range" });
    for (offset, length) in [
        (65_535_u64, 2_u64),
        (65_536, 1),
        (65_537, 0),
        (0, 65_537),
        (1 << 32, 1),
        ((1 << 32) - 1, 2),
        (u64::MAX, 0),
        (u64::MAX, 2),
        (2, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        let entry = json!({ "offset": offset, "length": length });
        assert_eq!(read(&server, entry).await, out, "{offset} {length}");
    }
    let empty = json!({ "offset": 65_536, "base64": "" });
    assert_eq!(read(&server, json!({ "offset": 65_536, "length": 0 })).await, empty);
    let memory = json!({ "read": [
        { "offset": 65_536, "length": 1 },
        { "offset": 16, "length": 5 },
    ] });
    let expected = json!([out, { "offset": 16, "base64": "aGVsbG8=" }]);
    access(&server, memory).await.ok(json!({ "memory": { "read": expected } }));
}

#[tokio::test]
async fn a_write_past_the_end_writes_nothing_and_calls_nothing() {
    let server = guest().await;
    for (offset, length, bytes) in [
        (65_535_u64, 2, "YWI="),
        (65_536, 1, "YQ=="),
        (65_537, 0, ""),
        (1 << 32, 1, "YQ=="),
        ((1 << 32) - 1, 2, "YWI="),
        (u64::MAX, 1, "YQ=="),
        (u64::MAX, 2, "YWI="),
    ] {
        let memory = json!({
            "write": [{ "offset": 0, "utf8": "fine" }, { "offset": offset, "base64": bytes }],
            "read": [{ "offset": 0, "length": 4 }],
        });
        // The function would trap, if it were called.
        let refused = call(&server, "trap", json!({ "memory": memory })).await;
        let problem = refused.problem(422, "invalid-memory-range");
        problem.says(&["memory.write[1]", "65536"]).has_not("memory").has_not("trap").has(json!({
            "outcome": "invalid-memory-range",
            "index": 1, "offset": offset, "length": length, "memory_bytes": 65_536,
            // The start function ran.
            "usage": { "memory_bytes": 131_072 },
        }));
    }
    let memory = json!({ "write": [{ "offset": 65_536, "utf8": "" }] });
    access(&server, memory).await.ok(json!({ "outcome": "ok" }));
}

#[tokio::test]
async fn what_is_not_an_offset_is_refused_with_its_place() {
    let server = guest().await;
    for bad in [
        "-1",
        "1.5",
        "2.0",
        "1e2",
        "18446744073709551616",
        "\"1\"",
        "true",
        "null",
        "[0]",
        "{}",
        r#"{"result":-1}"#,
        r#"{"result":"0"}"#,
        r#"{"result":0,"other":1}"#,
        r#"{"results":0}"#,
    ] {
        for entry in [
            format!(r#""read":[{{"offset":{bad},"length":1}}]"#),
            format!(r#""read":[{{"offset":0,"length":{bad}}}]"#),
            format!(r#""write":[{{"offset":{bad},"utf8":""}}]"#),
        ] {
            let body = format!(r#"{{"memory":{{{entry}}}}}"#);
            let refused = server.post("/v1/modules/guest/functions/nothing").json_text(body).await;
            refused.problem(400, "invalid-request").says(&["JSON", "line 1"]);
        }
    }
}

#[tokio::test]
async fn what_is_misspelt_or_incomplete_is_refused() {
    let server = guest().await;
    for memory in [
        json!([]),
        json!([null, [], []]),
        json!("memory"),
        json!({ "reads": [] }),
        json!({ "read": {} }),
        json!({ "read": [[null, 0, 1]] }),
        json!({ "read": [{ "offset": 0 }] }),
        json!({ "read": [{ "length": 0 }] }),
        json!({ "read": [{ "offset": 0, "length": 1, "encoding": "utf8" }] }),
        json!({ "write": [{ "offset": 0 }] }),
        json!({ "write": [{ "utf8": "a" }] }),
        json!({ "write": [{ "offset": 0, "utf8": "a", "base64": "YQ==" }] }),
        json!({ "write": [{ "offset": 0, "utf8": "a", "length": 1 }] }),
        json!({ "write": [{ "offset": 0, "utf8": 1 }] }),
        json!({ "write": [{ "offset": 0, "hex": "00" }] }),
        json!({ "memory": 0 }),
        json!({ "memory": { "export": "memory" } }),
        json!({ "memory": { "import": "memory" } }),
        json!({ "memory": { "import": ["env"] } }),
        json!({ "memory": { "import": ["env", "memory", "more"] } }),
        json!({ "memory": { "import": ["env", "memory"], "export": "memory" } }),
    ] {
        access(&server, memory).await.problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn broken_base64_is_refused_with_its_position() {
    let server = guest().await;
    for (base64, position) in
        [("YQ*=", Some(2)), ("YR==", Some(1)), ("Y", None), ("YQ=a", Some(2)), ("-_-_", Some(0))]
    {
        let memory = json!({ "write": [
            { "offset": 0, "utf8": "a" },
            { "offset": 0, "base64": base64 },
        ] });
        let problem = access(&server, memory).await.problem(400, "invalid-request");
        let problem = problem.says(&["memory.write[1]", "base64"]).has(json!({ "index": 1 }));
        assert_eq!(problem.body.get("position"), position.map(Value::from).as_ref(), "{base64}");
    }
}

#[tokio::test]
async fn there_are_at_most_a_thousand_writes_and_reads() {
    let server = guest().await;
    let write = |count| json!({ "write": vec![json!({ "offset": 0, "utf8": "a" }); count] });
    let read = |count| json!({ "read": vec![json!({ "offset": 0, "length": 1 }); count] });
    access(&server, write(1000)).await.ok(json!({}));
    let answer = access(&server, read(1000)).await.ok(json!({}));
    assert_eq!(answer["memory"]["read"].as_array().unwrap().len(), 1000);
    access(&server, write(1001)).await.problem(400, "invalid-request").says(&["1000"]);
    access(&server, read(1001)).await.problem(400, "invalid-request").says(&["1000"]);
}

#[tokio::test]
async fn another_export_is_selected_by_an_entry_or_for_all() {
    let server = guest().await;
    let entry = |memory: Value| json!({ "memory": memory, "offset": 0, "length": 5 });
    let memory = json!({ "read": [entry(json!("other")), entry(json!(null))] });
    let read = json!([{ "base64": "b3RoZXI=" }, { "base64": "AAAAAAA=" }]);
    access(&server, memory).await.ok(json!({ "memory": { "read": read } }));
    let memory = json!({
        "memory": "other",
        "write": [{ "offset": 0, "utf8": "O" }, { "memory": "memory", "offset": 0, "utf8": "M" }],
        "read": [
            { "offset": 0, "length": 5 },
            { "memory": "memory", "offset": 0, "length": 1 },
        ],
    });
    let read = json!([{ "base64": "T3RoZXI=" }, { "base64": "TQ==" }]);
    access(&server, memory).await.ok(json!({ "memory": { "read": read } }));
}

#[tokio::test]
async fn an_unknown_memory_is_told_with_those_that_there_are() {
    let server = guest().await;
    let entry = |memory: &Value| json!({ "memory": memory, "offset": 0, "length": 1 });
    for memory in
        [json!("nothing"), json!("sum"), json!(""), json!({ "import": ["env", "memory"] })]
    {
        let refused = access(&server, json!({ "read": [entry(&memory)] })).await;
        let problem = refused.problem(404, "unknown-export");
        problem.says(&["memory", "\"other\""]).has_not("usage").has(json!({
            "outcome": "unknown-export", "memory": memory, "memories": ["memory", "other"],
        }));
    }
    for memory in [
        json!({ "read": [{ "offset": 0, "length": 0 }] }),
        json!({ "write": [
        { "offset": 0, "utf8": "" },
    ] }),
    ] {
        let body = json!({
            "wat": r#"(module (memory 1) (func (export "memory")))"#,
            "function": "memory", "memory": memory,
        });
        let problem = server.post("/v1/call").json(body).await.problem(404, "unknown-export");
        problem.says(&["none"]).has(json!({ "memory": "memory", "memories": [] }));
    }
}

#[tokio::test]
async fn memory_is_read_however_the_guest_failed() {
    let server = guest().await;
    let memory = json!({ "read": [
        { "offset": 16, "length": 5 },
        { "offset": 65_535, "length": 2 },
        { "offset": { "result": 0 }, "length": 1 },
    ] });
    let hello = json!({ "offset": 16, "base64": "VGVsbG8=" });
    for (function, limits, code, grown) in [
        ("trap", json!({}), "trap", true),
        ("overflow", json!({}), "stack-overflow", false),
        ("loop", json!({ "timeout_ms": 1 }), "timeout", false),
        ("loop", json!({ "fuel": 1000 }), "fuel-exhausted", false),
        ("starve", json!({ "memory_bytes": 131_072 }), "memory-limit", false),
    ] {
        // A result that the function would have is asked for only where there is one.
        let mut memory = memory.clone();
        memory["read"].as_array_mut().unwrap().truncate(2);
        let body = json!({ "memory": memory, "limits": limits });
        let end = match grown {
            true => json!({ "offset": 65_535, "base64": "AAA=" }),
            false => json!({ "error": "out-of-range" }),
        };
        let problem = call(&server, function, body).await.problem(422, code);
        problem.has(json!({ "outcome": code, "usage": {}, "memory": { "read": [hello, end] } }));
    }
    let wat = r#"(module (memory (export "memory") 1)
        (func (export "f") (result i32) unreachable))"#;
    let body = json!({ "wat": wat, "function": "f", "memory": memory });
    let problem = server.post("/v1/call").json(body).await.problem(422, "trap");
    problem.has(json!({ "memory": { "read": [
        { "offset": 16, "base64": "AAAAAAA=" },
        { "error": "out-of-range" },
        { "error": "no-result" },
    ] } }));
}

#[tokio::test]
async fn an_instance_that_was_never_made_has_no_memory() {
    let server = Server::start().await;
    let wat = r#"(module (memory (export "memory") 1)
        (func $start unreachable) (start $start) (func (export "f")))"#;
    let memory = json!({ "read": [{ "offset": 0, "length": 1 }] });
    let body = json!({ "wat": wat, "function": "f", "memory": memory });
    let problem = server.post("/v1/call").json(body).await.problem(422, "trap");
    problem.has(json!({ "memory": { "read": [{ "error": "no-memory" }] } }));
}

#[tokio::test]
async fn reads_count_towards_the_output() {
    let server = guest().await;
    // The results are `[1,"5"]` or so: `[16,"5"]` has eight bytes.
    let body = |length: u64, output: u64| {
        json!({
            "memory": { "read": [
                { "offset": 0, "length": length },
                { "offset": 0, "length": u64::MAX },
            ] },
            "limits": { "output_bytes": output },
        })
    };
    call(&server, "range", body(100, 108)).await.ok(json!({ "results": [16, "5"] }));
    for (length, output) in [(101, 108), (60_000, 108), (0, 7)] {
        let problem = call(&server, "range", body(length, output)).await;
        let problem = problem.problem(422, "output-limit").says(&[&output.to_string()]);
        problem.has(json!({ "usage": {} })).has_not("memory").has_not("results");
    }
    // What failed says how, and that there was too much to read.
    let read = json!([
        { "offset": 0, "length": 60 },
        { "offset": 0, "length": 60 },
        { "offset": 0, "length": 65_537 },
    ]);
    let body = json!({ "memory": { "read": read }, "limits": { "output_bytes": 119 } });
    let problem = call(&server, "loop", {
        let mut body = body.clone();
        body["limits"]["timeout_ms"] = json!(1);
        body
    });
    problem.await.problem(422, "timeout").has(json!({ "memory": { "read": [
        { "error": "output-limit" }, { "error": "output-limit" }, { "error": "out-of-range" },
    ] } }));
}

#[tokio::test]
async fn megabytes_go_in_and_out() {
    let server = Server::start().await;
    let wat = r#"(module (memory (export "memory") 48)
        (func (export "f") (memory.copy (i32.const 0x180000) (i32.const 0) (i32.const 0x180000))))"#;
    let text = "0123456789abcdef".repeat(0x18_0000 / 16);
    let body = json!({
        "wat": wat, "function": "f",
        "memory": {
            "write": [{ "offset": 0, "utf8": text }],
            "read": [{ "offset": 0x18_0000, "length": 0x18_0000 }],
        },
        "limits": { "output_bytes": 4 << 20 },
    });
    let answer = server.post("/v1/call").json(body).await.ok(json!({ "outcome": "ok" }));
    let read = answer["memory"]["read"][0]["base64"].as_str().unwrap();
    // Three times sixteen bytes are 64 digits.
    let block = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm";
    assert_eq!(read.len(), 0x18_0000 / 3 * 4);
    assert!(read == block.repeat(0x18_0000 / 48), "it is what was written");
}

#[tokio::test]
async fn memories_of_64_bits() {
    let server = Server::start().await;
    let wat = r#"(module (memory (export "memory") i64 1)
        (func (export "f") (param i64) (result i64 i64)
          (i64.store8 (i64.const 65535) (i64.const 65))
          (local.get 0) (i64.const 1)))"#;
    for (at, expected) in [
        (65_535_u64, json!({ "offset": 65_535, "base64": "QQ==" })),
        (65_536, json!({ "error": "out-of-range" })),
        (1 << 32, json!({ "error": "out-of-range" })),
        (u64::MAX, json!({ "error": "out-of-range" })),
    ] {
        let read = json!({ "offset": { "result": 0 }, "length": { "result": 1 } });
        let body =
            json!({ "wat": wat, "function": "f", "params": [at], "memory": { "read": [read] } });
        let answer = server.post("/v1/call").json(body).await;
        answer.ok(json!({ "memory": { "read": [expected] } }));
    }
    let memory = json!({ "write": [{ "offset": u64::MAX, "utf8": "ab" }] });
    let body = json!({ "wat": wat, "function": "f", "params": [0], "memory": memory });
    server.post("/v1/call").json(body).await.problem(422, "invalid-memory-range");
}

#[tokio::test]
async fn a_linked_module_s_memory_is_reached_by_exporting_it_again() {
    let server = guest().await;
    let wat = r#"(module (import "guest" "memory" (memory 1)) (export "memory" (memory 0))
        (func (export "f")))"#;
    let read = json!({ "read": [{ "offset": 16, "length": 5 }] });
    let body = json!({
        "wat": wat, "links": { "guest": "guest" }, "function": "f", "memory": read,
    });
    let answer = json!({ "memory": { "read": [{ "base64": "aGVsbG8=" }] } });
    server.post("/v1/call").json(body).await.ok(answer);
}

#[tokio::test]
async fn the_original_routes_take_memory_too() {
    let server = guest().await;
    let memory = json!({
        "write": [{ "offset": 0, "utf8": "a" }], "read": [{ "offset": 0, "length": 1 }],
    });
    let expected = json!({
        "results": [{ "I32": 97 }], "memory": { "read": [{ "offset": 0, "base64": "YQ==" }] },
    });
    let run = json!({
        "wat": GUEST, "function_name": "sum", "params": [0, { "I32": 1 }], "memory": memory,
    });
    server.post("/").json(run.clone()).await.answers(expected.clone());
    let execute = json!({
        "module_name": "guest", "function_name": "sum", "params": [0, 1], "memory": memory,
    });
    server.post("/execute").json(execute.clone()).await.answers(expected);
    for (path, mut body) in [("/", run), ("/execute", execute)] {
        body["memory"].as_object_mut().unwrap().remove("read");
        server.post(path).json(body.clone()).await.answers(json!([{ "I32": 97 }]));
        body["memory"]["write"][0]["offset"] = json!(65_536);
        server.post(path).json(body.clone()).await.problem(422, "invalid-memory-range");
        body["memory"]["writes"] = json!([]);
        server.post(path).json(body).await.problem(400, "invalid-request");
    }
    let trap = json!({
        "module_name": "guest", "function_name": "trap",
        "memory": { "read": [{ "offset": 16, "length": 1 }] },
    });
    let problem = server.post("/execute").json(trap).await.problem(422, "trap");
    problem.has(json!({ "memory": { "read": [{ "offset": 16, "base64": "VA==" }] } }));
}
