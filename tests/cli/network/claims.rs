//! Names that several nodes claim.

use super::node::{DOUBLE, Node, TRIPLE, eventually, peers};

#[test]
fn owners_that_disagree_are_listed_and_each_can_be_called() {
    let (one, two) = (Node::alone(), Node::alone());
    one.put("utils", DOUBLE).has_status(201);
    two.put("utils", TRIPLE).has_status(201);
    let three = Node::joining(&[&one, &two]);
    three.meets(&[&one, &two]);
    let [of_one, of_two] = [one.canonical("utils"), two.canonical("utils")];
    // Before anything is asked for by the plain name, which would pin it, both are known.
    three.computes(&of_one, 4);
    three.computes(&of_two, 6);
    let conflict = eventually("the conflict", || {
        let answer = three.get("/v1/modules/utils");
        (answer.status == 409).then_some(answer)
    });
    let conflict = conflict.problem(409, "name-conflict");
    let owners = conflict["owners"].as_array().unwrap();
    assert_eq!(owners.len(), 2, "{conflict}");
    assert!([of_one, of_two].iter().all(|name| owners.iter().any(|owner| owner == name)));
    let call = three.post("/v1/modules/utils/functions/f", r#"{"params":[2]}"#);
    call.problem(409, "name-conflict");
    // To each of them it is its own.
    one.computes("utils", 4);
    two.computes("utils", 6);
}

#[test]
fn whom_a_node_trusts_it_calls_by_an_alias_and_hears_first() {
    let (one, two) = (Node::alone(), Node::alone());
    one.put("utils", DOUBLE).has_status(201);
    two.put("utils", TRIPLE).has_status(201);
    let flags = format!("-m --trust acme={} {}", two.id(), peers(&[&one, &two]));
    let three = Node::start(&flags);
    three.computes(&one.canonical("utils"), 4);
    three.computes("acme:utils", 6);
    three.computes("utils", 6);
    three.put("acme:utils", DOUBLE).problem(403, "forbidden");
}
