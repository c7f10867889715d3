//! What is to be done, while it is being decided.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;

use super::Action;
use super::flights::Flights;
use crate::Key;
use crate::protocol::MAX_KEYS;

/// Collects actions as far as the bounds allow. What does not fit is wanted again by the next look.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    now: Duration,
    flights: &'a mut Flights,
    asks: BTreeMap<PeerId, Vec<Key>>,
    stores: Vec<Action>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(now: Duration, flights: &'a mut Flights) -> Self {
        Self { now, flights, asks: BTreeMap::new(), stores: Vec::new() }
    }

    /// Asks `peer` whether it holds the record.
    pub(super) fn ask(&mut self, peer: PeerId, key: Key) {
        if self.flights.asks(&peer) {
            return;
        }
        let room = self.asks.len() < self.flights.asks_left();
        match self.asks.get_mut(&peer) {
            Some(keys) if keys.len() < MAX_KEYS => keys.push(key),
            None if room => drop(self.asks.insert(peer, vec![key])),
            _ => {}
        }
    }

    /// Hands the record to `peer`.
    pub(super) fn store(&mut self, peer: PeerId, key: Key) {
        if self.flights.store(self.now, peer, key) {
            self.stores.push(Action::Store { peer, key });
        }
    }

    pub(super) fn into_actions(self) -> Vec<Action> {
        let mut actions = self.stores;
        for (peer, keys) in self.asks {
            self.flights.ask(self.now, peer, keys.clone());
            actions.push(Action::AskHolds { peer, keys });
        }
        actions
    }
}
