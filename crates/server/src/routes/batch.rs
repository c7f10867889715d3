//! Calling a function many times in one request: `POST …/functions/{function}/batch`.

use axum::body::Body as StreamBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};

use super::call::BatchAnswer;
use crate::app::App;
use crate::batch::Batch;
use crate::body::{ContentType, Decoder, unsupported};
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::{Code, Problem};
use crate::serve::Exchange;

const JSON_LINES: &str = "application/x-ndjson";

/// Call a function of a registered module with each line of a body
///
/// A line is a `params` array or the body of a single call. Each is a call of its own, in a fresh
/// instance with limits of its own, and is answered by a line: what the single call answers, or its
/// problem, and `line`. Answers come in the order of the lines, while lines are still sent.
#[utoipa::path(
    post, path = "/v1/modules/{module}/functions/{function}/batch", tag = "calls",
    params(
        ("module" = String, Path, description = "A name or a module digest"),
        ("function" = String, Path, description = "An exported function"),
    ),
    request_body(
        content = String, content_type = "application/x-ndjson",
        description = "Lines of JSON: `params` arrays such as `[2]`, or bodies of single calls \
            (`CallFunctionRequest`)",
    ),
    responses((
        status = 200, content_type = "application/x-ndjson", body = BatchAnswer<'static>,
        description = "A line of JSON for each line: a `BatchAnswer`, or a `Problem` with `line`",
    )),
)]
pub(crate) async fn call_batch(
    State(app): State<App>,
    caller: Caller,
    exchange: Exchange,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: StreamBody,
) -> Result<Response<StreamBody>, Problem> {
    begin(app, caller, exchange, path, headers, body).await.map_err(Problem::with_outcome)
}

async fn begin(
    app: App,
    caller: Caller,
    exchange: Exchange,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: StreamBody,
) -> Result<Response<StreamBody>, Problem> {
    let Path((module, function)) =
        path.map_err(|rejection| Problem::invalid_request(rejection.body_text()))?;
    accepts(&headers, &[JSON_LINES])?;
    let ContentType::JsonLines = ContentType::of(&headers) else {
        return Err(unsupported(&headers, JSON_LINES));
    };
    let decoder = Decoder::of(&headers)?;
    let callee = caller.exec(&app).callee(&module, &function, caller.client()).await?;
    let body = if headers.contains_key(header::EXPECT) { begun(&app, body).await? } else { body };
    let answers = Batch::start(app, caller, callee, &exchange, (decoder, body));
    let mut response = Response::new(StreamBody::new(answers));
    let content_type = HeaderValue::from_static(JSON_LINES);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response)
}

/// Waits until a body begins to come: a client that asked whether it may send it takes an answer for
/// a no.
async fn begun(app: &App, body: StreamBody) -> Result<StreamBody, Problem> {
    let (limit, mut data) = (app.bodies.timeout(), body.into_data_stream());
    let first = tokio::time::timeout(limit, data.next()).await.map_err(|_| {
        Problem::new(Code::RequestTimeout, format!("nothing came of the body for {limit:?}"))
    })?;
    Ok(StreamBody::from_stream(stream::iter(first).chain(data)))
}
