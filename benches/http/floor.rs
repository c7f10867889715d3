//! The floor: a bare axum server that reads and answers the same JSON and runs no WebAssembly.

use std::io::Write;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use axum::routing::{post, put};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute<'a> {
    module_name: &'a str,
    function_name: &'a str,
    #[serde(borrow, default)]
    params: Vec<&'a RawValue>,
}

#[derive(Serialize)]
enum Tagged {
    I32(i32),
}

async fn execute(body: Bytes) -> impl IntoResponse {
    let Ok(request) = serde_json::from_slice::<Execute<'_>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let known = !request.module_name.is_empty() && !request.function_name.is_empty();
    let param = request.params.first().and_then(|param| param.get().parse::<i32>().ok());
    match (known, param) {
        (true, Some(param)) => {
            let results = serde_json::to_vec(&[Tagged::I32(param.wrapping_mul(2))]);
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (headers, results.expect("numbers serialize")).into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// How many bytes `/bytes` gives; it takes any.
const BYTES: usize = 64 << 20;

/// Takes a body whole.
async fn put_bytes(_body: Bytes) -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Serves until it is killed, with the runtime that the server under test has.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        println!("listening on http://{address}");
        std::io::stdout().flush().expect("somebody reads");
        // Made once: the floor copies nothing that it could do without.
        let bytes = Bytes::from(vec![1; BYTES]);
        let transfer = put(put_bytes).get(move || std::future::ready(bytes.clone()));
        let transfer = transfer.layer(DefaultBodyLimit::disable());
        let router = Router::new().route("/execute", post(execute)).route("/bytes", transfer);
        axum::serve(listener, router).await.expect("it serves");
    });
}
