//! Whether another node has this node's identity, as after a copy of a data directory.
//!
//! A node that dials one of its own addresses meets its own identity twice, as the one who dials
//! and as the one who is dialled. What is more than that is somebody else.

/// How often this node's identity was met.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// At an address that is this node's.
    dialled_ourself: u64,
    /// At an address that is not.
    dialled_another: u64,
    /// In whoever dialled this node.
    dialled_by: u64,
    /// `dialled_by` beyond `dialled_ourself`, one look ago. The two sides of one dial are not seen
    /// at the same moment.
    beyond: u64,
    logged: bool,
}

impl Twins {
    /// This node dialled an address and met its own identity.
    pub(super) fn dialled(&mut self, is_own_address: bool) {
        if is_own_address {
            self.dialled_ourself += 1;
        } else {
            self.dialled_another += 1;
        }
    }

    /// This node was dialled by its own identity.
    pub(super) fn was_dialled(&mut self) {
        self.dialled_by += 1;
    }

    /// How often somebody else was met for certain, from one look to the next. Logs the first.
    pub(super) fn look(&mut self) -> u64 {
        let beyond = self.dialled_by.saturating_sub(self.dialled_ourself);
        let certain = self.dialled_another + beyond.min(self.beyond);
        self.beyond = beyond;
        if certain > 0 && !self.logged {
            self.logged = true;
            tracing::error!(
                "another node has this node's identity: was the data directory copied? \
                 Give one of them an identity of its own"
            );
        }
        certain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialling_oneself_is_no_twin() {
        let mut twins = Twins::default();
        twins.was_dialled();
        assert_eq!(twins.look(), 0);
        twins.dialled(true);
        assert_eq!([twins.look(), twins.look()], [0, 0]);
    }

    #[test]
    fn others_are() {
        let mut twins = Twins::default();
        twins.was_dialled();
        assert_eq!([twins.look(), twins.look()], [0, 1]);
        twins.dialled(false);
        assert_eq!(twins.look(), 2);
    }
}
