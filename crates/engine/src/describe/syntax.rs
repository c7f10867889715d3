//! Types in the syntax of the WebAssembly text format.

use wasmparser::{
    AbstractHeapType, GlobalType, HeapType, MemoryType, RefType, TableType, UnpackedIndex, ValType,
};

use crate::value::write_reference;

/// `i32`, `funcref`, `(ref null 3)`, …
pub(super) fn value_type(ty: &ValType) -> String {
    match ty {
        ValType::I32 => "i32".into(),
        ValType::I64 => "i64".into(),
        ValType::F32 => "f32".into(),
        ValType::F64 => "f64".into(),
        ValType::V128 => "v128".into(),
        ValType::Ref(ty) => reference_type(*ty),
    }
}

fn reference_type(ty: RefType) -> String {
    let heap = match ty.heap_type() {
        HeapType::Abstract { ty, .. } => abstract_heap_type(ty).to_owned(),
        HeapType::Concrete(index) | HeapType::Exact(index) => match index {
            UnpackedIndex::Module(index) | UnpackedIndex::RecGroup(index) => index.to_string(),
            UnpackedIndex::Id(_) => "_".into(),
        },
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_reference(&mut text, ty.is_nullable(), heap);
    text
}

fn abstract_heap_type(ty: AbstractHeapType) -> &'static str {
    match ty {
        AbstractHeapType::Func => "func",
        AbstractHeapType::Extern => "extern",
        AbstractHeapType::Any => "any",
        AbstractHeapType::None => "none",
        AbstractHeapType::NoExtern => "noextern",
        AbstractHeapType::NoFunc => "nofunc",
        AbstractHeapType::Eq => "eq",
        AbstractHeapType::Struct => "struct",
        AbstractHeapType::Array => "array",
        AbstractHeapType::I31 => "i31",
        AbstractHeapType::Exn => "exn",
        AbstractHeapType::NoExn => "noexn",
        AbstractHeapType::Cont => "cont",
        AbstractHeapType::NoCont => "nocont",
    }
}

/// `i64 1 16 (pagesize 1)`
pub(super) fn memory(ty: &MemoryType) -> String {
    let mut text = limits(ty.memory64, ty.initial, ty.maximum);
    if ty.shared {
        text.push_str(" shared");
    }
    if ty.page_size_log2.is_some() {
        text.push_str(&format!(" (pagesize {})", page_size(ty)));
    }
    text
}

/// The size of a memory's pages in bytes.
pub(super) fn page_size(ty: &MemoryType) -> u64 {
    1u64.checked_shl(ty.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX)
}

/// `10 20 funcref`
pub(super) fn table(ty: &TableType) -> String {
    format!("{} {}", limits(ty.table64, ty.initial, ty.maximum), reference_type(ty.element_type))
}

/// `(mut i32)`
pub(super) fn global(ty: &GlobalType) -> String {
    let content = value_type(&ty.content_type);
    if ty.mutable { format!("(mut {content})") } else { content }
}

/// `(param i32 i64)`, or nothing for an empty list.
pub(super) fn list(keyword: &str, types: &[String]) -> String {
    if types.is_empty() { String::new() } else { format!("({keyword} {})", types.join(" ")) }
}

fn limits(is_64: bool, minimum: u64, maximum: Option<u64>) -> String {
    let index = if is_64 { "i64 " } else { "" };
    match maximum {
        Some(maximum) => format!("{index}{minimum} {maximum}"),
        None => format!("{index}{minimum}"),
    }
}
