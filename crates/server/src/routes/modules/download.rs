//! A module's bytes and its text, with validators and ranges (RFC 9110, sections 13 and 14).

use std::ops::Range;

use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use wasm_exec::Digest;

use super::request::Segment;
use crate::app::App;
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::reply::{self, Handled, Reply};

const WASM: HeaderValue = HeaderValue::from_static("application/wasm");
const WAT: HeaderValue = HeaderValue::from_static("text/wat; charset=utf-8");

/// By digest, what is behind a URL cannot change.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Download a module's bytes
#[utoipa::path(
    get, path = "/v1/modules/{module}/wasm", tag = "modules",
    params(("module" = String, Path, description = "A name or a module digest")),
    responses(
        (status = 200, description = "The bytes; the ETag is the blob digest",
            body = Vec<u8>, content_type = "application/wasm"),
        (status = 206, description = "The range that was asked for",
            body = Vec<u8>, content_type = "application/wasm"),
        (status = 304, description = "`If-None-Match` has the blob digest"),
    ),
)]
pub(crate) async fn get_wasm(
    State(app): State<App>,
    caller: Caller,
    Segment(module): Segment,
    headers: HeaderMap,
) -> Handled {
    accepts(&headers, &["application/wasm"])?;
    let blob = caller.exec(&app).wasm(&module).await?;
    let tag = etag(blob.digest);
    if has_it_already(&headers, &tag) {
        return Ok(cached(reply::empty(StatusCode::NOT_MODIFIED), &module, &tag));
    }
    let mut reply = match range(&headers, blob.wasm.len(), &tag) {
        Some(range) => part(&blob.wasm, range),
        None => reply::content(WASM, blob.wasm),
    };
    reply.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(cached(reply, &module, &tag))
}

/// Print a module as text
#[utoipa::path(
    get, path = "/v1/modules/{module}/wat", tag = "modules",
    params(("module" = String, Path, description = "A name or a module digest")),
    responses(
        (status = 200, description = "The module in the text format",
            body = String, content_type = "text/wat"),
        (status = 304, description = "`If-None-Match` has the blob digest"),
    ),
)]
pub(crate) async fn get_wat(
    State(app): State<App>,
    caller: Caller,
    Segment(module): Segment,
    headers: HeaderMap,
) -> Handled {
    accepts(&headers, &["text/wat", "text/plain"])?;
    let exec = caller.exec(&app);
    let blob = exec.blob_digest(&module).await?;
    // Weak, since another version of the printer may print other text.
    let tag = format!("W/{}", etag(blob));
    let reply = match has_it_already(&headers, &tag) {
        true => reply::empty(StatusCode::NOT_MODIFIED),
        false => reply::content(WAT, exec.print(blob).await?),
    };
    Ok(cached(reply, &module, &tag))
}

fn etag(blob: Digest) -> String {
    format!("\"{blob}\"")
}

fn has_it_already(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|known| known == "*" || weak(known) == weak(tag))
    })
}

fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Says how long an answer may be kept.
fn cached(mut reply: Reply, module: &str, tag: &str) -> Reply {
    let headers = reply.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    let by_digest = module.starts_with("sha256:");
    let control = if by_digest { IMMUTABLE } else { REVALIDATE };
    headers.insert(header::CACHE_CONTROL, control);
    reply
}

fn part(wasm: &Bytes, range: Range<usize>) -> Reply {
    let place = format!("bytes {}-{}/{}", range.start, range.end - 1, wasm.len());
    let mut reply = reply::content(WASM, wasm.slice(range));
    *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
    if let Ok(place) = HeaderValue::from_str(&place) {
        reply.headers_mut().insert(header::CONTENT_RANGE, place);
    }
    reply
}

/// The one range of bytes that is asked for and exists. Whatever else is asked for gets the whole,
/// as the RFC allows.
fn range(headers: &HeaderMap, length: usize, tag: &str) -> Option<Range<usize>> {
    if headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes()) {
        return None;
    }
    let asked = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = asked.split_once('-')?;
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => length.saturating_sub(suffix.parse().ok()?)..length,
        (first, "") => first.parse().ok()?..length,
        (first, last) => {
            first.parse().ok()?..last.parse::<usize>().ok()?.saturating_add(1).min(length)
        }
    };
    (range.start < range.end).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (asked, expected) in [
            ("bytes=0-3", Some(0..4)),
            ("bytes=4-", Some(4..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-30", Some(0..10)),
            ("bytes=8-99999999999999999999", None),
            ("bytes=8-18446744073709551615", Some(8..10)),
            ("bytes=10-", None),
            ("bytes=5-4", None),
            ("bytes=-0", None),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
            ("bytes=", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(asked));
            assert_eq!(range(&headers, 10, "\"tag\""), expected, "{asked}");
            headers.insert(header::IF_RANGE, HeaderValue::from_static("\"other\""));
            assert_eq!(range(&headers, 10, "\"tag\""), None);
        }
    }
}
