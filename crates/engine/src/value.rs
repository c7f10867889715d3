//! Values that cross the boundary between a caller and a guest, and their types.
//!
//! Floats are kept as bits, so that NaN payloads and the sign of zero survive every step. References
//! are opaque: the only one a caller can pass is null, and of one that comes out only its kind is told.

use std::fmt;

use wasmtime::{AsContextMut, HeapType, Ref, Val, ValType};

/// A value as a caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A 32-bit integer; WebAssembly gives it no sign, this is the signed reading.
    I32(i32),
    /// A 64-bit integer, in its signed reading.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A vector; lane 0 is in the least significant bits.
    V128(u128),
    /// The null reference, of whatever reference type the place has.
    Null,
    /// A reference that is not null. It comes out of guests and cannot be passed to one.
    Reference(ReferenceKind),
}

/// What a reference that is not null refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A function.
    Func,
    /// A GC struct.
    Struct,
    /// A GC array.
    Array,
    /// An unboxed 31-bit integer.
    I31,
    /// An exception.
    Exn,
    /// A host value.
    Extern,
    /// A host value that was turned into an `anyref`.
    Any,
}

impl ReferenceKind {
    /// The kind's name in the WebAssembly text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Func => "func",
            Self::Struct => "struct",
            Self::Array => "array",
            Self::I31 => "i31",
            Self::Exn => "exn",
            Self::Extern => "extern",
            Self::Any => "any",
        }
    }
}

/// The type of a parameter or of a result. `Display` writes it in the syntax of the text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `i32`
    I32,
    /// `i64`
    I64,
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// `v128`
    V128,
    /// A reference type, a type that a module defines itself being named by its kind.
    Reference {
        /// Whether null is one of its values.
        nullable: bool,
        /// The heap type, as the text format writes it: `func`, `extern`, `any`, …
        heap: &'static str,
    },
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::V128 => f.write_str("v128"),
            Self::Reference { nullable, heap } => write_reference(f, nullable, heap),
        }
    }
}

/// Writes a reference type, by its short form where the text format has one.
pub(crate) fn write_reference(
    f: &mut impl fmt::Write,
    nullable: bool,
    heap: impl fmt::Display,
) -> fmt::Result {
    if !nullable {
        return write!(f, "(ref {heap})");
    }
    let heap = heap.to_string();
    match heap.as_str() {
        "func" | "extern" | "any" | "eq" | "struct" | "array" | "i31" | "exn" => {
            write!(f, "{heap}ref")
        }
        "nofunc" => f.write_str("nullfuncref"),
        "noextern" => f.write_str("nullexternref"),
        "noexn" => f.write_str("nullexnref"),
        "none" => f.write_str("nullref"),
        _ => write!(f, "(ref null {heap})"),
    }
}

impl From<&ValType> for ValueType {
    fn from(ty: &ValType) -> Self {
        match ty {
            ValType::I32 => Self::I32,
            ValType::I64 => Self::I64,
            ValType::F32 => Self::F32,
            ValType::F64 => Self::F64,
            ValType::V128 => Self::V128,
            ValType::Ref(ty) => {
                Self::Reference { nullable: ty.is_nullable(), heap: heap_name(ty.heap_type()) }
            }
        }
    }
}

fn heap_name(heap: &HeapType) -> &'static str {
    match heap {
        HeapType::Extern => "extern",
        HeapType::NoExtern => "noextern",
        HeapType::Func | HeapType::ConcreteFunc(_) => "func",
        HeapType::NoFunc => "nofunc",
        HeapType::Any => "any",
        HeapType::Eq => "eq",
        HeapType::I31 => "i31",
        HeapType::Array | HeapType::ConcreteArray(_) => "array",
        HeapType::Struct | HeapType::ConcreteStruct(_) => "struct",
        HeapType::None => "none",
        HeapType::Cont | HeapType::ConcreteCont(_) => "cont",
        HeapType::NoCont => "nocont",
        HeapType::Exn | HeapType::ConcreteExn(_) => "exn",
        HeapType::NoExn => "noexn",
    }
}

/// A caller's value as Wasmtime takes it, or `None` if it is not one of `ty`.
pub(crate) fn to_wasmtime(value: Value, ty: &ValType) -> Option<Val> {
    match (value, ty) {
        (Value::I32(value), ValType::I32) => Some(Val::I32(value)),
        (Value::I64(value), ValType::I64) => Some(Val::I64(value)),
        (Value::F32(bits), ValType::F32) => Some(Val::F32(bits)),
        (Value::F64(bits), ValType::F64) => Some(Val::F64(bits)),
        (Value::V128(bits), ValType::V128) => Some(Val::V128(bits.into())),
        (Value::Null, ValType::Ref(ty)) if ty.is_nullable() => Some(Val::null_ref(ty.heap_type())),
        _ => None,
    }
}

/// A guest's value as a caller sees it.
///
/// # Errors
///
/// When a garbage-collected reference cannot be looked into any more.
pub(crate) fn from_wasmtime(value: &Val, mut store: impl AsContextMut) -> wasmtime::Result<Value> {
    Ok(match value {
        Val::I32(value) => Value::I32(*value),
        Val::I64(value) => Value::I64(*value),
        Val::F32(bits) => Value::F32(*bits),
        Val::F64(bits) => Value::F64(*bits),
        Val::V128(bits) => Value::V128(bits.as_u128()),
        Val::FuncRef(None)
        | Val::ExternRef(None)
        | Val::AnyRef(None)
        | Val::ExnRef(None)
        | Val::ContRef(None) => Value::Null,
        Val::FuncRef(Some(_)) | Val::ContRef(Some(_)) => Value::Reference(ReferenceKind::Func),
        Val::ExternRef(Some(_)) => Value::Reference(ReferenceKind::Extern),
        Val::ExnRef(Some(_)) => Value::Reference(ReferenceKind::Exn),
        Val::AnyRef(Some(reference)) => {
            let store = store.as_context_mut();
            Value::Reference(if reference.is_i31(&store)? {
                ReferenceKind::I31
            } else if reference.is_struct(&store)? {
                ReferenceKind::Struct
            } else if reference.is_array(&store)? {
                ReferenceKind::Array
            } else {
                ReferenceKind::Any
            })
        }
    })
}

/// The value that a result slot of type `ty` holds before the call.
pub(crate) fn placeholder(ty: &ValType) -> Val {
    match ty {
        ValType::Ref(ty) => Ref::null(ty.heap_type()).into(),
        // Wasmtime overwrites the slot whatever it holds.
        _ => Val::I32(0),
    }
}
