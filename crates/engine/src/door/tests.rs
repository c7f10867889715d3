use proptest::prelude::*;

use super::*;

const ALL: ModuleLimits = ModuleLimits::of(u64::MAX);

fn parse(wat: &str) -> Vec<u8> {
    crate::text::parse(wat).unwrap_or_else(|error| panic!("{error}: {wat}"))
}

fn exceeded(wasm: &[u8], limits: &ModuleLimits) -> Option<LimitExceeded> {
    match check(wasm, limits) {
        Ok(()) => None,
        Err(Refusal::Limit(exceeded)) => Some(exceeded),
        Err(Refusal::Malformed(error)) => panic!("{error}"),
    }
}

/// A module for each limit, and how much of what is limited it has.
fn samples() -> Vec<(ModuleLimit, u64, &'static str)> {
    use ModuleLimit as L;
    const LOOPS: &str = "(module (func (param i32) (local i32 i64)
        (loop (br_if 0 (local.get 0))) (loop)))";
    const VALUES: &str = "(module (func (param i32)
        (block (result i32 i32) (br_if 0 (i32.const 1) (i32.const 2) (local.get 0)) )
        (drop) (drop)))";
    const TABLE: &str = "(module (func (param i32)
        (block (block (br_table 0 1 0 1 (local.get 0))))))";
    const TYPES: &str = "(module (type (func (param i32 i64) (result i32)))
        (type (struct (field i32) (field i64))))";
    const NAMES: &str = r#"(module (import "ab" "cde" (func (param i32) (result i64)))
        (func (param f32) (result i32 i32) unreachable)
        (export "xyz" (func 1)) (export "w" (func 1)))"#;
    const GLOBALS: &str = "(module (global i32 (i32.add (i32.const 1) (i32.const 2)))
        (global i64 (i64.const 1)))";
    const SEGMENTS: &str = r#"(module (memory 1) (table 4 funcref) (func)
        (data (i32.const 0) "a") (data "b") (data "c")
        (elem (i32.const 0) func 0 0) (elem funcref (ref.func 0) (ref.null func) (item ref.func 0)))"#;
    const CUSTOM: &str = r#"(module (@custom "a" "0123") (func $f))"#;
    const REFERENCES: &str = "(module (table 1 externref) (global externref (ref.null extern))
        (func $give (result externref) (ref.null extern))
        (func (param externref) (local externref)
          (drop (global.get 0)) (drop (table.get 0 (i32.const 0))) (drop (call $give))))";
    const HANDLERS: &str = "(module (tag) (func $f) (func
        (block $out
          (try_table (catch_all $out) (catch 0 $out)
            (call $f)
            (try_table (catch_all $out) (call $f) (call $f))))
        (call $f)))";
    const INDIRECT: &str = "(module (type $f (func (param i32) (result i32 i32)))
        (table 1 funcref)
        (func (drop (drop (call_indirect (type $f) (i32.const 1) (i32.const 0)))))
        (func (param (ref $f)) (drop (drop (call_ref $f (i32.const 1) (local.get 0))))
          (drop (table.get 0 (i32.const 0)))))";
    const STRUCTS: &str = "(module (type $s (struct (field i32) (field i32) (field i32)))
        (func (drop (struct.new_default $s)) (drop (struct.new_default $s))))";
    vec![
        (L::Types, 2, TYPES),
        (L::TypeElements, 5, TYPES),
        (L::Imports, 1, NAMES),
        (L::Functions, 1, NAMES),
        (L::FunctionValues, 3, NAMES),
        (L::Exports, 2, NAMES),
        (L::DescribedValues, 8, NAMES),
        (L::NameBytes, 9, NAMES),
        (L::Globals, 2, GLOBALS),
        (L::ConstantOperators, 2, GLOBALS),
        (L::Tags, 3, r#"(module (import "a" "b" (tag)) (tag) (tag (param i32)))"#),
        (L::DataSegments, 3, SEGMENTS),
        (L::ElementSegments, 2, SEGMENTS),
        (L::Elements, 5, SEGMENTS),
        (L::NameSectionBytes, 6, CUSTOM),
        (L::CustomBytes, 10, CUSTOM),
        (L::FunctionBytes, 5, "(module (func) (func (drop (i32.const 1))))"),
        (L::Locals, 3, LOOPS),
        (L::Loops, 2, LOOPS),
        (L::LoopNesting, 2, "(module (func (loop (block (loop))) (loop)))"),
        (L::LocalsTimesLoops, 6, LOOPS),
        (L::Blocks, 3, LOOPS),
        (L::LocalsTimesBlocks, 9, LOOPS),
        (L::Nesting, 3, "(module (func (block (block (loop))) (if (i32.const 1) (then))))"),
        (L::BranchTargets, 4, TABLE),
        (L::BlockValues, 2, VALUES),
        (L::BlockValuesTimesBlocks, 4, VALUES),
        (L::IndirectCalls, 2, INDIRECT),
        (L::PassedValues, 6, STRUCTS),
        (L::HandledCalls, 2 + 3 + 3, HANDLERS),
        // Two locals and three operators; the reads of the table and the global are no calls in
        // other functions, but may run the collector.
        (L::ReferencesTimesCalls, 15, REFERENCES),
    ]
}

