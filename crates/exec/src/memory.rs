//! What a call does with memories: bytes in before its function, bytes out after it.

use std::sync::Arc;

use base64::Engine as _;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::OwnedSemaphorePermit;
use wasm_exec_engine::{Access, BytesParam, MemoryName, Read, ReadOutcome, Write};

use crate::error::Error;
use crate::exec::{Exec, blocking, internal};
use crate::source::BASE64;
use crate::values::{BytesText, PassedBytes};

/// What all calls together may take out of memories at once, in bytes.
pub(crate) const READ_BYTES: usize = 256 << 20;

/// The unit that this is counted in, in bytes. Less is not counted.
pub(crate) const READ_UNIT: usize = 64 << 10;

/// Bytes and texts of more bytes than this are converted off the threads that serve requests.
const LARGE: usize = 1 << 20;

/// What a call does with memories.
#[derive(Clone, Debug, Default)]
pub struct MemoryAccess<'a> {
    /// The memory of parameters, and of writes and reads that name none; `None` is the export `memory`.
    pub memory: Option<MemoryName>,
    /// What is put in before the function is called: all of it or nothing.
    pub writes: Vec<MemoryWrite<'a>>,
    /// What is taken out afterwards, whether the function returned or not.
    pub reads: Vec<Read>,
}

/// Bytes to put into a memory.
#[derive(Clone, Debug)]
pub struct MemoryWrite<'a> {
    /// Which memory, if not the access's.
    pub memory: Option<MemoryName>,
    /// Where, in bytes.
    pub offset: u64,
    /// What.
    pub text: BytesText<'a>,
}

/// An access that is ready to be made.
pub(crate) struct Prepared {
    pub(crate) access: Box<Access>,
    /// Held until what was read is written as JSON.
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

impl MemoryWrite<'_> {
    fn into_owned(self) -> MemoryWrite<'static> {
        let Self { memory, offset, text } = self;
        MemoryWrite { memory, offset, text: text.into_owned() }
    }

    fn decode(self, index: usize) -> Result<Write, Error> {
        let Self { memory, offset, text } = self;
        match text.decode() {
            Ok(bytes) => Ok(Write { memory, offset, bytes }),
            Err(error) => Err(Error::Base64 { write: index, error }),
        }
    }
}

impl Exec {
    /// Decodes what is to be put in, and takes room for what is to be taken out.
    pub(crate) async fn prepare(
        &self,
        memory: MemoryAccess<'_>,
        params: Vec<PassedBytes<'_>>,
        maximum_read: usize,
    ) -> Result<Prepared, Error> {
        let MemoryAccess { memory, writes, reads } = memory;
        let texts = params.iter().map(|param| param.text.len());
        let texts: usize = texts.chain(writes.iter().map(|write| write.text.len())).sum();
        let (params, writes) = if texts <= LARGE {
            decode(params, writes)?
        } else {
            // What is decoded elsewhere has to be owned.
            let params = params.into_iter().map(PassedBytes::into_owned).collect();
            let writes = writes.into_iter().map(MemoryWrite::into_owned).collect();
            blocking(move || decode(params, writes)).await??
        };
        let access = Access {
            memory: memory.unwrap_or_default(),
            params,
            writes,
            reads,
            maximum_read: maximum_read as u64,
        };
        let room = self.read_room(access.most_read())?;
        Ok(Prepared { access: Box::new(access), _room: room })
    }

    /// Takes room for what a call may take out of memories.
    fn read_room(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX) / READ_UNIT;
        if units == 0 {
            return Ok(None);
        }
        // A single call always fits, also where the operator allows it more than this.
        let units = u32::try_from(units.min(READ_BYTES / READ_UNIT)).unwrap_or(u32::MAX);
        let room = Arc::clone(self.memory_reads()).try_acquire_many_owned(units);
        room.map(Some).map_err(|_| Error::Overloaded)
    }
}

type Decoded = (Vec<BytesParam>, Vec<Write>);

fn decode(params: Vec<PassedBytes<'_>>, writes: Vec<MemoryWrite<'_>>) -> Result<Decoded, Error> {
    let params = params.into_iter().map(PassedBytes::decode).collect::<Result<_, _>>()?;
    let writes = writes.into_iter().enumerate();
    let writes = writes.map(|(index, write)| write.decode(index)).collect::<Result<_, _>>()?;
    Ok((params, writes))
}

/// How many bytes were read, or would have been if they were not too many.
pub(crate) fn read_bytes(memory: &[ReadOutcome]) -> u64 {
    let length = |read: &ReadOutcome| match read {
        ReadOutcome::Bytes { bytes, .. } => bytes.len() as u64,
        ReadOutcome::OverLimit { length } => *length,
        ReadOutcome::OutOfRange | ReadOutcome::NoResult | ReadOutcome::NoMemory => 0,
    };
    memory.iter().map(length).fold(0, u64::saturating_add)
}

/// What was read, as an answer has it.
#[derive(Serialize)]
struct MemoryAnswer {
    read: Vec<ReadAnswer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ReadAnswer {
    Bytes { offset: u64, base64: String },
    None { error: &'static str },
}

impl From<ReadOutcome> for ReadAnswer {
    fn from(read: ReadOutcome) -> Self {
        let none = |error| Self::None { error };
        match read {
            ReadOutcome::Bytes { offset, bytes } => {
                Self::Bytes { offset, base64: BASE64.encode(bytes) }
            }
            ReadOutcome::OutOfRange => none("out-of-range"),
            ReadOutcome::NoResult => none("no-result"),
            ReadOutcome::NoMemory => none("no-memory"),
            ReadOutcome::OverLimit { .. } => none("output-limit"),
        }
    }
}

/// What was read, as JSON: `{"read":[{"offset":0,"base64":"aGk="}]}`.
pub(crate) async fn encode(memory: Box<[ReadOutcome]>) -> Result<Box<RawValue>, Error> {
    let large = read_bytes(&memory) > LARGE as u64;
    let encode = move || {
        let read = memory.into_iter().map(ReadAnswer::from).collect();
        to_raw_value(&MemoryAnswer { read })
    };
    if large { blocking(encode).await? } else { encode() }.map_err(internal)
}
