//! How long requests may take.

use std::time::Duration;

use crate::protocol::Request;

/// How long an answer may take that needs no more than what the node has.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take for which content is fetched.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);

/// When libp2p gives up on a request, whatever it is: after everybody else has.
pub(super) const LONGEST_ANSWER: Duration = Duration::from_secs(65);

/// How long the answer to `request` may take.
pub(super) fn answer_timeout(request: &Request) -> Duration {
    match request {
        Request::Store(_) => STORE_TIMEOUT,
        Request::Announce(_)
        | Request::Find(_)
        | Request::Holds(_)
        | Request::Summary
        | Request::Pages(_) => ANSWER_TIMEOUT,
    }
}
