//! The server that the scripts run against, and requests to it.

#[path = "../support/connection.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
pub(crate) mod connection;
#[path = "../support/request.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
pub(crate) mod request;
#[path = "../support/response.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
pub(crate) mod response;
#[path = "../support/server.rs"]
#[expect(dead_code, reason = "the tests of the API use more of it")]
pub(crate) mod server;
