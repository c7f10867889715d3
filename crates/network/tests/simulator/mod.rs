//! Networks of nodes that run the real core code, in simulated time and from a seed.
//!
//! [`world`] passes messages between [`node`]s, with delay and loss, kills nodes, parts them, and has
//! some of them lie. [`lookup`] models a look-up in the distributed hash table over the routing
//! tables of an [`overlay`]. [`scenario`] puts them together to figures.
//!
//! What is modelled, and not the product's own code: Kademlia's routing tables and look-ups (which
//! are libp2p's), connections (that one is lost is noticed after 5 to 10 s, and it is made again
//! within 10 s of when it can be), how records are announced (whoever can be reached knows at once),
//! and signatures (a record is genuine if it is one that somebody registered).

pub(crate) mod lookup;
pub(crate) mod node;
pub(crate) mod overlay;
pub(crate) mod scenario;
pub(crate) mod world;
