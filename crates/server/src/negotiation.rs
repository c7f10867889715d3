//! Which form of an answer a client takes (RFC 9110, section 12.5.1).

use http::{HeaderMap, header};

use crate::problem::{Code, Problem};

/// Whether `Accept` lets an answer of one of these types pass; `offered` are like `application/json`.
///
/// # Errors
///
/// `not-acceptable` when it excludes all of them. A header that cannot be read excludes nothing.
pub(crate) fn accepts(headers: &HeaderMap, offered: &[&str]) -> Result<(), Problem> {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .peekable();
    if ranges.peek().is_none() || ranges.any(|range| offered.iter().any(|ty| matches(range, ty))) {
        return Ok(());
    }
    let detail = format!("the answer is {}, which Accept excludes", offered.join(" or "));
    Err(Problem::new(Code::NotAcceptable, detail))
}

fn matches(range: &str, offered: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let ty = parts.next().unwrap_or_default().to_ascii_lowercase();
    let refused = parts.any(|part| {
        part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
    });
    let within = match ty.split_once('/') {
        Some(("*", "*")) => true,
        Some((ty, "*")) => offered.split('/').next() == Some(ty),
        _ => ty == offered,
    };
    within && !refused
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_accept_lets_pass() {
        for (accept, passes) in [
            ("*/*", true),
            ("application/*", true),
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/html, */*;q=0.8", true),
            ("text/html", false),
            ("application/json;q=0", false),
            ("", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            let passed = accepts(&headers, &["application/json"]).is_ok();
            assert_eq!(passed, passes, "{accept}");
        }
        assert!(accepts(&HeaderMap::new(), &["application/json"]).is_ok());
    }
}
