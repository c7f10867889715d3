//! What an engine and its compile workers say to each other, over the worker's stdin and stdout.
//!
//! The engine sends a [`Setup`]. The worker confines itself and sends a [`Hello`]. From then on the
//! engine sends a [`JobHeader`] and the Wasm after it, and the worker sends an [`AnswerHeader`] and
//! the answer's content after it, one at a time. All numbers are little-endian. What the worker
//! sends carries a BLAKE3 hash keyed with a secret from the setup; that of an answer also covers how
//! many came before, so that a torn, foreign or repeated answer is never taken for one.

use std::fmt;

use crate::config::Profile;

/// Changes with the frames, so that programs of different versions do not misread each other.
const VERSION: u32 = 0x7763_7701;

/// No module has more bytes: what a validator takes.
pub(super) const MAXIMUM_WASM: u64 = 1 << 30;

/// Messages in answers have at most so many bytes.
pub(super) const MAXIMUM_MESSAGE: usize = 16 << 10;

const HASH_BYTES: usize = 32;

/// A frame that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Bytes are missing.
    #[error("a frame is cut short")]
    Short,
    /// The other side is something else, or of another version.
    #[error("a frame of another program or version")]
    Version,
    /// A number that stands for nothing.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// What follows the frame would be more than there can be.
    #[error("a frame announces {length} bytes; at most {maximum} are possible")]
    Length {
        /// What it announces.
        length: u64,
        /// What is possible.
        maximum: u64,
    },
    /// It is not what the worker sent.
    #[error("a frame's hash does not match")]
    Hash,
}

/// The secret that a worker's hashes are keyed with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) [u8; HASH_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A new one.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut key = [0; HASH_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self(key))
    }
}

/// What a worker has to know before it confines itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) key: Key,
    /// The process id of the engine.
    pub(super) parent: u32,
    /// Threads for large modules.
    pub(super) threads: u32,
    /// As in the engine's configuration.
    pub(super) stack_bytes: u64,
    /// As in the engine's configuration.
    pub(super) memory_bytes: u64,
}

/// That a worker is confined and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// What confines it, as bits.
    pub(super) layers: u8,
    /// Of the engine that it compiles with.
    pub(super) compatibility: u64,
}

/// What comes before a module's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobHeader {
    pub(super) profile: Profile,
    /// Processor time it may take.
    pub(super) cpu_seconds: u64,
    /// How many bytes of Wasm follow.
    pub(super) length: u64,
}

/// What became of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its native code.
    Compiled(Vec<u8>),
    /// Why the compiler gave up.
    Refused(String),
    /// There was not enough memory.
    OutOfMemory,
    /// The compiler panicked, with this message.
    Panicked(String),
}

/// What comes before an answer's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AnswerHeader {
    kind: Kind,
    /// How many bytes follow.
    pub(super) length: usize,
    hash: blake3::Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Compiled = 1,
    Refused = 2,
    OutOfMemory = 3,
    Panicked = 4,
}

/// Takes the fields of a frame one by one.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    fn version(&mut self) -> Result<(), Malformed> {
        (self.take()? == VERSION.to_le_bytes()).then_some(()).ok_or(Malformed::Version)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn length(&mut self, maximum: u64) -> Result<u64, Malformed> {
        match self.u64()? {
            length if length > maximum => Err(Malformed::Length { length, maximum }),
            length => Ok(length),
        }
    }
}

impl Setup {
    pub(super) const BYTES: usize = 4 + HASH_BYTES + 4 + 4 + 8 + 8;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(Self::BYTES);
        frame.extend(VERSION.to_le_bytes());
        frame.extend(self.key.0);
        frame.extend(self.parent.to_le_bytes());
        frame.extend(self.threads.to_le_bytes());
        frame.extend(self.stack_bytes.to_le_bytes());
        frame.extend(self.memory_bytes.to_le_bytes());
        frame
    }

    pub(super) fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(frame);
        fields.version()?;
        Ok(Self {
            key: Key(fields.take()?),
            parent: fields.u32()?,
            threads: fields.u32()?,
            stack_bytes: fields.u64()?,
            memory_bytes: fields.u64()?,
        })
    }
}

impl Hello {
    pub(super) const BYTES: usize = 4 + 1 + 8 + HASH_BYTES;

    pub(super) fn encode(&self, key: &Key) -> Vec<u8> {
        let mut frame = Vec::with_capacity(Self::BYTES);
        frame.extend(VERSION.to_le_bytes());
        frame.push(self.layers);
        frame.extend(self.compatibility.to_le_bytes());
        let hash = blake3::keyed_hash(&key.0, &frame);
        frame.extend(hash.as_bytes());
        frame
    }

