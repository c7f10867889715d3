//! Modules that are small and valid, and cost a compiler much.

use std::iter::repeat_n;

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, Function, FunctionSection, GlobalSection,
    GlobalType, Instruction, Module, RefType, Section, TableSection, TableType, TypeSection,
    ValType,
};

const I32: ValType = ValType::I32;

/// A name for each, and its binary.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("300 loops with 1000-parameter types", loops(300, 1000)),
        ("1000 blocks with 1000 results", blocks(1000, 1000)),
        ("30,000 loops with 16-parameter types", loops(30_000, 16)),
        ("49,000 locals × 20,000 loops", locals(49_000, 20_000)),
        ("40,000 call_indirect", indirect_calls(40_000)),
        ("1,000,000 empty functions", empty_functions(1_000_000)),
        ("br_table of 7,000,000 entries", branches(7_000_000)),
        ("66,000 globals with extended expressions", globals(66_000)),
    ]
}

/// A module that differs only in a custom section.
pub(crate) fn variant(wasm: &[u8], number: u64) -> Vec<u8> {
    with_custom(wasm, "number", &number.to_le_bytes())
}

/// A module with one more custom section.
pub(crate) fn with_custom(wasm: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut module = wasm.to_vec();
    CustomSection { name: name.into(), data: data.into() }.append_to(&mut module);
    module
}

/// A valid module of so many empty functions.
pub(crate) fn functions(count: u32) -> Vec<u8> {
    empty_functions(count)
}

/// A module of one function, `[] -> []`, whose type comes after `types`.
fn module(types: &[(usize, usize)], table: bool, function: &Function) -> Vec<u8> {
    let mut type_section = TypeSection::new();
    for (params, results) in types.iter().copied().chain([(0, 0)]) {
        type_section.ty().function(repeat_n(I32, params), repeat_n(I32, results));
    }
    let mut functions = FunctionSection::new();
    functions.function(types.len() as u32);
    let mut tables = TableSection::new();
    if table {
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: 1,
            maximum: None,
            shared: false,
        });
    }
    let mut code = CodeSection::new();
    code.function(function);
    let mut module = Module::new();
    module.section(&type_section).section(&functions).section(&tables).section(&code);
    module.finish()
}

fn repeat(function: &mut Function, instruction: &Instruction<'_>, times: usize) {
    for _ in 0..times {
        function.instruction(instruction);
    }
}

/// Loops within each other that each take and give `params` values: every one is a phi of the loop.
fn loops(count: usize, params: usize) -> Vec<u8> {
    let mut function = Function::new([]);
    repeat(&mut function, &Instruction::I32Const(0), params);
    repeat(&mut function, &Instruction::Loop(BlockType::FunctionType(0)), count);
    repeat(&mut function, &Instruction::End, count);
    repeat(&mut function, &Instruction::Drop, params);
    function.instruction(&Instruction::End);
    module(&[(params, params)], false, &function)
}

/// Blocks within each other that each give `results` values.
fn blocks(count: usize, results: usize) -> Vec<u8> {
    let mut function = Function::new([]);
    repeat(&mut function, &Instruction::Block(BlockType::FunctionType(0)), count);
    repeat(&mut function, &Instruction::I32Const(0), results);
    repeat(&mut function, &Instruction::End, count);
    repeat(&mut function, &Instruction::Drop, results);
    function.instruction(&Instruction::End);
    module(&[(0, results)], false, &function)
}

/// Many locals that are live around many loops, each of which changes one of them.
fn locals(count: u32, loops: u32) -> Vec<u8> {
    let mut function = Function::new([(count, I32)]);
    for number in 0..loops {
        function.instruction(&Instruction::Loop(BlockType::Empty));
        function.instruction(&Instruction::LocalGet((number + 1) % count));
        function.instruction(&Instruction::LocalSet(number % count));
    }
    for _ in 0..loops {
        function.instruction(&Instruction::LocalGet(0));
        function.instruction(&Instruction::BrIf(0));
        function.instruction(&Instruction::End);
    }
    function.instruction(&Instruction::End);
    module(&[], false, &function)
}

fn indirect_calls(count: usize) -> Vec<u8> {
    let mut function = Function::new([]);
    for _ in 0..count {
        function.instruction(&Instruction::I32Const(0));
        function.instruction(&Instruction::CallIndirect { type_index: 0, table_index: 0 });
    }
    function.instruction(&Instruction::End);
    module(&[(0, 0)], true, &function)
}

fn empty_functions(count: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    let mut empty = Function::new([]);
    empty.instruction(&Instruction::End);
    for _ in 0..count {
        functions.function(0);
        code.function(&empty);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module.finish()
}

/// One `br_table` of so many entries.
fn branches(entries: usize) -> Vec<u8> {
    let mut function = Function::new([]);
    function.instruction(&Instruction::I32Const(0));
    function.instruction(&Instruction::BrTable(vec![0; entries].into(), 0));
    function.instruction(&Instruction::End);
    module(&[], false, &function)
}

/// Globals that are each computed from the one before.
fn globals(count: u32) -> Vec<u8> {
    let ty = GlobalType { val_type: I32, mutable: false, shared: false };
    let mut globals = GlobalSection::new();
    globals.global(ty, &ConstExpr::i32_const(1));
    for before in 0..count - 1 {
        let sum = ConstExpr::global_get(before).with_global_get(before).with_i32_add();
        globals.global(ty, &sum.with_i32_const(3).with_i32_mul());
    }
    let mut module = Module::new();
    module.section(&globals);
    module.finish()
}
