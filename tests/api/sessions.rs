//! Sessions: `/v1/sessions` and below.

mod instances;
mod support;

use serde_json::json;

use crate::support::response::Response;
use crate::support::server::Server;
use support::{COUNTER, Session};

pub(crate) async fn calling_an_instance_that_is_not_there(server: &Server) -> Response {
    Session::new(server).await.call("nobody", "f", json!([])).await
}

pub(crate) async fn asking_for_what_is_not_exported(server: &Server) -> Response {
    let session = Session::new(server).await;
    session.instance("M", COUNTER).await.created();
    session.get("/instances/M/globals/nothing").await
}

pub(crate) async fn asking_for_a_session_that_has_ended(server: &Server) -> Response {
    let session = Session::new(server).await;
    session.delete().await.no_content();
    session.get("").await
}

pub(crate) async fn reading_past_the_end_of_a_memory(server: &Server) -> Response {
    let session = Session::new(server).await;
    session.instance("M", COUNTER).await.created();
    session.get("/instances/M/memories/memory?offset=65535&length=2").await
}
