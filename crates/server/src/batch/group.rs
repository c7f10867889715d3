//! Running a group: its lines one after the other, on one task.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use wasm_exec::{Answer, Turn};

use super::delivery::Piece;
use super::lines::{Group, Lines};
use super::{Batch, GROUP_TIME, MAXIMUM_DELAY, PIECE_BYTES};
use crate::answer::SMALL;
use crate::keys;
use crate::problem::Problem;
use crate::routes::call::{CallFunctionRequest, failed, write_line};

/// Answers each line of a group.
pub(super) async fn run(batch: Arc<Batch>, group: Group, answers: mpsc::Sender<Piece>) {
    let mut output = Output::new(&batch, answers);
    match group.lines {
        Lines::Text(text) => {
            run_lines(&batch, group.first, &text, &mut output).await;
        }
        Lines::Long(text, _room) => {
            run_lines(&batch, group.first, &text, &mut output).await;
        }
        Lines::Refused(problem) => output.answer(group.first, Err(*problem)),
    }
    output.send(&mut None).await;
    output.count();
}

async fn run_lines(batch: &Batch, first: u64, text: &[u8], output: &mut Output<'_>) {
    let mut stint = None;
    let (mut lines, mut took) = (0, Duration::ZERO);
    for (number, line) in (first..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let answer = run_line(batch, &mut stint, line, output).await;
        let used = answer.as_ref().ok().and_then(|answer| answer.usage);
        let used = used.map_or(Duration::ZERO, |usage| usage.wall);
        output.answer(number, answer);
        (lines, took) = (lines + 1, took + used);
        if output.text.len() >= PIECE_BYTES {
            output.send(&mut stint).await;
        }
        if stint.as_mut().is_some_and(|stint: &mut Stint| stint.is_over(used)) {
            stint = None;
            tokio::task::yield_now().await;
        }
    }
    batch.learn(lines, took);
}

/// A time in which a group runs its lines without letting others go first: it ends before anything is
/// waited for that others do not bound.
#[derive(Debug)]
struct Stint {
    turn: Turn,
    took: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

impl Stint {
    /// Rare, since a stint is of many lines: kept out of a line's future, which is moved.
    #[cold]
    fn begin(batch: &Batch) -> BoxFuture<'_, Self> {
        Box::pin(async move {
            // It is never closed.
            let place = Arc::clone(&batch.places).acquire_owned().await.ok();
            Self {
                turn: Turn::of_client(batch.caller.client()),
                took: Duration::ZERO,
                _place: place,
            }
        })
    }

    /// Counts the time that a line took.
    fn is_over(&mut self, took: Duration) -> bool {
        self.took += took;
        self.took >= GROUP_TIME
    }
}

async fn run_line(
    batch: &Batch,
    stint: &mut Option<Stint>,
    line: &[u8],
    output: &mut Output<'_>,
) -> Result<Answer, Problem> {
    batch.caller.check()?;
    if let Err(delay) = batch.caller.take_token() {
        wait(batch, stint, output, delay).await?;
    }
    batch.caller.count_call()?;
    let request = CallFunctionRequest::of_line(line)?;
    let turn = match stint {
        Some(stint) => &mut stint.turn,
        None => &mut stint.insert(Stint::begin(batch).await).turn,
    };
    let meter = batch.caller.begin_call();
    let (params, memory, limits) = request.parts()?;
    let mut calling = pin!(batch.callee.call(turn, params, memory, &limits));
    let answer = match poll_once(calling.as_mut()).await {
        Some(answer) => answer,
        None => {
            // It takes long, and what was answered before need not wait for it.
            output.try_send();
            calling.await
        }
    };
    meter.end(match &answer {
        Ok(answer) => answer.usage.map(|usage| usage.wall),
        Err(error) => error.ran_for(),
    });
    Ok(answer?)
}

