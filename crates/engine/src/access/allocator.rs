//! The allocators that guests export by convention.

use wasmtime::{Func, Instance, Store, Val, ValType};

use crate::store::State;
use crate::value::ValueType;

/// An exported function that gives space, by a name and a signature that people agree on.
#[derive(Debug)]
pub(crate) struct Allocator {
    pub(crate) name: &'static str,
    /// What it is called with besides the number of bytes, which comes last.
    before: &'static [u32],
}

/// Those that are looked for, in this order.
pub(crate) static ALL: [Allocator; 3] = [
    // The canonical ABI's: the old address and size, which are none here, and the alignment.
    Allocator { name: "cabi_realloc", before: &[0, 0, 1] },
    Allocator { name: "malloc", before: &[] },
    Allocator { name: "alloc", before: &[] },
];

impl Allocator {
    /// Whether a function with these types is this allocator, where addresses are of type `address`.
    pub(crate) fn is(
        &self,
        params: &[ValueType],
        results: &[ValueType],
        address: ValueType,
    ) -> bool {
        params.len() == self.before.len() + 1
            && params.iter().all(|param| *param == address)
            && results == [address]
    }

    fn signature(&self, address: ValueType) -> String {
        let params = vec![address.to_string(); self.before.len() + 1].join(" ");
        format!("{} (func (param {params}) (result {address}))", self.name)
    }
}

/// What is looked for, for a person to read.
pub(super) fn signatures(address: ValueType) -> String {
    ALL.each_ref().map(|allocator| allocator.signature(address)).join(", ")
}

/// An allocator of an instance.
pub(super) struct Found {
    allocator: &'static Allocator,
    function: Func,
    /// A value of the type that addresses have.
    address: Val,
}

/// The first allocator that an instance exports for addresses of the type of `address`.
pub(super) fn find(store: &mut Store<State>, instance: Instance, address: &Val) -> Option<Found> {
    let ty = match address {
        Val::I32(_) => ValueType::I32,
        Val::I64(_) => ValueType::I64,
        _ => return None,
    };
    let types = |types: &mut dyn Iterator<Item = ValType>| -> Vec<ValueType> {
        types.map(|ty| ValueType::from(&ty)).collect()
    };
    ALL.iter().find_map(|allocator| {
        let function = instance.get_func(&mut *store, allocator.name)?;
        let signature = function.ty(&*store);
        let params = types(&mut signature.params());
        let results = types(&mut signature.results());
        let found = Found { allocator, function, address: *address };
        allocator.is(&params, &results, ty).then_some(found)
    })
}

impl Found {
    pub(super) fn name(&self) -> &'static str {
        self.allocator.name
    }

    /// Asks for so many bytes; gives the address, whatever it is.
    pub(super) async fn allocate(
        &self,
        store: &mut Store<State>,
        bytes: usize,
    ) -> wasmtime::Result<Val> {
        let before = self.allocator.before.iter().map(|value| u64::from(*value));
        let params = before.chain([bytes as u64]).map(|value| integer_like(&self.address, value));
        let params = params.collect::<wasmtime::Result<Vec<_>>>()?;
        let mut results = [self.address];
        self.function.call_async(&mut *store, &params, &mut results).await?;
        let [address] = results;
        Ok(address)
    }
}

/// A number as an integer of the type of `like`, without sign.
///
/// # Errors
///
/// When it has too many bits, which only an operator who accepts bodies of more than 4 GiB can meet.
pub(super) fn integer_like(like: &Val, value: u64) -> wasmtime::Result<Val> {
    Ok(match like {
        Val::I32(_) => Val::I32(u32::try_from(value)?.cast_signed()),
        _ => Val::I64(value.cast_signed()),
    })
}
