//! Views: which names somebody sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::Name;

/// Which names somebody sees: all, or all but those of private namespaces that are not theirs. Cheap
/// to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// `None` hides nothing.
    hiding: Option<Hiding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hiding {
    private: Arc<BTreeSet<String>>,
    own: Arc<BTreeSet<String>>,
}

impl View {
    /// The view of somebody for whom the namespaces of `private` do not exist, except those that are
    /// their `own` too.
    pub fn new(private: Arc<BTreeSet<String>>, own: Arc<BTreeSet<String>>) -> Self {
        let hiding = (!private.is_subset(&own)).then_some(Hiding { private, own });
        Self { hiding }
    }

    /// The view that hides nothing.
    pub const fn complete() -> Self {
        Self { hiding: None }
    }

    /// Whether nothing is hidden.
    pub fn is_complete(&self) -> bool {
        self.hiding.is_none()
    }

    /// Whether a name is seen. Its namespace alone decides.
    pub fn shows(&self, name: &Name) -> bool {
        !name.namespace().is_some_and(|namespace| self.hides(namespace))
    }

    /// Whether the names of a namespace are hidden.
    pub fn hides(&self, namespace: &str) -> bool {
        self.hiding.as_ref().is_some_and(|hiding| {
            hiding.private.contains(namespace) && !hiding.own.contains(namespace)
        })
    }

    /// Where a listing goes on that has come to the printed name `text`, if that is hidden: after
    /// all names of its namespace, which stand together.
    pub(crate) fn after_hidden(&self, text: &str) -> Option<String> {
        let (namespace, _) = text.split_once(':').filter(|(namespace, _)| self.hides(namespace))?;
        // The character after the colon is the semicolon.
        Some(format!("{namespace};"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Arc<BTreeSet<String>> {
        Arc::new(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn private_namespaces_are_hidden_from_those_whose_they_are_not() {
        let view = View::new(set(&["acme", "secret"]), set(&["acme", "other"]));
        for (name, shown) in [
            ("acme:utils", true),
            ("secret:utils@1.0.0", false),
            ("public:utils", true),
            ("secret", true),
            ("secrets:utils", true),
        ] {
            assert_eq!(view.shows(&name.parse().unwrap()), shown, "{name}");
        }
        assert!(!view.is_complete());
        assert!(View::new(set(&["acme"]), set(&["acme", "other"])).is_complete());
        assert!(View::new(set(&[]), set(&[])).is_complete());
    }

    #[test]
    fn a_listing_goes_on_after_the_whole_namespace() {
        let view = View::new(set(&["acme"]), set(&[]));
        let next = view.after_hidden("acme:utils").unwrap();
        assert!("acme:zzz" < next.as_str() && next.as_str() < "acme_:a");
        assert_eq!(view.after_hidden("acme"), None);
        assert_eq!(view.after_hidden("other:acme"), None);
    }
}
