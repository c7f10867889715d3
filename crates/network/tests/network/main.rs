//! Networks of nodes in this process, which speak to each other over libp2p's memory transport.

mod losing;
mod names;
mod registering;
mod support;
