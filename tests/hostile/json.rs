//! Bodies that are nearly right: JSON with its pieces changed, nested, repeated and cut.

use serde_json::json;

use crate::support::guests::{DOUBLE, DOUBLE_HEX};
use crate::victim::{LIGHT, Random, Victim, size};

/// What JSON texts are put together from, and what does not belong into one.
const PIECES: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "0",
    "-",
    "-0",
    "1e999",
    "1.5",
    "1E+2",
    "00",
    "18446744073709551616",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"\u{202e}\"",
    "\u{feff}",
    "\0",
    "\n",
    " ",
    "//",
    "/**/",
    "NaN",
    "\"params\"",
    "\"limits\"",
    "\"fuel\"",
    "\"wat\"",
    "\"wasm_hex\"",
    "\"links\"",
    "\"module\"",
    "{}",
];

/// Each route with a body that it takes.
fn bodies() -> Vec<(&'static str, &'static str, String)> {
    let inline = json!({ "wat": DOUBLE, "function": "double", "params": [2], "links": {},
        "limits": { "timeout_ms": 50, "memory_bytes": 65536, "fuel": 1000, "output_bytes": 99 } });
    let run = json!({ "wasm_hex": DOUBLE_HEX, "function_name": "double", "params": [{ "I32": 2 }],
        "host_modules": ["utils"] });
    let execute = json!({ "module_name": "utils", "function_name": "double", "params": [2] });
    let register = json!({ "module_name": "json", "wasm_hex": DOUBLE_HEX, "host_modules": [] });
    vec![
        ("POST", "/v1/call", inline.to_string()),
        ("POST", LIGHT, json!({ "params": [2], "limits": { "fuel": null } }).to_string()),
        ("POST", "/", run.to_string()),
        ("POST", "/execute", execute.to_string()),
        ("POST", "/register", register.to_string()),
        ("POST", "/v1/modules", json!({ "wat": DOUBLE, "links": {} }).to_string()),
        ("PUT", "/v1/modules/json", json!({ "wasm_hex": DOUBLE_HEX }).to_string()),
    ]
}

/// The text with one to three of its pieces removed, repeated, replaced or added.
fn change(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(characters.len() + 1);
        let end = at + random.below(characters.len() - at + 1).min(30);
        match random.below(4) {
            0 => drop(characters.drain(at..end)),
            1 => {
                let repeated = characters[at..end].to_vec();
                characters.splice(at..at, repeated);
            }
            2 => drop(characters.splice(at..end, PIECES[random.below(PIECES.len())].chars())),
            _ => drop(characters.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
        }
    }
    characters.into_iter().collect()
}

#[tokio::test]
async fn changed_bodies_are_answered_or_refused() {
    let victim = Victim::start().await;
    let mut random = Random(1);
    for (method, path, body) in bodies() {
        for _ in 0..size(150, 20_000) {
            let changed = change(&body, &mut random);
            let request = victim.request(method.parse().unwrap(), path);
            let response = request.json_text(changed.clone()).await;
            let status = response.status.as_u16();
            assert!(status < 500, "{path}: {changed}: {response:?}");
            if status >= 400 {
                let code = response.value()["code"].as_str().unwrap().to_owned();
                response.problem(status, &code);
            }
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn what_is_no_text_is_no_json() {
    let victim = Victim::start().await;
    for (_, path, body) in bodies().into_iter().filter(|(method, _, _)| *method == "POST") {
        for bytes in [
            b"\xff\xfe{\0}\0".to_vec(),
            b"{\"params\":[\"\xc0\x80\"]}".to_vec(),
            b"{\"params\":[\"\xed\xa0\x80\"]}".to_vec(),
            body.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            vec![0; size(10_000, 1 << 20)],
            vec![0xff; size(10_000, 1 << 20)],
        ] {
            victim.post(path).json_text(bytes).await.problem(400, "invalid-request");
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn values_that_go_on_and_on() {
    let victim = Victim::start().await;
    let long = size(100_000, 10_000_000);
    let digits = "9".repeat(long);
    let arrays = format!("{}{}", "[".repeat(long), "]".repeat(long));
    for params in [
        format!("[{digits}]"),
        format!("[{arrays}]"),
        format!("[-{digits}.{digits}e-{digits}]"),
        format!("[\"{digits}\"]"),
        format!("[\"{}\"]", "\\u0031".repeat(long)),
        format!("[{}]", " ".repeat(long)),
        format!("[{{{}\"I32\":2}}]", "\"I32\":2,".repeat(long / 10)),
    ] {
        let body = format!("{{\"params\":{params}}}");
        let response = victim.post(LIGHT).json_text(body).await;
        assert!(response.body.len() < 10_000, "{}", response.body.len());
        response.problem(422, "invalid-params");
    }
    // More than is listed.
    let body = format!("{{\"params\":[{}1]}}", "1,".repeat(long));
    victim.post(LIGHT).json_text(body).await.problem(400, "invalid-request");
    victim.is_unharmed().await;
}

#[tokio::test]
async fn members_by_the_thousand() {
    let victim = Victim::start().await;
    let count = size(10_000, 500_000);
    let links: String = (0..count).map(|number| format!("\"m{number}\":\"utils\",")).collect();
    let hosts = "\"utils\",".repeat(count);
    let unknown: String = (0..count).map(|number| format!("\"x{number}\":0,")).collect();
    for (path, body) in [
        ("/v1/modules", format!("{{\"links\":{{{links}\"z\":\"utils\"}},\"wat\":\"(module)\"}}")),
        ("/v1/call", format!("{{{unknown}\"z\":0}}")),
        (
            "/",
            format!(
                "{{\"host_modules\":[{hosts}\"utils\"],\"wat\":\"(module)\",\"function_name\":\"f\"}}"
            ),
        ),
    ] {
        let response = victim.post(path).json_text(body).await;
        assert!(response.status.is_client_error(), "{path}: {response:?}");
        assert!(response.body.len() < 10_000, "{}", response.body.len());
    }
    victim.is_unharmed().await;
}
