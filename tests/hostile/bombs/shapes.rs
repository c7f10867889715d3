//! Small modules that would take a compiler much time or memory, made to measure.
//!
//! Each is valid WebAssembly. What is counted is a parameter, so that the same shapes can be made
//! at a limit and beyond it.

use wasm_encoder::{
    BlockType, Catch, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, FieldType, Function, FunctionSection, GlobalSection, GlobalType, HeapType,
    ImportSection, Instruction, InstructionSink, Module, RefType, StorageType, TableSection,
    TableType, TagKind, TagSection, TagType, TypeSection, ValType,
};

/// Every bomb at the size in which it does harm: its name, the limit that it meets, its bytes.
pub(crate) fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("loops with many parameters", "block_values", loops_with_params(300, 1000, false)),
        ("nested loops with parameters", "block_values", loops_with_params(300, 1000, true)),
        ("blocks with many results", "block_values", blocks_with_results(1000, 1000)),
        (
            "many loops with some parameters",
            "block_values_times_blocks",
            loops_with_params(30_000, 16, false),
        ),
        ("many locals in many loops", "locals_times_loops", locals_in_loops(49_000, 20_000)),
        ("deeply nested loops", "loop_nesting", locals_in_loops(1, 2_000)),
        ("many indirect calls", "indirect_calls", indirect_calls(40_000)),
        ("a million functions", "functions", functions(1_000_000)),
        ("a huge branch table", "function_bytes", branch_table(7_000_000, 0)),
        ("a branch table that carries values", "branch_targets", branch_table(500_000, 1000)),
        ("globals with long expressions", "constant_operators", globals(66_000, 3)),
        ("one very long expression", "constant_operators", globals(1, 200_000)),
        ("calls that pass many values", "passed_values", calls_with_values(100_000, 1000)),
        ("functions with many parameters", "function_values", functions_with_params(100_000, 1000)),
        ("calls under many handlers", "handled_calls", calls_under_handlers(10_000, 5_000)),
        ("nested handlers", "handled_calls", nested_handlers(3_000, 5_000)),
        (
            "references that live across calls",
            "references_times_calls",
            references_across_calls(30_000, 30_000),
        ),
        ("structs with many fields", "passed_values", structs(2_000, 10_000)),
        ("recursive types", "types", recursive_types(200_000)),
        ("exports of a large type", "described_values", exports(100_000, 1000, 8)),
        ("gigantic names", "name_bytes", exports(100, 0, 60_000)),
        ("imports of a large type", "described_values", imports(50_000, 1000)),
        ("deep nesting", "nesting", nesting(300_000)),
        ("long chains of selects", "function_bytes", selects(1_000_000)),
        ("many conditional branches", "blocks", conditional_branches(200_000)),
        ("many elements", "elements", elements(5_000_000)),
    ]
}

/// A module of one type, one function of that type, and that function's body.
fn one_function(
    params: &[ValType],
    results: &[ValType],
    locals: Vec<(u32, ValType)>,
    body: impl FnOnce(&mut InstructionSink<'_>),
) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function(params.iter().copied(), results.iter().copied());
    finish(types, locals, |_| {}, body)
}

/// A module whose last function is of type 0 and has this body.
fn finish(
    types: TypeSection,
    locals: Vec<(u32, ValType)>,
    sections: impl FnOnce(&mut Parts),
    body: impl FnOnce(&mut InstructionSink<'_>),
) -> Vec<u8> {
    let mut parts = Parts { types, ..Parts::default() };
    sections(&mut parts);
    parts.functions.function(0);
    let mut function = Function::new(locals);
    body(&mut function.instructions());
    function.instruction(&Instruction::End);
    parts.code.function(&function);
    parts.module()
}

/// The sections of a module, in the order in which they are written.
#[derive(Default)]
struct Parts {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,

    tags: TagSection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
}

impl Parts {
    fn module(&self) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions);
        module.section(&self.tables).section(&self.tags);
        module.section(&self.globals).section(&self.exports).section(&self.elements);
        module.section(&self.code).finish_and_take()
    }

    /// A function of type `ty` that does nothing; it has no results.
    fn empty_function(&mut self, ty: u32) {
        self.functions.function(ty);
        self.code.function(&empty());
    }
}

trait Finish {
    fn finish_and_take(&mut self) -> Vec<u8>;
}

impl Finish for Module {
    fn finish_and_take(&mut self) -> Vec<u8> {
        std::mem::take(self).finish()
    }
}

fn empty() -> Function {
    let mut function = Function::new([]);
    function.instruction(&Instruction::End);
    function
}

const I32: ValType = ValType::I32;

