//! Which problems say of something that it is no module.

use crate::module::Source;
use crate::session::Problem;

/// Whether a problem is what a script expects of something that is malformed or invalid, for the
/// reason `message`.
pub(crate) fn is_refusal(problem: &Problem, source: &Source, message: &str) -> bool {
    match (problem.code.as_str(), source) {
        // A text can be refused for the module that it stands for.
        ("invalid-wasm", _) | ("invalid-wat", Source::Wat(_)) => true,
        // A body that claims to be text and is not is no request.
        ("invalid-request", Source::Wat(text)) => str::from_utf8(text).is_err(),
        // Invalid as things are, but not with a proposal that is switched off. Where a module is
        // valid, but larger than the server takes, the same code comes without an offset.
        ("unsupported-feature", _) => problem.offset.is_some(),
        // More than any number of locals is also more than the server's limit, which is looked at
        // first.
        ("compile-limit", _) => {
            message == "too many locals" && problem.limit.as_deref() == Some("locals")
        }
        _ => false,
    }
}
