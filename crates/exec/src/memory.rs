//! What a call does with memories: bytes in before its function, bytes out after it.

use base64::Engine as _;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use wasm_exec_engine::{Access, BytesParam, MemoryName, MemoryReads, Read, ReadOutcome, Write};

use crate::call::Rare;
use crate::error::Error;
use crate::exec::{Exec, internal};
use crate::source::BASE64;
use crate::values::{BytesText, PassedBytes};

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

/// Decodes what is to be put in.
#[cold]
pub(crate) fn prepare<'a>(
    exec: &'a Exec,
    memory: MemoryAccess<'a>,
    params: Vec<PassedBytes<'a>>,
    maximum_read: usize,
) -> Rare<'a, Result<Box<Access>, Error>> {
    let MemoryAccess { memory, writes, reads } = memory;
    let texts = params.iter().map(|param| param.text.len());
    let texts: usize = texts.chain(writes.iter().map(|write| write.text.len())).sum();
    Box::pin(async move {
        let (params, writes) = if texts <= LARGE {
            decode(params, writes)?
        } else {
            // What is decoded elsewhere has to be owned.
            let params = params.into_iter().map(PassedBytes::into_owned).collect();
            let writes = writes.into_iter().map(MemoryWrite::into_owned).collect();
            exec.blocking(move || decode(params, writes)).await??
        };
        let (memory, maximum_read) = (memory.unwrap_or_default(), maximum_read as u64);
        Ok(Box::new(Access { memory, params, writes, reads, maximum_read }))
    })
}

type Decoded = (Vec<BytesParam>, Vec<Write>);

fn decode(params: Vec<PassedBytes<'_>>, writes: Vec<MemoryWrite<'_>>) -> Result<Decoded, Error> {
    let params = params.into_iter().map(PassedBytes::decode).collect::<Result<_, _>>()?;
    let writes = writes.into_iter().enumerate();
    let writes = writes.map(|(index, write)| write.decode(index)).collect::<Result<_, _>>()?;
    Ok((params, writes))
}

/// How many bytes were read, or would have been if they were not too many.
pub(crate) fn read_bytes(memory: &MemoryReads) -> u64 {
    let length = |read: &ReadOutcome| match read {
        ReadOutcome::Bytes { bytes, .. } => bytes.len() as u64,
        ReadOutcome::OverLimit { length } => *length,
        ReadOutcome::OutOfRange | ReadOutcome::NoResult | ReadOutcome::NoMemory => 0,
    };
    memory.reads.iter().map(length).fold(0, u64::saturating_add)
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

impl From<&ReadOutcome> for ReadAnswer {
    fn from(read: &ReadOutcome) -> Self {
        let none = |error| Self::None { error };
        match read {
            ReadOutcome::Bytes { offset, bytes } => {
                Self::Bytes { offset: *offset, base64: BASE64.encode(bytes) }
            }
            ReadOutcome::OutOfRange => none("out-of-range"),
            ReadOutcome::NoResult => none("no-result"),
            ReadOutcome::NoMemory => none("no-memory"),
            ReadOutcome::OverLimit { .. } => none("output-limit"),
        }
    }
}

/// What was read, as JSON: `{"read":[{"offset":0,"base64":"aGk="}]}`.
#[cold]
pub(crate) fn encode(
    exec: &Exec,
    memory: Box<MemoryReads>,
) -> Rare<'_, Result<Box<RawValue>, Error>> {
    let large = read_bytes(&memory) > LARGE as u64;
    let encode = move || {
        // All of it is moved here: what was read takes its room until it is written down.
        let memory = memory;
        let read = memory.reads.iter().map(ReadAnswer::from).collect();
        to_raw_value(&MemoryAnswer { read })
    };
    Box::pin(async move {
        if large { exec.blocking(encode).await? } else { encode() }.map_err(internal)
    })
}
