//! The asking side of one stream.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Fault;
use super::message::{Head, Request};

/// Why something did not come from a provider.
#[derive(Debug)]
pub(super) enum Failure {
    /// The provider does not have it.
    NotHere,
    /// The provider cannot be reached, was silent for too long, or went away.
    Lost(io::Error),
    /// The provider is not honest.
    Fault(Fault),
    /// It came, and could not be kept.
    Local(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Room for a part, as it is sent and without its proof. It is used for one part after the other:
/// making memory for each would take longer than all that is done with it.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// What was sent last.
    pub(super) sent: Vec<u8>,
    /// The bytes in it that were verified.
    pub(super) decoded: Vec<u8>,
}

/// A stream to a provider, on which nothing is under way.
#[derive(Debug)]
pub(super) struct Conversation<S> {
    stream: S,
    pub(super) room: Room,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// A new stream.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, room: Room::default() }
    }

    /// Asks, and takes the response into the room: the conversation, if it can go on. Bytes are taken
    /// only if there are as many as `lengths` allows, and while none comes for `stall` at most.
    pub(super) async fn ask(
        mut self,
        request: Request,
        lengths: RangeInclusive<usize>,
        stall: Duration,
    ) -> (Option<Self>, Result<(), Failure>) {
        match self.exchange(request, lengths, stall).await {
            Err(failure @ (Failure::Lost(_) | Failure::Fault(_))) => (None, Err(failure)),
            answer => (Some(self), answer),
        }
    }

    async fn exchange(
        &mut self,
        request: Request,
        lengths: RangeInclusive<usize>,
        stall: Duration,
    ) -> Result<(), Failure> {
        let sending = async {
            self.stream.write_all(&request.to_bytes()).await?;
            self.stream.flush().await
        };
        timeout(stall, sending).await.map_err(io::Error::from)??;
        let mut head = [0; Head::BYTES];
        fill(&mut self.stream, &mut head, stall).await?;
        let length = match Head::parse(head).ok_or(Failure::Fault(Fault::Malformed))? {
            Head::NotHere => return Err(Failure::NotHere),
            Head::Here { length } => length as usize,
        };
        if !lengths.contains(&length) {
            return Err(Failure::Fault(Fault::WrongLength));
        }
        self.room.sent.resize(length, 0);
        Ok(fill(&mut self.stream, &mut self.room.sent, stall).await?)
    }
}

/// Reads until `bytes` is full.
async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    mut bytes: &mut [u8],
    stall: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match timeout(stall, stream.read(bytes)).await?? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes = &mut bytes[read..],
        }
    }
    Ok(())
}
