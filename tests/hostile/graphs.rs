//! Linked graphs that are deep, wide, or reach everything twice.

use serde_json::json;
use wasm_exec::GraphLimits;

use crate::support::server::Server;
use crate::victim::Victim;

/// A module that adds what the modules at `imports` give.
fn summing(imports: &[String]) -> String {
    let declared: String = imports
        .iter()
        .map(|module| format!("(import \"{module}\" \"f\" (func ${module} (result i64)))"))
        .collect();
    let added: String =
        imports.iter().map(|module| format!("(call ${module}) (i64.add)")).collect();
    format!("(module {declared} (func (export \"f\") (result i64) (i64.const 1) {added}))")
}

async fn register(server: &Server, name: &str, imports: &[(String, String)]) -> u16 {
    let wat = summing(&imports.iter().map(|(import, _)| import.clone()).collect::<Vec<_>>());
    let links: serde_json::Map<_, _> =
        imports.iter().map(|(import, module)| (import.clone(), json!(module))).collect();
    let body = json!({ "wat": wat, "links": links });
    server.put(&format!("/v1/modules/{name}")).json(body).await.status.as_u16()
}

#[tokio::test]
async fn a_chain_is_as_long_as_it_may_be() {
    let victim = Victim::start().await;
    let depth = GraphLimits::default().depth;
    let mut registered = 0;
    for level in 0..2 * depth {
        let below = format!("chain{}", level.wrapping_sub(1));
        let imports = if level == 0 { vec![] } else { vec![("below".to_owned(), below)] };
        match register(&victim, &format!("chain{level}"), &imports).await {
            201 => registered += 1,
            // What is too deep is refused, and so are those that would link to it.
            status => assert!(matches!(status, 422 | 404), "{status}"),
        }
    }
    assert!((depth..=depth + 1).contains(&registered), "{registered} of at most {depth}");
    let top = format!("/v1/modules/chain{}/functions/f", registered - 1);
    victim.post(&top).await.ok(json!({ "results": [registered.to_string()] }));
    victim.is_unharmed().await;
}

#[tokio::test]
async fn a_fan_is_as_wide_as_it_may_be() {
    let victim = Victim::start().await;
    let modules = GraphLimits::default().modules;
    for leaf in 0..modules {
        let wat = format!("(module (func (export \"f\") (result i64) (i64.const {leaf})))");
        victim.put(&format!("/v1/modules/leaf{leaf}")).wat(wat).await.created();
    }
    let leaves = |count: usize| -> Vec<_> {
        (0..count).map(|leaf| (format!("l{leaf}"), format!("leaf{leaf}"))).collect()
    };
    assert_eq!(register(&victim, "fan", &leaves(modules - 1)).await, 201);
    assert_eq!(register(&victim, "wider", &leaves(modules)).await, 422);
    let sum: usize = (0..modules - 1).sum();
    let call = victim.post("/v1/modules/fan/functions/f").await;
    call.ok(json!({ "results": [(sum + 1).to_string()] }));
    victim.is_unharmed().await;
}

#[tokio::test]
async fn what_is_reached_in_many_ways_is_there_once() {
    let victim = Victim::start().await;
    // Each level links the one below it twice: 2^14 ways to the bottom, and 15 modules.
    let levels = GraphLimits::default().depth - 2;
    for level in 0..=levels {
        let below = format!("twice{}", level.wrapping_sub(1));
        let imports = match level {
            0 => vec![],
            _ => ["left", "right"].map(|import| (import.to_owned(), below.clone())).to_vec(),
        };
        assert_eq!(register(&victim, &format!("twice{level}"), &imports).await, 201, "{level}");
    }
    let top = format!("/v1/modules/twice{levels}/functions/f");
    let sum = (2_u64 << levels) - 1;
    victim.post(&top).await.ok(json!({ "results": [sum.to_string()] }));
    let described = victim.get(&format!("/v1/modules/twice{levels}")).await;
    assert!(described.body.len() < 10_000, "{}", described.body.len());
    victim.is_unharmed().await;
}

#[tokio::test]
async fn a_link_to_itself_cannot_be_said() {
    let victim = Victim::start().await;
    let imports = [("self".to_owned(), "ring".to_owned())];
    assert_eq!(register(&victim, "ring", &imports).await, 404);
    assert_eq!(register(&victim, "ring", &[]).await, 201);
    // The name is taken now, by what cannot link to what comes after it.
    assert_eq!(register(&victim, "ring", &imports).await, 409);
    victim.is_unharmed().await;
}
