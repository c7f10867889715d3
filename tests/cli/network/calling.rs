//! Registering on one node and calling on another.

use serde_json::json;

use super::node::{DOUBLE, Node, TRIPLE, eventually};
use crate::support::Test;

/// The bodies of the original's four examples, letter by letter.
const RUN: &str = r#"{"function_name": "double", "params": [2], "wasm_hex": "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"}"#;
const REGISTER: &str = r#"{"module_name": "utils", "wasm_hex": "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"}"#;
const EXECUTE: &str = r#"{"module_name": "utils", "function_name": "double", "params": [2]}"#;
const RUN_LINKED: &str = r#"{"wasm_hex": "0061736d0100000001060160017f017f021001057574696c7306646f75626c650000030201000710010c646f75626c655f747769636500010a0a0108002000100010000b", "function_name": "double_twice", "params": [2], "host_modules": ["utils"]}"#;

#[test]
fn the_documented_examples_work_across_nodes() {
    let one = Node::alone();
    let two = Node::joining(&[&one]);
    two.meets(&[&one]);
    assert_eq!(two.post("/", RUN).has_status(200).body, r#"[{"I32":4}]"#);
    let registered = one.post("/register", REGISTER).has_status(200);
    assert_eq!(registered.body, "Successfully stored module: utils");
    for node in [&one, &two] {
        eventually("the name", || (node.post("/execute", EXECUTE).status == 200).then_some(()));
        assert_eq!(node.post("/execute", EXECUTE).body, r#"[{"I32":4}]"#);
        assert_eq!(node.post("/", RUN_LINKED).has_status(200).body, r#"[{"I32":8}]"#);
    }
}

#[test]
fn what_is_registered_on_one_node_is_called_on_all() {
    let one = Node::alone();
    let two = Node::joining(&[&one]);
    two.meets(&[&one]);
    let three = Node::joining(&[&two]);
    three.meets(&[&two]);
    let canonical = one.canonical("utils@1.0.0");
    let made = one.put("utils@1.0.0", DOUBLE).has_status(201).json();
    let digest = made["digest"].as_str().unwrap().to_owned();
    assert_eq!(made["owner"], one.id(), "{made}");
    assert_eq!(made["canonical_name"], canonical, "{made}");
    assert_eq!(made["source"], "local", "{made}");
    assert!(made["replicas"].as_u64() >= Some(1), "{made}");
    for node in [&three, &two] {
        for module in ["utils", "utils@1.0.0", &canonical, &one.canonical("utils"), &digest] {
            node.computes(module, 4);
        }
        let described = node.get("/v1/modules/utils").has_status(200).json();
        let expected = json!({
            "digest": digest, "owner": one.id(), "canonical_name": canonical, "source": one.id(),
        });
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(described[member], *value, "{member} in {described}");
        }
        assert!(described["replicas"].is_u64(), "{described}");
    }
    // All of them know each other by now, or soon.
    for (node, others) in [(&one, [&two, &three]), (&two, [&one, &three])] {
        node.meets(&others);
        let peers = format!("peers --url http://{}", node.server.address());
        let mut table = Test::new(&peers).stdout_has("PEER ").stdout_has("wasm-exec-api/");
        for other in others {
            table = table.stdout_has(other.id());
        }
        table.run();
    }
}

#[test]
fn a_module_without_a_name_is_called_by_its_digest() {
    let one = Node::alone();
    let two = Node::joining(&[&one]);
    two.meets(&[&one]);
    let body = json!({ "wat": TRIPLE }).to_string();
    let made = one.post("/v1/modules", &body).has_status(201).json();
    two.computes(made["digest"].as_str().unwrap(), 6);
}

#[test]
fn what_nobody_knows_is_told_by_a_node_with_peers_and_by_one_without() {
    let one = Node::alone();
    one.get("/v1/modules/utils").problem(404, "unknown-module");
    let two = Node::joining(&[&one]);
    two.meets(&[&one]);
    let of_one = one.canonical("utils");
    for module in ["utils", "utils@1.0.0", &of_one] {
        two.get(&format!("/v1/modules/{module}")).problem(404, "unknown-module");
    }
    let digest = format!("/v1/modules/sha256:{}", "0".repeat(64));
    two.get(&digest).problem(404, "unknown-module");
}

#[test]
fn what_is_deleted_is_gone_everywhere_and_may_come_back_as_something_else() {
    let one = Node::alone();
    let two = Node::joining(&[&one]);
    two.meets(&[&one]);
    let canonical = one.canonical("utils");
    one.put("utils", DOUBLE).has_status(201);
    two.computes("utils", 4);
    let refused = two.delete(&canonical).problem(403, "forbidden");
    assert_eq!(refused["owner"], one.id(), "{refused}");
    two.put(&canonical, TRIPLE).problem(403, "forbidden");
    // It is not this node's own either.
    two.delete("utils").problem(404, "unknown-module");
    two.computes("utils", 4);

    one.delete("utils").has_status(204);
    two.forgets("utils");
    two.forgets(&canonical);
    one.put("utils", TRIPLE).has_status(201);
    two.computes("utils", 6);
    two.computes(&canonical, 6);
}
