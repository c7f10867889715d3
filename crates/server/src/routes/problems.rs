//! `GET /problems` and `/problems/{code}`: what each code means.

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::modules::Segment;
use crate::negotiation::accepts;
use crate::problem::{Code, Problem};
use crate::reply::{self, Handled};

/// A code and what it means.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explanation {
    code: &'static str,
    status: u16,
    title: &'static str,
    description: &'static str,
}

/// All codes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explanations {
    problems: Vec<Explanation>,
}

impl From<Code> for Explanation {
    fn from(code: Code) -> Self {
        Self {
            code: code.as_str(),
            status: code.status().as_u16(),
            title: code.title(),
            description: code.explanation(),
        }
    }
}

/// What every code means
#[utoipa::path(
    get, path = "/problems", tag = "operations",
    responses((status = 200, description = "All codes", body = Explanations)),
)]
pub(crate) async fn list_problems(headers: HeaderMap) -> Handled {
    accepts(&headers, &["application/json"])?;
    let problems = Code::ALL.iter().copied().map(Explanation::from).collect();
    Ok(reply::json(StatusCode::OK, &Explanations { problems }))
}

/// What a code means
#[utoipa::path(
    get, path = "/problems/{code}", tag = "operations",
    params(("code" = String, Path, description = "A problem's `code`")),
    responses((status = 200, description = "Its meaning", body = Explanation)),
)]
pub(crate) async fn get_problem(Segment(code): Segment, headers: HeaderMap) -> Handled {
    accepts(&headers, &["application/json"])?;
    let code = Code::parse(&code).ok_or_else(|| {
        Problem::new(Code::NotFound, "there is no such code; GET /problems lists them")
    })?;
    Ok(reply::json(StatusCode::OK, &Explanation::from(code)))
}
