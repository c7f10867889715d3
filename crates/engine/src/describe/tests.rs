use super::*;

/// What a running engine has switched on.
fn features() -> WasmFeatures {
    let config = crate::EngineConfig::default();
    let wasmtime = crate::profile::base_config(&config, crate::Profile::Fast);
    wasmtime::Engine::new(&wasmtime).unwrap().get_wasm_features()
}

fn describe_wat(wat: &str) -> Result<Description, InvalidModule> {
    describe(&crate::text::parse(wat).unwrap(), features(), Bodies::Validate)
}

#[test]
fn types_are_written_as_the_text_format_has_them() {
    let description = describe_wat(
        r#"(module
             (type $pair (struct (field i32)))
             (import "a" "f" (func (param i32 i64 f32 f64 v128) (result externref)))
             (import "a" "t" (table 1 2 funcref))
             (import "b" "m" (memory 1))
             (import "b" "g" (global (mut f64)))
             (import "c" "e" (tag (param i32)))
             (func (export "f") (param (ref null $pair) (ref func) nullref) (result i32 i32)
               (i32.const 1) (i32.const 2))
             (table (export "t") i64 3 (ref null extern))
             (memory (export "m") i64 2 9)
             (memory 3)
             (global (export "g") anyref (ref.null any)))"#,
    )
    .unwrap();
    let text = |item: &Item| match item {
        Item::Function { params, results } => {
            format!("({}) -> ({})", params.join(", "), results.join(", "))
        }
        Item::Table(ty) | Item::Memory(ty) | Item::Global(ty) | Item::Tag(ty) => ty.clone(),
    };
    let imports: Vec<_> = description
        .imports
        .iter()
        .map(|import| {
            let Import { module, name, item } = import;
            format!("{module}.{name} {} {}", item.kind(), text(item))
        })
        .collect();
    assert_eq!(
        imports,
        [
            "a.f function (i32, i64, f32, f64, v128) -> (externref)",
            "a.t table 1 2 funcref",
            "b.m memory 1",
            "b.g global (mut f64)",
            "c.e tag (param i32)",
        ]
    );
    let exports: Vec<_> = description
        .exports
        .iter()
        .map(|export| format!("{} {} {}", export.name, export.item.kind(), text(&export.item)))
        .collect();
    assert_eq!(
        exports,
        [
            "f function ((ref null 0), (ref func), nullref) -> (i32, i32)",
            "t table i64 3 externref",
            "m memory i64 2 9",
            "g global anyref",
        ]
    );
    assert_eq!(description.initial_memory, 5 << 16);
}

#[test]
fn what_is_not_a_module_is_told_with_its_place() {
    let features = features();
    let describe = |wasm: &[u8]| describe(wasm, features, Bodies::Validate);
    for (wasm, at) in [
        (&b""[..], 0),
        (b"\0asm", 4),
        (b"not wasm", 0),
        (b"\0asm\x02\0\0\0", 4),
        (b"\0asm\x01\0\0\0\x01\x05", 10),
    ] {
        match describe(wasm) {
            Err(InvalidModule::Invalid { offset, .. }) => assert_eq!(offset, at, "{wasm:?}"),
            other => panic!("{wasm:?}: {other:?}"),
        }
    }
    assert!(matches!(
        describe(b"\0asm\x0d\0\x01\0"),
        Err(InvalidModule::Unsupported { offset: Some(4), .. })
    ));
    let shared = describe_wat("(module (memory 1 1 shared))");
    assert!(matches!(shared, Err(InvalidModule::Unsupported { .. })), "{shared:?}");
}

#[test]
fn bodies_are_validated_unless_they_are_trusted() {
    let wasm = crate::text::parse("(module (func (result i32)))").unwrap();
    assert!(describe(&wasm, features(), Bodies::Validate).is_err());
    assert!(describe(&wasm, features(), Bodies::Trust).is_ok());
}
