//! Names that are long, empty, invisible, or something else to somebody else.

use serde_json::json;

use crate::support::hex;
use crate::victim::{Victim, size};

/// Texts that are no names of modules.
fn names() -> Vec<String> {
    let long = size(10_000, 1_000_000);
    let mut names: Vec<String> = (0..0x20).map(|code| format!("a{}b", char::from(code))).collect();
    names.extend(
        [
            "",
            " ",
            "utils ",
            " utils",
            "utils\u{200b}",
            "\u{202e}slitu",
            "ut\u{456}ls",
            "UTILS\u{0}",
            "../utils",
            "..",
            ".",
            "utils/",
            "utils/../utils",
            "%75tils",
            "utils@",
            "@1.0.0",
            ":utils",
            "a:b:utils",
            "utils@1",
            "utils@1.0.0+build",
            "utils@01.0.0",
            "utils@1.0.0-01",
            "utils@99999999999999999999.0.0",
            "utils;",
            "utils\r\nx-injected: yes",
            "<script>",
            "\u{1f980}",
            "\u{fffe}",
            "\u{ff55}\u{ff54}\u{ff49}\u{ff4c}\u{ff53}",
            "\"",
            "\\",
            "'",
            "`id`",
            "$(id)",
            "utils?",
            "utils#",
            "sha256:utils",
            "SHA256:utils",
            "sha512:utils",
            "blake3:utils",
        ]
        .map(str::to_owned),
    );
    names.push("n".repeat(long));
    names.push("\u{e9}".repeat(long));
    names.push(format!("{}:utils", "n".repeat(long)));
    names.push(format!("utils@1.0.0-{}", "a.".repeat(long / 2)));
    names
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[tokio::test]
async fn what_is_no_name_is_refused_everywhere() {
    let victim = Victim::start().await;
    for name in names() {
        let wat = "(module)";
        let mut responses = vec![
            victim.post("/v1/call").json(json!({ "module": name, "function": "f" })).await,
            victim
                .post("/execute")
                .json(json!({ "module_name": name, "function_name": "f" }))
                .await,
            victim.post("/register").json(json!({ "module_name": name, "wat": wat })).await,
            victim.post("/v1/modules").json(json!({ "wat": wat, "links": { "m": name } })).await,
        ];
        // A path has room for less, and an empty segment is another path.
        if !name.is_empty() && name.len() <= 10_000 && !matches!(&*name, "." | "..") {
            let path = format!("/v1/modules/{}", percent_encoded(&name));
            responses.push(victim.get(&path).await);
            responses.push(victim.put(&path).wat(wat).await);
            responses.push(victim.delete(&path).await);
            responses.push(victim.get(&format!("{path}/wasm")).await);
            responses.push(victim.post(&format!("{path}/functions/f")).await);
        }
        for response in responses {
            assert!(response.body.len() < 2_000, "{name:?}: {}", response.body.len());
            assert!(response.header("x-injected").is_none(), "{response:?}");
            response.problem(422, "invalid-name");
        }
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn names_inside_of_modules_may_be_anything() {
    let victim = Victim::start().await;
    let long = size(10_000, 90_000);
    for name in [
        String::new(),
        "\u{0}".to_owned(),
        "\r\nx-injected: yes\r\n\r\n".to_owned(),
        "\u{202e}\u{200b}\u{feff}".to_owned(),
        "</script><script>".to_owned(),
        "%s%n%x".to_owned(),
        "\\\"'".to_owned(),
        "n".repeat(long),
        "\u{1f980}".repeat(long / 4),
    ] {
        let text: String = hex(name.as_bytes())
            .as_bytes()
            .chunks(2)
            .map(|digits| format!("\\{}", str::from_utf8(digits).unwrap()))
            .collect();
        let wat = format!("(module (func (export \"{text}\") (result i32) (i32.const 7)))");
        let described = victim.post("/v1/modules").wat(wat).await;
        assert!(described.header("x-injected").is_none(), "{described:?}");
        let described = described.created();
        assert_eq!(described["exports"][0]["name"], name);
        let body = json!({ "module": described["digest"], "function": name });
        victim.post("/v1/call").json(body).await.ok(json!({ "results": [7] }));
        if !name.is_empty() && name.len() <= 10_000 {
            let digest = described["digest"].as_str().unwrap();
            let path = format!("/v1/modules/{digest}/functions/{}", percent_encoded(&name));
            victim.post(&path).await.ok(json!({ "results": [7] }));
        }
        let imports = format!("(module (import \"{text}\" \"{text}\" (func)))");
        let refused = victim.post("/v1/modules").wat(imports).await;
        assert!(refused.body.len() < 10_000, "{}", refused.body.len());
        refused.problem(422, "link-error");
    }
    victim.is_unharmed().await;
}