/// Waits for a token of the rate of a line's caller, of which there was none; there is one `delay` later.
#[cold]
fn wait<'a>(
    batch: &'a Batch,
    stint: &'a mut Option<Stint>,
    output: &'a mut Output<'_>,
    mut delay: Duration,
) -> BoxFuture<'a, Result<(), Problem>> {
    Box::pin(async move {
        loop {
            if delay > MAXIMUM_DELAY {
                return Err(keys::rate_limited(delay));
            }
            *stint = None;
            output.try_send();
            sleep(delay).await;
            batch.caller.check()?;
            match batch.caller.take_token() {
                Ok(()) => return Ok(()),
                Err(longer) => delay = longer,
            }
        }
    })
}

/// What a group answers, on its way.
#[derive(Debug)]
struct Output<'a> {
    batch: &'a Batch,
    text: Vec<u8>,
    /// For answers that are large.
    room: Option<OwnedSemaphorePermit>,
    answers: mpsc::Sender<Piece>,
    /// How many calls gave results.
    succeeded: u64,
}

impl<'a> Output<'a> {
    fn new(batch: &'a Batch, answers: mpsc::Sender<Piece>) -> Self {
        Self { batch, text: Vec::new(), room: None, answers, succeeded: 0 }
    }

    /// Appends the answer to a line.
    fn answer(&mut self, line: u64, answer: Result<Answer, Problem>) {
        let start = self.text.len();
        let written = answer.and_then(|answer| match answer.result {
            Ok(results) => {
                let module = &self.batch.module;
                let rest = (answer.memory, answer.usage);
                write_line(&results, rest, module, line, &mut self.text)
            }
            Err(failure) => Err(failed(failure, answer.module, answer.usage, answer.memory)),
        });
        let kept = written.and_then(|()| self.keep(start));
        match kept {
            Ok(()) => self.succeeded += 1,
            Err(problem) => self.refuse(line, problem, start),
        }
    }

    /// Takes room for what was written from `start` on, if it is large.
    fn keep(&mut self, start: usize) -> Result<(), Problem> {
        let size = (self.text.len() - start) as u64;
        if size <= SMALL {
            return Ok(());
        }
        let room = self.batch.app.answers.room(size)?;
        match &mut self.room {
            Some(all) => all.merge(room),
            None => self.room = Some(room),
        }
        Ok(())
    }

    /// Writes a problem in place of what is there from `start` on. It can be large as well: it has what
    /// was read from memories, too.
    fn refuse(&mut self, line: u64, problem: Problem, start: usize) {
        let mut outcome = problem.code.as_str();
        self.text.truncate(start);
        let mut cause = problem.write_line(line, &mut self.text);
        if let Err(full) = self.keep(start) {
            outcome = full.code.as_str();
            self.text.truncate(start);
            cause = full.write_line(line, &mut self.text);
        }
        self.batch.app.metrics.answered_lines(outcome, 1);
        if let Some(cause) = cause {
            let request_id = self.batch.request_id.to_str().unwrap_or_default();
            tracing::warn!(line, outcome, request_id, cause, "a line of a batch failed");
        }
    }

    /// Sends what there is, if it can be taken at once.
    fn try_send(&mut self) {
        if !self.text.is_empty()
            && let Ok(place) = self.answers.clone().try_reserve_owned()
        {
            place.send(self.take());
        }
    }

    /// Sends what there is. Whoever has to wait for that lets others run meanwhile.
    async fn send(&mut self, stint: &mut Option<Stint>) {
        self.try_send();
        if !self.text.is_empty() {
            *stint = None;
            let piece = self.take();
            // If nobody takes it, the batch ends.
            let _ = self.answers.send(piece).await;
        }
    }

    fn take(&mut self) -> Piece {
        Piece { bytes: std::mem::take(&mut self.text).into(), room: self.room.take() }
    }

    fn count(&self) {
        if self.succeeded > 0 {
            self.batch.app.metrics.answered_lines("ok", self.succeeded);
        }
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
