//! WebAssembly text that is small and stands for much, or takes a parser long.

use crate::victim::{Victim, size};

#[tokio::test]
async fn texts_that_nest_repeat_and_never_end() {
    let victim = Victim::start().await;
    let much = size(20_000, 1_000_000);
    let nested = |open: &str, close: &str| {
        format!("(module (func {}{}))", open.repeat(much), close.repeat(much))
    };
    for (what, text) in [
        ("parentheses", "(".repeat(much)),
        ("blocks", nested("(block ", ")")),
        ("operands", nested("(i32.eqz ", ")")),
        ("flat blocks", nested("block ", "end ")),
        ("comments", format!("(module {}{})", "(;".repeat(much), ";)".repeat(much))),
        ("annotations", format!("(module {}{})", "(@a ".repeat(much), ")".repeat(much))),
        ("an open string", format!("(module (data \"{}", "a".repeat(much))),
        ("an open comment", format!("(module (;{}", "a".repeat(much))),
        ("an identifier", format!("(module (func ${} (call $b)))", "a".repeat(much))),
        ("digits", format!("(module (func (drop (i64.const {}))))", "1".repeat(much))),
        ("hex digits", format!("(module (func (drop (f64.const 0x1.{}))) (", "f".repeat(much))),
        ("underscores", format!("(module (func (drop (i32.const 1{}1))))", "_".repeat(much))),
        ("modules", "(module)".repeat(much)),
        ("nothing", " ".repeat(much)),
        ("escapes", format!("(module (export \"{}\" (func 0)))", "\\ff".repeat(much))),
        (
            "names that do not exist",
            format!("(module (start $s) {})", "(export \"\" (func $f))".repeat(1000)),
        ),
        (
            "types that refer to each other",
            format!("(module {})", "(type $t (sub $t (func)))".repeat(1000)),
        ),
    ] {
        let response = victim.post("/v1/modules").wat(text).await;
        assert!(response.body.len() < 10_000, "{what}: {}", response.body.len());
        // Some are modules, if odd ones, and at full size some are too large.
        assert!(matches!(response.status.as_u16(), 200 | 201 | 413 | 422), "{what}: {response:?}");
        victim.answers_others().await;
    }
    victim.is_unharmed().await;
}

#[tokio::test]
async fn texts_that_stand_for_much() {
    let victim = Victim::start().await;
    let much = size(5_000, 200_000);
    for (what, text) in [
        ("types", format!("(module {})", "(type (func (param i32)))".repeat(much))),
        ("functions", format!("(module {})", "(func)".repeat(much))),
        ("data", format!("(module (memory 1) (data \"{}\"))", "\\00".repeat(much))),
        ("locals", format!("(module (func (local {})))", "i32 ".repeat(much))),
        ("strings", format!("(module (memory 1) (data {}))", "\"a\" ".repeat(much))),
        ("quotes", format!("(module quote {})", "\"(func)\" ".repeat(much))),
        ("globals", format!("(module {})", "(global i32 (i32.const 1))".repeat(much))),
    ] {
        let response = victim.post("/v1/modules").wat(text).await;
        // Whether that much is accepted is a matter of published limits.
        let status = response.status.as_u16();
        assert!(matches!(status, 201 | 422), "{what}: {response:?}");
        victim.answers_others().await;
    }
    victim.is_unharmed().await;
}
