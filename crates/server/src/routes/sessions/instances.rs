//! `POST /v1/sessions/{id}/instances`.

use std::fmt;

use axum::extract::{Request, State};
use http::StatusCode;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use wasm_exec::{InstanceLink, InstanceModule, InstanceRequest};

use super::request::{Owned, Segments, has_ended, read};
use crate::app::App;
use crate::caller::Caller;
use crate::negotiation::accepts;
use crate::problem::Problem;
use crate::reply::{self, Handled};
use crate::routes::call::{Usage, failed};
use crate::routes::modules::Export;
use crate::routes::source::{LinkMap, Text, at_most_one};

/// An instance that is to be made: of a registered module (`module`) or of Wasm that is sent along
/// (one of `wasm_hex`, `wasm_base64` and `wat`).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInstance<'a> {
    /// What it will be called: a letter, a digit or `_`, then up to 63 of these, `.` and `-`.
    #[serde(borrow)]
    #[schema(value_type = String)]
    name: Text<'a>,
    /// A name or a module digest.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    module: Option<Text<'a>>,
    /// The Wasm as hex digits.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wasm_hex: Option<Text<'a>>,
    /// The Wasm as base64.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wasm_base64: Option<Text<'a>>,
    /// The Wasm in the text format.
    #[serde(borrow, default)]
    #[schema(value_type = Option<String>)]
    wat: Option<Text<'a>>,
    /// Import module → what satisfies it: an instance of the session, `{"instance":"M"}`, or the name
    /// or digest of a registered module, which gets an instance of its own. Imports without a link are
    /// satisfied by the session's instance of that name.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::HashMap<String, Link>>)]
    links: Option<LinkMap<Link>>,
}

/// What satisfies the imports of one import module.
#[derive(Debug, ToSchema)]
#[schema(as = InstanceLink)]
pub(crate) enum Link {
    /// An instance of the session.
    #[schema(title = "instance")]
    Instance(LinkedInstance),
    /// The name or digest of a registered module.
    #[schema(title = "module")]
    Module(String),
}

/// An instance of the session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkedInstance {
    /// Its name.
    instance: String,
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrObject;

        impl<'de> Visitor<'de> for TextOrObject {
            type Value = Link;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or digest of a module, or {\"instance\": NAME}")
            }

            fn visit_str<E: serde::de::Error>(self, module: &str) -> Result<Link, E> {
                Ok(Link::Module(module.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Link, A::Error> {
                LinkedInstance::deserialize(MapAccessDeserializer::new(map)).map(Link::Instance)
            }
        }

        deserializer.deserialize_any(TextOrObject)
    }
}

impl From<Link> for InstanceLink {
    fn from(link: Link) -> Self {
        match link {
            Link::Instance(LinkedInstance { instance }) => Self::Instance(instance),
            Link::Module(module) => Self::Module(module),
        }
    }
}

/// An instance that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Instance<'a> {
    name: &'a str,
    /// The digest of its module: of its Wasm and the registered modules that it links to.
    module: String,
    exports: Vec<Export>,
    usage: Option<Usage>,
}

/// Make an instance
#[utoipa::path(
    post, path = "/v1/sessions/{id}/instances", tag = "sessions",
    params(("id" = String, Path, description = "The session's id")),
    request_body = CreateInstance<'static>,
    responses((status = 201, description = "It is made, and its start function has run",
        body = Instance<'static>)),
)]
pub(crate) async fn create_instance(
    State(app): State<App>,
    caller: Caller,
    Segments([id]): Segments<1>,
    request: Request,
) -> Handled {
    let (head, body) = request.into_parts();
    accepts(&head.headers, &["application/json"])?;
    let body = app.read(&head.headers, body).await?;
    let request: CreateInstance<'_> = read(&head.headers, &body.bytes)?;
    let source = at_most_one(&request.wasm_hex, &request.wasm_base64, &request.wat)?;
    let module = match (&request.module, source) {
        (Some(module), None) => InstanceModule::Registered(&module.0),
        (None, Some(source)) => InstanceModule::Inline(app.decode(source).await?),
        (Some(_), Some(_)) | (None, None) => {
            let detail = "one of `module`, `wasm_hex`, `wasm_base64` and `wat` has to be given";
            return Err(Problem::invalid_request(detail));
        }
    };
    let links = request.links.map(|links| links.0).unwrap_or_default();
    let links = links.into_iter().map(|(import, link)| (import, link.into())).collect();
    let name = &*request.name.0;
    let owned = Owned::new(&caller, &id);
    let new = InstanceRequest { name, module, links, client: caller.client() };
    let meter = caller.begin_call();
    let made = caller.exec(&app).instantiate(owned.session(), new).await;
    match &made {
        // It may have run until then: the meter counts the time that has passed.
        Err(error) if has_ended(error) => drop(meter),
        Err(error) => meter.end(error.ran_for()),
        Ok(made) => meter.end(made.usage.map(|usage| usage.wall)),
    }
    let made = made?;
    match made.result {
        Ok(exports) => {
            let (module, exports) =
                (made.module.to_string(), exports.into_iter().map(Export::from).collect());
            let body = Instance { name, module, exports, usage: made.usage.map(Usage::from) };
            Ok(reply::json(StatusCode::CREATED, &body))
        }
        Err(failure) => Err(failed(failure, made.module, made.usage, None)),
    }
}
