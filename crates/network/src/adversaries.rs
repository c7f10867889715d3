//! Networks under attack: honest nodes, and others that say what they want.

mod audits;
mod comparing;
mod content;
mod crowds;
mod records;
mod restarts;
mod rooms;
mod selves;
mod silence;
mod support;
mod times;
mod walls;
