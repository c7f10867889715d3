//! What a registry does, on every backend.

mod accounts;
mod corruption;
mod deleting;
mod durability;
mod graphs;
mod listing;
mod model;
mod names;
mod rows;
mod support;
mod views;
