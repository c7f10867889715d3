//! A connection that is as slow as a long way makes it: every byte comes later than it would, and no
//! byte waits for another.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use libp2p::futures::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

/// The most bytes that are on their way. What was sent after them is on its way once they have come.
const MAX_ON_THE_WAY: usize = 16 << 20;

/// How many bytes set out together at most.
const PACKET: usize = 16 << 10;

/// A connection on which what comes is read later than it came.
pub(super) struct Delayed<S> {
    connection: S,
    delay: Duration,
    /// What came, and when it may be read.
    on_the_way: VecDeque<(Instant, Bytes)>,
    bytes_on_the_way: usize,
    ended: bool,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + Unpin> Delayed<S> {
    /// Delays what comes.
    pub(super) fn new(connection: S, delay: Duration) -> Self {
        Self {
            connection,
            delay,
            on_the_way: VecDeque::new(),
            bytes_on_the_way: 0,
            ended: false,
            timer: Box::pin(sleep(delay)),
        }
    }

    /// Notes when what has come may be read.
    fn take_in(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut packet = [0; PACKET];
        while !self.ended && self.bytes_on_the_way < MAX_ON_THE_WAY {
            match Pin::new(&mut self.connection).poll_read(context, &mut packet) {
                Poll::Ready(read) => {
                    let read = read?;
                    self.ended = read == 0;
                    self.bytes_on_the_way += read;
                    let due = Instant::now() + self.delay;
                    self.on_the_way.push_back((due, Bytes::copy_from_slice(&packet[..read])));
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Delayed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.take_in(context)?;
        let Some((due, packet)) = this.on_the_way.front_mut() else {
            return if this.ended { Poll::Ready(Ok(0)) } else { Poll::Pending };
        };
        if *due > Instant::now() {
            this.timer.as_mut().reset(*due);
            ready!(this.timer.as_mut().poll(context));
        }
        let read = packet.len().min(buffer.len());
        packet.copy_to_slice(&mut buffer[..read]);
        if packet.is_empty() {
            this.on_the_way.pop_front();
        }
        this.bytes_on_the_way -= read;
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Delayed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_close(context)
    }
}
