//! Values that cross the boundary of a session: those of calls, and host values by reference.

use std::sync::Arc;

use wasmtime::{AnyRef, AsContextMut, ExternRef, HeapType, RefType, Rooted, Val, ValType};

use crate::limiter::{HostRoom, NoRoom};
use crate::store::State;
use crate::value::{self, ReferenceKind, Value};

/// What a host value takes besides its text, in bytes: its object, its place in a table, its box.
const OVERHEAD: usize = 128;

/// A value as a caller of a session sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionValue {
    /// A value that any call can have.
    Plain(Value),
    /// A host value, which guests keep and pass on without looking into it. It comes back as the text
    /// that went in; two of the same text are two values.
    Extern(Arc<str>),
}

impl SessionValue {
    /// How many bytes of text it has: many results can be the same long one.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Extern(text) => text.len(),
        }
    }
}

/// A host value as a guest's reference leads to it. Its room is given back when it is collected.
struct HostValue {
    text: Arc<str>,
    _room: HostRoom,
}

/// Whether a host value can be given where `ty` is wanted: directly, or turned into an `anyref`.
pub(super) fn takes_extern(ty: &RefType) -> bool {
    matches!(ty.heap_type(), HeapType::Extern | HeapType::Any)
}

/// A caller's value as Wasmtime takes it, rooted in the scope of `store`; `None` if it is not one of
/// `ty`.
///
/// # Errors
///
/// When there is no room for a host value.
pub(super) async fn to_wasmtime(
    value: &SessionValue,
    ty: &ValType,
    mut store: impl AsContextMut<Data = State>,
) -> wasmtime::Result<Option<Val>> {
    let text = match (value, ty) {
        (SessionValue::Plain(value), ty) => return Ok(value::to_wasmtime(*value, ty)),
        (SessionValue::Extern(text), ValType::Ref(ty)) if takes_extern(ty) => text,
        (SessionValue::Extern(_), _) => return Ok(None),
    };
    let reference = new_extern(text, &mut store).await?;
    Ok(Some(match ty {
        ValType::Ref(ty) if matches!(ty.heap_type(), HeapType::Any) => {
            Val::AnyRef(Some(AnyRef::convert_extern(&mut store, reference)?))
        }
        _ => Val::ExternRef(Some(reference)),
    }))
}

async fn new_extern(
    text: &Arc<str>,
    mut store: impl AsContextMut<Data = State>,
) -> wasmtime::Result<Rooted<ExternRef>> {
    let mut store = store.as_context_mut();
    let bytes = text.len() + OVERHEAD;
    let room = match store.data_mut().limiter_mut().take_host(bytes) {
        Ok(room) => room,
        Err(_) => {
            // What no guest can reach any more may still have its room.
            store.gc_async(None).await?;
            let limiter = store.data_mut().limiter_mut();
            limiter.take_host(bytes).inspect_err(|error| {
                if error.is::<NoRoom>() {
                    limiter.refuse_host();
                }
            })?
        }
    };
    ExternRef::new_async(store, HostValue { text: Arc::clone(text), _room: room }).await
}

/// A guest's value as a caller sees it.
///
/// # Errors
///
/// When a garbage-collected reference cannot be looked into any more.
pub(super) fn from_wasmtime(
    value: &Val,
    mut store: impl AsContextMut<Data = State>,
) -> wasmtime::Result<SessionValue> {
    let plain = value::from_wasmtime(value, &mut store)?;
    let reference = match (plain, value) {
        (Value::Reference(ReferenceKind::Extern), Val::ExternRef(Some(reference))) => *reference,
        (Value::Reference(ReferenceKind::Any), Val::AnyRef(Some(reference))) => {
            ExternRef::convert_any(&mut store, *reference)?
        }
        _ => return Ok(SessionValue::Plain(plain)),
    };
    let data = reference.data(store.as_context())?;
    Ok(match data.and_then(|data| data.downcast_ref::<HostValue>()) {
        Some(host) => SessionValue::Extern(Arc::clone(&host.text)),
        // An object of the guest's own.
        None => SessionValue::Plain(plain),
    })
}
