//! Whom registrations are charged to.

use std::sync::Arc;

/// Whom registrations are charged to, and how much these may hold.
///
/// A registration holds its blob and its manifest, in bytes, whoever else holds the same content;
/// registering again what is registered holds nothing more. Deleting gives back to whom it was charged
/// to, whoever deletes: at once, or if the content stays because others link to it and nobody else is
/// charged for it, when it goes or is registered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    id: Arc<str>,
    maximum: Option<u64>,
}

impl Account {
    /// The account of this id, whose registrations may hold so many bytes; `None` is any number.
    pub fn new(id: impl Into<Arc<str>>, maximum: Option<u64>) -> Self {
        Self { id: id.into(), maximum }
    }

    /// What tells it from others.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many bytes its registrations may hold; `None` is any number.
    pub fn maximum(&self) -> Option<u64> {
        self.maximum
    }
}