/// Loops whose block type has `params` parameters and as many results.
pub(crate) fn loops_with_params(loops: usize, params: usize, nested: bool) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function(vec![I32; params], vec![I32; params]);
    finish(
        types,
        vec![(1, I32)],
        |_| {},
        |code| {
            for _ in 0..params {
                code.local_get(0);
            }
            for _ in 0..loops {
                code.loop_(BlockType::FunctionType(1));
                if !nested {
                    code.local_get(0).br_if(0).end();
                }
            }
            for _ in 0..if nested { loops } else { 0 } {
                code.local_get(0).br_if(0).end();
            }
            for _ in 0..params {
                code.drop();
            }
        },
    )
}

/// Blocks that give `results` results, which are dropped.
pub(crate) fn blocks_with_results(blocks: usize, results: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function(vec![I32; results], vec![I32; results]);
    finish(
        types,
        vec![(1, I32)],
        |_| {},
        |code| {
            for _ in 0..results {
                code.local_get(0);
            }
            for _ in 0..blocks {
                code.block(BlockType::FunctionType(1)).local_get(0).br_if(0).end();
            }
            for _ in 0..results {
                code.drop();
            }
        },
    )
}

/// Nested loops in the innermost of which every local is used.
pub(crate) fn locals_in_loops(locals: u32, loops: usize) -> Vec<u8> {
    one_function(&[], &[], vec![(locals, I32)], |code| {
        for _ in 0..loops {
            code.loop_(BlockType::Empty);
        }
        for local in 0..locals {
            code.local_get(local).local_set((local + 1) % locals);
        }
        for _ in 0..loops {
            code.local_get(0).br_if(0).end();
        }
    })
}

/// Calls through a table, one after the other.
pub(crate) fn indirect_calls(calls: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let table = |parts: &mut Parts| {
        parts.tables.table(funcrefs(10));
    };
    finish(types, vec![], table, |code| {
        for _ in 0..calls {
            code.i32_const(0).call_indirect(0, 0);
        }
    })
}

fn funcrefs(minimum: u64) -> TableType {
    TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum,
        maximum: None,
        shared: false,
    }
}

/// Functions that do nothing.
pub(crate) fn functions(count: usize) -> Vec<u8> {
    let mut parts = Parts::default();
    parts.types.ty().function([], []);
    (0..count).for_each(|_| parts.empty_function(0));
    parts.module()
}

/// One branch table, whose targets are of `values` values.
pub(crate) fn branch_table(entries: usize, values: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([], vec![I32; values]);
    finish(
        types,
        vec![(1, I32)],
        |_| {},
        |code| {
            code.block(BlockType::FunctionType(1));
            for _ in 0..values {
                code.local_get(0);
            }
            code.local_get(0).br_table(vec![0; entries], 0).end();
            for _ in 0..values {
                code.drop();
            }
        },
    )
}

/// Globals that are each initialised by adding up `operators` constants.
pub(crate) fn globals(count: usize, operators: usize) -> Vec<u8> {
    let mut parts = Parts::default();
    let mut start = ConstExpr::extended([Instruction::I32Const(1)]);
    for _ in 0..operators {
        start = start.with_i32_const(1).with_i32_add();
    }
    for _ in 0..count {
        let ty = GlobalType { val_type: I32, mutable: true, shared: false };
        parts.globals.global(ty, &start);
    }
    parts.module()
}

/// Calls of a function that takes and gives `values` values.
pub(crate) fn calls_with_values(calls: usize, values: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function(vec![I32; values], vec![I32; values]);
    let callee = |parts: &mut Parts| {
        parts.functions.function(1);
        let mut function = Function::new([]);
        function.instruction(&Instruction::Unreachable).instruction(&Instruction::End);
        parts.code.function(&function);
    };
    finish(types, vec![(1, I32)], callee, |code| {
        for _ in 0..values {
            code.local_get(0);
        }
        for _ in 0..calls {
            code.call(0);
        }
        for _ in 0..values {
            code.drop();
        }
    })
}

/// Functions with many parameters that do nothing.
pub(crate) fn functions_with_params(count: usize, params: usize) -> Vec<u8> {
    let mut parts = Parts::default();
    parts.types.ty().function(vec![I32; params], []);
    (0..count).for_each(|_| parts.empty_function(0));
    parts.module()
}

/// Calls inside of one block with `handlers` handlers.
pub(crate) fn calls_under_handlers(handlers: usize, calls: usize) -> Vec<u8> {
    let body = |code: &mut InstructionSink<'_>| {
        let catches: Vec<_> = (0..handlers).map(|_| Catch::One { tag: 0, label: 0 }).collect();
        code.try_table(BlockType::Empty, catches);
        for _ in 0..calls {
            code.call(0);
        }
        code.end();
    };
    with_tag(body)
}

