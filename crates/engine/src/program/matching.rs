//! Whether an export can satisfy an import, and how each is told to a person.
//!
//! The rules are those of the WebAssembly specification, "Import Subtyping" (4.5.9 "External Types"
//! in release 3.0). Wasmtime applies them too when it instantiates; here they are applied earlier,
//! to say which import does not fit.

use std::fmt::Write;

use wasmtime::{
    ExternType, Finality, FuncType, GlobalType, HeapType, MemoryType, Mutability, RefType,
    TableType, ValType,
};

use crate::describe::Item;
use crate::value::ValueType;

/// Whether `found` may be given where `wanted` is imported.
pub(crate) fn matches(found: &ExternType, wanted: &ExternType) -> bool {
    match (found, wanted) {
        (ExternType::Func(found), ExternType::Func(wanted)) => is_subtype(found, wanted),
        (ExternType::Global(found), ExternType::Global(wanted)) => {
            found.mutability() == wanted.mutability()
                && match wanted.mutability() {
                    Mutability::Const => found.content().matches(wanted.content()),
                    Mutability::Var => ValType::eq(found.content(), wanted.content()),
                }
        }
        (ExternType::Table(found), ExternType::Table(wanted)) => {
            found.is_64() == wanted.is_64()
                && RefType::eq(found.element(), wanted.element())
                && within((found.minimum(), found.maximum()), (wanted.minimum(), wanted.maximum()))
        }
        (ExternType::Memory(found), ExternType::Memory(wanted)) => {
            found.is_64() == wanted.is_64()
                && found.is_shared() == wanted.is_shared()
                && found.page_size() == wanted.page_size()
                && within((found.minimum(), found.maximum()), (wanted.minimum(), wanted.maximum()))
        }
        (ExternType::Tag(found), ExternType::Tag(wanted)) => FuncType::eq(found.ty(), wanted.ty()),
        _ => false,
    }
}

/// Whether a function type is another, or was declared to be a subtype of it: `FuncType::matches`
/// looks at parameters and results alone, which is not enough where types are in groups.
fn is_subtype(found: &FuncType, wanted: &FuncType) -> bool {
    let heap_type = |ty: &FuncType| HeapType::ConcreteFunc(ty.clone());
    heap_type(found).matches(&heap_type(wanted))
}

type Limits = (u64, Option<u64>);

fn within((minimum, maximum): Limits, (wanted_minimum, wanted_maximum): Limits) -> bool {
    minimum >= wanted_minimum
        && match (maximum, wanted_maximum) {
            (_, None) => true,
            (Some(maximum), Some(wanted)) => maximum <= wanted,
            (None, Some(_)) => false,
        }
}

/// The kind's name: `function`, `table`, `memory`, `global` or `tag`.
pub(crate) fn kind(ty: &ExternType) -> &'static str {
    match ty {
        ExternType::Func(_) => "function",
        ExternType::Global(_) => "global",
        ExternType::Table(_) => "table",
        ExternType::Memory(_) => "memory",
        ExternType::Tag(_) => "tag",
    }
}

/// Whether a live memory or table of type `found`, with so many pages or elements now, may be given
/// where `wanted` is imported. What it began with does not matter any more.
pub(crate) fn matches_live(found: &ExternType, size: Option<u64>, wanted: &ExternType) -> bool {
    match (found, wanted, size) {
        (ExternType::Table(found), ExternType::Table(wanted), Some(size)) => {
            found.is_64() == wanted.is_64()
                && RefType::eq(found.element(), wanted.element())
                && within((size, found.maximum()), (wanted.minimum(), wanted.maximum()))
        }
        (ExternType::Memory(found), ExternType::Memory(wanted), Some(size)) => {
            found.is_64() == wanted.is_64()
                && found.is_shared() == wanted.is_shared()
                && found.page_size() == wanted.page_size()
                && within((size, found.maximum()), (wanted.minimum(), wanted.maximum()))
        }
        _ => matches(found, wanted),
    }
}

/// A type in the syntax of the text format, of a live memory or table with the size it has now.
pub(crate) fn describe_live(ty: &ExternType, size: Option<u64>) -> String {
    match size {
        Some(size) => format!("{}, now of size {size}", describe(ty)),
        None => describe(ty),
    }
}

