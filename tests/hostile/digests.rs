//! What looks like a digest: none of it means a module, nor may a name look like one.

use serde_json::json;

use crate::support::guests::{DOUBLE_BLOB, DOUBLE_DIGEST};
use crate::victim::{LIGHT, Victim};

#[tokio::test]
async fn what_looks_like_a_digest_is_none() {
    let victim = Victim::start().await;
    let digits = DOUBLE_DIGEST.strip_prefix("sha256:").unwrap();
    let upper = digits.to_uppercase();
    let fullwidth: String =
        digits.chars().map(|digit| char::from_u32(digit as u32 + 0xfee0).unwrap()).collect();
    for lookalike in [
        format!("sha256:{upper}"),
        format!("SHA256:{digits}"),
        format!("sha256:{}", &digits[1..]),
        format!("sha256:{digits}0"),
        format!("sha256:{digits} "),
        format!(" sha256:{digits}"),
        format!("sha256:0x{}", &digits[2..]),
        format!("sha256:{fullwidth}"),
        format!("sha256:{}g", &digits[1..]),
        format!("sha256:{}\u{0}", &digits[1..]),
        format!("sha512:{digits}{digits}"),
        format!("blake3:{digits}"),
        format!("sha256:sha256:{digits}"),
        format!("sha256:{digits}@1.0.0"),
        "sha256:".to_owned(),
    ] {
        let body = json!({ "module": lookalike, "function": "double", "params": [2] });
        victim.post("/v1/call").json(body).await.problem(422, "invalid-name");
        let body = json!({ "module_name": lookalike, "wat": "(module)" });
        victim.post("/register").json(body).await.problem(422, "invalid-name");
    }
    // Digits alone are a label, and another namespace is another's: nobody registered these.
    for name in [digits.to_owned(), format!("sha-256:{digits}")] {
        let body = json!({ "module": name, "function": "double", "params": [2] });
        victim.post("/v1/call").json(body).await.problem(404, "unknown-module");
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn a_digest_of_something_else_is_no_module() {
    let victim = Victim::start().await;
    victim.post(LIGHT).json(json!({ "params": [2] })).await.ok(json!({ "module": DOUBLE_DIGEST }));
    let zeros = format!("sha256:{}", "0".repeat(64));
    for digest in [DOUBLE_BLOB, &zeros] {
        let body = json!({ "module": digest, "function": "double", "params": [2] });
        victim.post("/v1/call").json(body).await.problem(404, "unknown-module");
        for part in ["", "/wasm", "/wat"] {
            let path = format!("/v1/modules/{digest}{part}");
            victim.get(&path).await.problem(404, "unknown-module");
        }
        victim.delete(&format!("/v1/modules/{digest}")).await.problem(404, "unknown-module");
        let link =
            json!({ "wat": "(module (import \"m\" \"f\" (func)))", "links": { "m": digest } });
        victim.post("/v1/modules").json(link).await.problem(404, "unknown-module");
    }
    // A module is what its bytes say, whatever it is registered as.
    victim
        .put(&format!("/v1/modules/{DOUBLE_DIGEST}"))
        .wat("(module)")
        .await
        .problem(422, "invalid-name");
    victim.is_unharmed().await;
}
