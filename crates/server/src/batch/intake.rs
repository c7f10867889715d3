//! Reading the lines of a batch.

use std::sync::Arc;

use axum::body::Body as StreamBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use super::Batch;
use super::delivery::Window;
use super::lines::Splitter;
use crate::body::{Decoder, discard};
use crate::problem::{Code, Problem};

/// Reads a body to its end, and has its lines run. What ends it early is the answer to the line that
/// was to come.
pub(super) async fn read(
    batch: &Arc<Batch>,
    mut decoder: Decoder,
    mut body: StreamBody,
    window: Window,
) {
    let mut lines = Splitter::new(&batch.app.bodies);
    let read = read_lines(batch, &mut decoder, &mut body, &window, &mut lines).await;
    let broken = read.is_err();
    let last = match read {
        Ok(()) => lines.finish(),
        Err(problem) => lines.give_up(problem),
    };
    if let Some(group) = last {
        window.run(batch, group).await;
    }
    drop((lines, window));
    if broken {
        // A client that is still sending is to read why this ends.
        let _ = timeout(batch.app.bodies.timeout(), discard(std::pin::pin!(body))).await;
    }
}

async fn read_lines(
    batch: &Arc<Batch>,
    decoder: &mut Decoder,
    body: &mut StreamBody,
    window: &Window,
    lines: &mut Splitter<'_>,
) -> Result<(), Problem> {
    let bodies = &batch.app.bodies;
    while let Some(mut chunk) = next(batch, body, window).await? {
        while let Some(data) = decoder.decode(&mut chunk, bodies)? {
            run_lines(batch, window, lines, &data).await;
            if decoder.decodes() {
                // A few bytes can decode to very many.
                tokio::task::yield_now().await;
            }
        }
    }
    run_lines(batch, window, lines, &decoder.finish(bodies)?).await;
    Ok(())
}

async fn run_lines(batch: &Arc<Batch>, window: &Window, lines: &mut Splitter<'_>, data: &[u8]) {
    lines.push(data);
    while let Some(group) = lines.take(batch.group_lines()) {
        window.run(batch, group).await;
    }
}

/// What comes next of a body; `None` at its end.
async fn next(
    batch: &Batch,
    body: &mut StreamBody,
    window: &Window,
) -> Result<Option<Bytes>, Problem> {
    let (app, limit) = (&batch.app, batch.app.bodies.timeout());
    // One who waits for answers, or takes them slowly, need not send meanwhile.
    let silence = async {
        window.until_all_delivered().await;
        sleep(limit).await;
    };
    let mut silence = std::pin::pin!(silence);
    loop {
        if app.is_shutting_down() {
            return Err(shutting_down());
        }
        tokio::select! {
            biased;
            frame = body.frame() => match frame {
                // Trailers say nothing here.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    let detail = format!("the body breaks off: {error}");
                    return Err(Problem::invalid_request(detail));
                }
                None => return Ok(None),
            },
            () = app.until_shutting_down() => return Err(shutting_down()),
            () = &mut silence => {
                let detail = format!("nothing came for {limit:?}");
                return Err(Problem::new(Code::RequestTimeout, detail));
            }
        }
    }
}

fn shutting_down() -> Problem {
    Problem::new(Code::ShuttingDown, "the server is shutting down")
}
