//! What a script refers to.

use std::collections::HashMap;

use wast::token::Id;

/// Things that are referred to by their identifiers, or as the last one.
#[derive(Debug)]
pub(crate) struct Scope<T> {
    last: Option<T>,
    named: HashMap<String, T>,
}

impl<T> Default for Scope<T> {
    fn default() -> Self {
        Self { last: None, named: HashMap::new() }
    }
}

impl<T: Clone> Scope<T> {
    /// # Errors
    ///
    /// When there is no such thing.
    pub(crate) fn get(&self, name: Option<Id<'_>>) -> Result<&T, String> {
        match name {
            Some(name) => self.named.get(name.name()).ok_or(name.name()),
            None => self.last.as_ref().ok_or("the last one"),
        }
        .map_err(|name| format!("{name} is not there: it could not be made"))
    }

    pub(crate) fn set(&mut self, name: Option<Id<'_>>, thing: T) {
        if let Some(name) = name {
            self.named.insert(name.name().to_owned(), thing.clone());
        }
        self.last = Some(thing);
    }

    /// Makes room for a thing that may fail to be made: what refers to it must not find the one
    /// before it.
    pub(crate) fn forget(&mut self, name: Option<Id<'_>>) {
        if let Some(name) = name {
            self.named.remove(name.name());
        }
        self.last = None;
    }
}
