//! Nodes in this process, over the memory transport and over TCP and QUIC on loopback.

mod hostile;
mod meeting;
mod relayed;
mod support;
mod transfer;