/// The texts of an import's type and of one that does not match it. Where they would be the same, it is
/// said how the types were declared.
pub(crate) fn tell_apart(
    (wanted, mut expected): (&ExternType, String),
    (found, mut is): (&ExternType, String),
) -> (String, String) {
    if expected != is {
        return (expected, is);
    }
    let declared = match (wanted, found) {
        (ExternType::Func(wanted), ExternType::Func(found)) => {
            [declaration(wanted), declaration(found)]
        }
        (ExternType::Tag(wanted), ExternType::Tag(found)) => {
            [declaration(wanted.ty()), declaration(found.ty())]
        }
        _ => [""; 2],
    };
    match declared {
        [wanted, found] if wanted != found => {
            expected.push_str(wanted);
            is.push_str(found);
        }
        _ => is.push_str(" declared with other types or in another recursion group"),
    }
    (expected, is)
}

/// How a function type was declared, besides its parameters and results.
fn declaration(ty: &FuncType) -> &'static str {
    match (ty.finality(), ty.supertype()) {
        (Finality::Final, None) => " that is final and has no supertype",
        (Finality::Final, Some(_)) => " that is final and has a supertype",
        (Finality::NonFinal, None) => " that is not final and has no supertype",
        (Finality::NonFinal, Some(_)) => " that is not final and has a supertype",
    }
}

/// A type for a description.
pub(crate) fn item(ty: &ExternType) -> Item {
    let types = |types: &mut dyn Iterator<Item = ValType>| {
        types.map(|ty| ValueType::from(&ty).to_string()).collect()
    };
    match ty {
        ExternType::Func(ty) => {
            Item::Function { params: types(&mut ty.params()), results: types(&mut ty.results()) }
        }
        ExternType::Global(ty) => Item::Global(global(ty)),
        ExternType::Table(ty) => Item::Table(table(ty)),
        ExternType::Memory(ty) => Item::Memory(memory(ty)),
        ExternType::Tag(ty) => Item::Tag(signature(ty.ty()).trim_start().to_owned()),
    }
}

/// A type in the syntax of the text format: `(func (param i32) (result i32))`.
pub(crate) fn describe(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => format!("(func{})", signature(ty)),
        ExternType::Global(ty) => format!("(global {})", global(ty)),
        ExternType::Table(ty) => format!("(table {})", table(ty)),
        ExternType::Memory(ty) => format!("(memory {})", memory(ty)),
        ExternType::Tag(ty) => format!("(tag{})", signature(ty.ty())),
    }
}

fn global(ty: &GlobalType) -> String {
    let content = ValueType::from(ty.content());
    match ty.mutability() {
        Mutability::Const => content.to_string(),
        Mutability::Var => format!("(mut {content})"),
    }
}

fn signature(ty: &FuncType) -> String {
    let mut text = String::new();
    for (keyword, types) in
        [("param", ty.params().collect::<Vec<_>>()), ("result", ty.results().collect::<Vec<_>>())]
    {
        if !types.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, " ({keyword}");
            for ty in &types {
                let _ = write!(text, " {}", ValueType::from(ty));
            }
            text.push(')');
        }
    }
    text
}

fn table(ty: &TableType) -> String {
    let element = ValueType::from(&ValType::Ref(ty.element().clone()));
    format!("{} {element}", limits(ty.is_64(), ty.minimum(), ty.maximum()))
}

fn memory(ty: &MemoryType) -> String {
    let mut text = limits(ty.is_64(), ty.minimum(), ty.maximum());
    if ty.is_shared() {
        text.push_str(" shared");
    }
    if ty.page_size() != 1 << 16 {
        let _ = write!(text, " (pagesize {})", ty.page_size());
    }
    text
}

fn limits(is_64: bool, minimum: u64, maximum: Option<u64>) -> String {
    let index = if is_64 { "i64 " } else { "" };
    let maximum = maximum.map(|maximum| format!(" {maximum}")).unwrap_or_default();
    format!("{index}{minimum}{maximum}")
}