/// Calls inside of nested blocks with a handler each.
pub(crate) fn nested_handlers(depth: usize, calls: usize) -> Vec<u8> {
    with_tag(|code| {
        for _ in 0..depth {
            code.try_table(BlockType::Empty, vec![Catch::One { tag: 0, label: 0 }]);
        }
        for _ in 0..calls {
            code.call(0);
        }
        for _ in 0..depth {
            code.end();
        }
    })
}

fn with_tag(body: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let tag = |parts: &mut Parts| {
        parts.empty_function(0);
        parts.tags.tag(TagType { kind: TagKind::Exception, func_type_idx: 0 });
    };
    finish(types, vec![], tag, body)
}

/// References that are read, kept on the stack across calls, and then used.
pub(crate) fn references_across_calls(references: usize, calls: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let global = |parts: &mut Parts| {
        parts.empty_function(0);
        let ty = GlobalType { val_type: ValType::EXTERNREF, mutable: true, shared: false };
        parts.globals.global(ty, &ConstExpr::ref_null(HeapType::EXTERN));
    };
    finish(types, vec![], global, |code| {
        for _ in 0..references {
            code.global_get(0);
        }
        for _ in 0..calls {
            code.call(0);
        }
        for _ in 0..references {
            code.global_set(0);
        }
    })
}

/// Structs of many fields, made one after the other.
pub(crate) fn structs(count: usize, fields: usize) -> Vec<u8> {
    let field = FieldType { element_type: StorageType::Val(I32), mutable: true };
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().struct_(vec![field; fields]);
    finish(
        types,
        vec![],
        |_| {},
        |code| {
            for _ in 0..count {
                code.struct_new_default(1).drop();
            }
        },
    )
}

/// One group of types, each with a field of the type after it.
pub(crate) fn recursive_types(count: u32) -> Vec<u8> {
    use wasm_encoder::{CompositeInnerType, CompositeType, StructType, SubType};
    let mut parts = Parts::default();
    let group = (0..count).map(|index| {
        let next = HeapType::Concrete((index + 1) % count);
        let next = ValType::Ref(RefType { nullable: true, heap_type: next });
        let field = FieldType { element_type: StorageType::Val(next), mutable: true };
        let inner = CompositeInnerType::Struct(StructType { fields: Box::new([field]) });
        let composite_type =
            CompositeType { inner, shared: false, descriptor: None, describes: None };
        SubType { is_final: true, supertype_idx: None, composite_type }
    });
    parts.types.ty().rec(group.collect::<Vec<_>>());
    parts.module()
}

/// Exports of the same function, with names of `name` bytes.
pub(crate) fn exports(count: usize, params: usize, name: usize) -> Vec<u8> {
    let mut parts = Parts::default();
    parts.types.ty().function(vec![I32; params], []);
    parts.empty_function(0);
    for index in 0..count {
        parts.exports.export(&format!("{index:0name$}"), ExportKind::Func, 0);
    }
    parts.module()
}

/// Imports of functions with many parameters.
pub(crate) fn imports(count: usize, params: usize) -> Vec<u8> {
    let mut parts = Parts::default();
    parts.types.ty().function(vec![I32; params], []);
    for index in 0..count {
        parts.imports.import("m", &index.to_string(), EntityType::Function(0));
    }
    parts.module()
}

/// Blocks in blocks.
pub(crate) fn nesting(depth: usize) -> Vec<u8> {
    one_function(&[], &[], vec![(1, I32)], |code| {
        for _ in 0..depth {
            code.block(BlockType::Empty);
        }
        code.local_get(0).br_if(depth as u32);
        for _ in 0..depth {
            code.end();
        }
    })
}

/// Selects, each of which chooses between the last one and a parameter.
pub(crate) fn selects(count: usize) -> Vec<u8> {
    one_function(&[I32, I32], &[I32], vec![], |code| {
        code.local_get(0);
        for _ in 0..count {
            code.local_get(1).local_get(0).select();
        }
    })
}

/// Branches out of one block.
pub(crate) fn conditional_branches(count: usize) -> Vec<u8> {
    one_function(&[I32], &[], vec![], |code| {
        for _ in 0..count {
            code.local_get(0).br_if(0);
        }
    })
}

/// A table segment that nobody can use.
pub(crate) fn elements(count: usize) -> Vec<u8> {
    let mut parts = Parts::default();
    parts.types.ty().function([], []);
    parts.empty_function(0);
    parts.elements.passive(Elements::Functions(vec![0; count].into()));
    parts.module()
}