#[test]
fn each_limit_lets_pass_its_maximum_and_not_one_more() {
    let samples = samples();
    for limit in ModuleLimit::ALL {
        assert!(samples.iter().any(|sample| sample.0 == *limit), "{limit:?} has no sample");
    }
    for (limit, has, wat) in samples {
        let wasm = parse(wat);
        assert_eq!(exceeded(&wasm, &ALL.with(limit, has)), None, "{limit:?}");
        let found = exceeded(&wasm, &ALL.with(limit, has - 1));
        let found = found.unwrap_or_else(|| panic!("{limit:?} is not exceeded"));
        assert_eq!((found.limit, found.maximum), (limit, has - 1));
        assert!(found.found >= has && found.offset <= wasm.len(), "{found:?}");
    }
}

#[test]
fn what_is_said_names_the_function_and_the_figures() {
    let wasm = parse(
        r#"(module (import "m" "f" (func)) (func) (func (param i32 i32) (loop) (loop) (loop)))"#,
    );
    let limits = ALL.with(ModuleLimit::LocalsTimesLoops, 5);
    let exceeded = exceeded(&wasm, &limits).unwrap();
    assert_eq!((exceeded.function, exceeded.found), (Some(2), 6));
    let text = exceeded.to_string();
    let expected = format!(
        "function 2 has at least 6 locals times loops; the maximum is 5, and is passed at offset {}",
        exceeded.offset
    );
    assert_eq!(text, expected);
}

#[test]
fn a_functions_counts_begin_anew_for_the_next() {
    let functions = "(func (param i32) (block) (block (br_if 0 (local.get 0))))".repeat(50);
    let wasm = parse(&format!("(module {functions})"));
    assert_eq!(exceeded(&wasm, &ALL.with(ModuleLimit::Blocks, 3)), None);
}

#[test]
fn what_cannot_be_read_is_no_limits_doing() {
    let wasm = parse("(module (func (drop (i32.const 1))))");
    for length in 0..wasm.len() {
        match check(&wasm[..length], &ModuleLimits::default()) {
            Err(Refusal::Malformed(_)) => {}
            // It ends between two sections.
            Ok(()) => assert!(length >= 8),
            Err(Refusal::Limit(exceeded)) => panic!("{exceeded}"),
        }
    }
}

proptest! {
    /// Whatever the bytes, the pass ends, and without a panic.
    #[test]
    fn no_bytes_break_it(
        sample in 0..ModuleLimit::ALL.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut wasm = parse(samples()[sample].2);
        for (index, byte) in flips {
            let at = index.index(wasm.len());
            wasm[at] = byte;
        }
        if let Some(cut) = cut {
            wasm.truncate(cut.index(wasm.len()));
        }
        // The verdict does not matter.
        let _ = check(&wasm, &ModuleLimits::default());
        let _ = check(&wasm, &ALL);
    }

    /// What the validator accepts can be read to its end.
    #[test]
    fn what_is_valid_passes_without_limits(
        sample in 0..ModuleLimit::ALL.len(),
        flip in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let mut wasm = parse(samples()[sample].2);
        let at = flip.0.index(wasm.len());
        wasm[at] = flip.1;
        if wasmparser::validate(&wasm).is_ok() {
            prop_assert!(check(&wasm, &ALL).is_ok());
        }
    }
}
