//! Failures: what they say is of the guest, and nothing of the machine it runs on.

use serde_json::json;

use crate::victim::Victim;

/// One function for each way to fail.
const FAILING: &str = r#"
    (module
      (memory 1)
      (table 1 funcref)
      (type $none (func))
      (func (export "unreachable") unreachable)
      (func (export "division") (drop (i32.div_u (i32.const 1) (i32.const 0))))
      (func (export "memory") (drop (i32.load (i32.const -1))))
      (func (export "table") (drop (table.get 0 (i32.const 1))))
      (func (export "null") (call_indirect (type $none) (i32.const 0)))
      (func $recursion (export "recursion") (call $recursion))
      (func (export "time") (loop (br 0)))
      (func (export "growth")
        (if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))))"#;

/// Whether a text has an address of this process: `0x` and more than eight hex digits.
fn has_address(text: &str) -> bool {
    text.split("0x").skip(1).any(|rest| rest.bytes().take_while(u8::is_ascii_hexdigit).count() > 8)
}

#[tokio::test]
async fn failures_tell_nothing_of_the_host() {
    let victim = Victim::start().await;
    victim.put("/v1/modules/failing").wat(FAILING).await.created();
    let mut answers = Vec::new();
    for function in [
        "unreachable",
        "division",
        "memory",
        "table",
        "null",
        "recursion",
        "time",
        "growth",
        "none",
    ] {
        for limits in
            [json!({ "timeout_ms": 20 }), json!({ "timeout_ms": 500, "fuel": 100_000_000 })]
        {
            let call = victim.post(&format!("/v1/modules/failing/functions/{function}"));
            answers.push(call.json(json!({ "limits": limits })).await);
        }
    }
    for wat in ["(module", "(module (func (result i32)))", "(module (memory 65537))", "(component)"]
    {
        answers.push(victim.put("/v1/modules/invalid").wat(wat).await);
    }
    answers.push(victim.put("/v1/modules/invalid").wasm("\0asm\x01\0\0\0\x01\x7f").await);
    for answer in answers {
        assert!(answer.status.is_client_error(), "{answer:?}");
        let text = answer.text();
        for secret in
            ["/root", "/home", "/tmp", "/usr", ".cargo", ".rs", "wasmtime", "cranelift", "panick"]
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(!has_address(text), "{text}");
    }
    victim.is_unharmed().await;
}