    pub(super) fn decode(frame: &[u8], key: &Key) -> Result<Self, Malformed> {
        let content = frame.len().checked_sub(HASH_BYTES).ok_or(Malformed::Short)?;
        let (content, hash) = frame.split_at(content);
        let mut fields = Fields(content);
        fields.version()?;
        let hello = Self { layers: fields.u8()?, compatibility: fields.u64()? };
        // Comparing hashes of this type takes constant time.
        let matches = blake3::keyed_hash(&key.0, content) == Fields(hash).take()?;
        matches.then_some(hello).ok_or(Malformed::Hash)
    }
}

impl JobHeader {
    pub(super) const BYTES: usize = 1 + 8 + 8;

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(Self::BYTES);
        frame.push(match self.profile {
            Profile::Fast | Profile::Session => 0,
            Profile::Metered => 1,
        });
        frame.extend(self.cpu_seconds.to_le_bytes());
        frame.extend(self.length.to_le_bytes());
        frame
    }

    pub(super) fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields(frame);
        let profile = match fields.u8()? {
            0 => Profile::Fast,
            1 => Profile::Metered,
            kind => return Err(Malformed::Kind(kind)),
        };
        Ok(Self { profile, cpu_seconds: fields.u64()?, length: fields.length(MAXIMUM_WASM)? })
    }
}

impl Answer {
    /// A message that is not too long, cut where a character ends.
    pub(super) fn message(mut text: String) -> String {
        text.truncate(text.floor_char_boundary(MAXIMUM_MESSAGE));
        text
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Compiled(_) => Kind::Compiled,
            Self::Refused(_) => Kind::Refused,
            Self::OutOfMemory => Kind::OutOfMemory,
            Self::Panicked(_) => Kind::Panicked,
        }
    }

    /// What follows the header.
    pub(super) fn content(&self) -> &[u8] {
        match self {
            Self::Compiled(code) => code,
            Self::Refused(message) | Self::Panicked(message) => message.as_bytes(),
            Self::OutOfMemory => &[],
        }
    }

    /// The header of this answer, before which the worker gave `number` others.
    pub(super) fn header(&self, key: &Key, number: u64) -> Vec<u8> {
        let content = self.content();
        let hash = hasher(key, number, self.kind()).update(content).finalize();
        let mut frame = Vec::with_capacity(AnswerHeader::BYTES);
        frame.push(self.kind() as u8);
        frame.extend((content.len() as u64).to_le_bytes());
        frame.extend(hash.as_bytes());
        frame
    }
}

impl AnswerHeader {
    pub(super) const BYTES: usize = 1 + 8 + HASH_BYTES;

    /// `maximum` is the most bytes that native code can have.
    pub(super) fn decode(frame: &[u8], maximum: u64) -> Result<Self, Malformed> {
        let mut fields = Fields(frame);
        let kind = match fields.u8()? {
            1 => Kind::Compiled,
            2 => Kind::Refused,
            3 => Kind::OutOfMemory,
            4 => Kind::Panicked,
            kind => return Err(Malformed::Kind(kind)),
        };
        let maximum = match kind {
            Kind::Compiled => maximum.min(isize::MAX as u64),
            Kind::Refused | Kind::Panicked => MAXIMUM_MESSAGE as u64,
            Kind::OutOfMemory => 0,
        };
        let length = fields.length(maximum)? as usize;
        Ok(Self { kind, length, hash: blake3::Hash::from_bytes(fields.take()?) })
    }

    /// What the content is to be put into, to be checked by [`answer`](Self::answer).
    pub(super) fn hasher(&self, key: &Key, number: u64) -> blake3::Hasher {
        hasher(key, number, self.kind)
    }

    /// The answer, if `hasher` saw what the worker sent.
    pub(super) fn answer(
        &self,
        hasher: &blake3::Hasher,
        content: Vec<u8>,
    ) -> Result<Answer, Malformed> {
        if hasher.finalize() != self.hash {
            return Err(Malformed::Hash);
        }
        let message = |content: Vec<u8>| String::from_utf8_lossy(&content).into_owned();
        Ok(match self.kind {
            Kind::Compiled => Answer::Compiled(content),
            Kind::Refused => Answer::Refused(message(content)),
            Kind::OutOfMemory => Answer::OutOfMemory,
            Kind::Panicked => Answer::Panicked(message(content)),
        })
    }
}

fn hasher(key: &Key, number: u64, kind: Kind) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(&number.to_le_bytes()).update(&[kind as u8]);
    hasher
}

// In full, since `fuzz/` reads this file from elsewhere.
#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;
