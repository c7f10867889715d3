//! Reading the lines of a batch.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as StreamBody;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use super::Batch;
use super::delivery::{Broken, Window};
use super::lines::{Group, Splitter};
use crate::body::{Decoder, discard};
use crate::problem::{Code, Problem};

/// How long a client that is still sending is listened to before it is told why its batch ends: its
/// connection breaks when it sends on after that, and what was answered may be lost with it.
const LINGER: Duration = Duration::from_millis(500);

/// About how many bytes are read while the lines before them cannot be run yet.
const AHEAD_BYTES: usize = 64 << 10;

/// Reads a body to its end, and has its lines run. What ends it early is the answer to the line that
/// was to come.
///
/// # Errors
///
/// When the client is gone.
pub(super) async fn read_all(
    batch: &Arc<Batch>,
    decoder: Decoder,
    body: StreamBody,
    window: Window,
) -> Result<(), Broken> {
    let lines = Splitter::new(&batch.app.bodies);
    let mut intake =
        Intake { batch, decoder, body, ahead: BytesMut::new(), ended: false, window, lines };
    let last = match intake.read_lines().await {
        Ok(()) => intake.lines.finish(),
        Err(Ended::Early(problem)) => {
            if problem.code != Code::RequestTimeout {
                let _ = timeout(LINGER, discard(pin!(&mut intake.body))).await;
            }
            intake.lines.give_up(problem)
        }
        Err(Ended::Broken(broken)) => return Err(broken),
    };
    match last {
        Some(group) => intake.run(group).await,
        None => Ok(()),
    }
}

/// Why a body is not read to its end.
enum Ended {
    Early(Problem),
    Broken(Broken),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Early(problem)
    }
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

struct Intake<'a> {
    batch: &'a Arc<Batch>,
    decoder: Decoder,
    body: StreamBody,
    /// What was read of the body while a group could not be run yet.
    ahead: BytesMut,
    ended: bool,
    window: Window,
    lines: Splitter<'a>,
}

impl Intake<'_> {
    async fn read_lines(&mut self) -> Result<(), Ended> {
        let bodies = &self.batch.app.bodies;
        while let Some(mut chunk) = self.next().await? {
            while let Some(data) = self.decoder.decode(&mut chunk, bodies)? {
                self.run_lines(&data).await?;
                if self.decoder.decodes() {
                    // A few bytes can decode to very many.
                    tokio::task::yield_now().await;
                }
            }
        }
        let rest = self.decoder.finish(bodies)?;
        Ok(self.run_lines(&rest).await?)
    }

    async fn run_lines(&mut self, data: &[u8]) -> Result<(), Broken> {
        self.lines.push(data);
        while let Some(group) = self.lines.take(self.batch.group_lines()) {
            self.run(group).await?;
        }
        Ok(())
    }

    /// Has a group run, and reads on for a little if that has to wait. Only whoever reads notices that a
    /// client is gone, and HTTP/2 closes connections on which many small pieces are not read.
    async fn run(&mut self, group: Group) -> Result<(), Broken> {
        let mut running = pin!(self.window.run(self.batch, group));
        loop {
            let reads = !self.ended && self.ahead.len() < AHEAD_BYTES;
            tokio::select! {
                biased;
                () = &mut running => return Ok(()),
                data = read(&mut self.body), if reads => match data? {
                    Some(data) => self.ahead.extend_from_slice(&data),
                    None => self.ended = true,
                },
            }
        }
    }

    /// What comes next of the body; `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Ended> {
        let (app, limit) = (&self.batch.app, self.batch.app.bodies.timeout());
        if app.is_shutting_down() {
            return Err(shutting_down().into());
        }
        self.batch.caller.check()?;
        if !self.ahead.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ahead).freeze()));
        }
        if self.ended {
            return Ok(None);
        }
        // One who waits for answers, or takes them slowly, need not send meanwhile.
        let silence = async {
            self.window.until_all_delivered().await;
            sleep(limit).await;
        };
        tokio::select! {
            biased;
            data = read(&mut self.body) => Ok(data?),
            () = app.until_shutting_down() => Err(shutting_down().into()),
            () = silence => {
                let detail = format!("nothing came for {limit:?}");
                Err(Problem::new(Code::RequestTimeout, detail).into())
            }
        }
    }
}

/// The next piece of a body; `None` at its end.
async fn read(body: &mut StreamBody) -> Result<Option<Bytes>, Broken> {
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        if let Ok(data) = frame.map_err(Broken::Gone)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn shutting_down() -> Problem {
    Problem::new(Code::ShuttingDown, "the server is shutting down")
}
