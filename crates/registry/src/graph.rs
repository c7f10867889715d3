//! Graphs: the closure of a manifest, dependencies first.
//!
//! Each manifest is read once, whatever the number of paths to it, and both limits hold while
//! walking: a graph that is too large costs no more than one that is just large enough. The walk
//! keeps its own stack, so a chain of links cannot overflow the thread's.

use std::collections::{BTreeMap, HashMap, btree_map};
use std::iter::Peekable;

use crate::{Backend, Digest, GraphError, Manifest, RegistryError};

/// The closure of a manifest: each distinct module once, dependencies first, the root last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// In an order in which each module comes after all that it links to. Never empty.
    pub nodes: Vec<GraphNode>,
}

/// A module of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphNode {
    /// The module digest.
    pub digest: Digest,
    /// The digest of its blob.
    pub wasm: Digest,
    /// Import module → index of the node that satisfies it, which is before this one, in the byte
    /// order of the imports.
    pub links: Vec<(String, usize)>,
}

/// How large a graph may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphLimits {
    /// The most distinct modules, the root included.
    pub modules: usize,
    /// The most modules on any path; a module without links has depth 1.
    pub depth: usize,
}

impl Default for GraphLimits {
    /// 64 modules, 16 deep.
    fn default() -> Self {
        Self { modules: 64, depth: 16 }
    }
}

/// The graph of `manifest`, whose own digest is `root`.
pub(crate) async fn walk(
    backend: &dyn Backend,
    root: Digest,
    manifest: Manifest,
    limits: GraphLimits,
) -> Result<Graph, GraphError> {
    let mut walk = Walk::new(limits);
    walk.enter(root, manifest)?;
    while let Some((parent, missing)) = walk.advance()? {
        let manifest = load(backend, parent, missing).await?;
        walk.enter(missing, manifest)?;
    }
    Ok(Graph { nodes: walk.nodes })
}

/// Reads and verifies one manifest; `None` if it is not stored.
pub(crate) async fn read(
    backend: &dyn Backend,
    digest: Digest,
) -> Result<Option<Manifest>, RegistryError> {
    let manifest = backend.manifest(digest).await?;
    match manifest {
        Some(manifest) if manifest.digest() != digest => {
            Err(RegistryError::other_content(digest, backend))
        }
        manifest => Ok(manifest),
    }
}

/// Reads a manifest that `parent` links to. Where it is missing, somebody may have deleted the
/// whole graph since its root was read, so only a parent that is still there proves corruption.
async fn load(
    backend: &dyn Backend,
    parent: Digest,
    digest: Digest,
) -> Result<Manifest, RegistryError> {
    if let Some(manifest) = read(backend, digest).await? {
        return Ok(manifest);
    }
    Err(match read(backend, parent).await? {
        Some(_) => RegistryError::Corrupt {
            digest,
            detail: format!("it is missing, and {parent} links to it"),
        },
        None => RegistryError::UnknownDigest { digest, is_blob: false },
    })
}

/// A depth-first walk that never waits: it says which manifest it needs next.
struct Walk {
    limits: GraphLimits,
    nodes: Vec<GraphNode>,
    /// Digest → where it is in `nodes`, and its depth: the longest path down from it.
    done: HashMap<Digest, (usize, usize)>,
    /// The path from the root to where the walk is.
    path: Vec<Frame>,
}

/// A module whose links are being walked.
struct Frame {
    digest: Digest,
    wasm: Digest,
    remaining: Peekable<btree_map::IntoIter<String, Digest>>,
    links: Vec<(String, usize)>,
    depth: usize,
}

impl Frame {
    fn new(digest: Digest, wasm: Digest, links: BTreeMap<String, Digest>) -> Self {
        Self { digest, wasm, remaining: links.into_iter().peekable(), links: Vec::new(), depth: 1 }
    }
}

impl Walk {
    fn new(limits: GraphLimits) -> Self {
        Self { limits, nodes: Vec::new(), done: HashMap::new(), path: Vec::new() }
    }

    /// Goes down into a module that was not seen before.
    fn enter(&mut self, digest: Digest, manifest: Manifest) -> Result<(), GraphError> {
        self.room_for_path(self.path.len() + 1)?;
        if self.nodes.len() + self.path.len() >= self.limits.modules {
            return Err(GraphError::TooManyModules { maximum: self.limits.modules });
        }
        let frame = Frame::new(digest, manifest.wasm, manifest.links);
        self.path.push(frame);
        Ok(())
    }

    /// Walks on to the next module that has to be read, and gives it with the one that links to
    /// it. `None` at the end.
    fn advance(&mut self) -> Result<Option<(Digest, Digest)>, GraphError> {
        while let Some(frame) = self.path.last_mut() {
            let Some((_, target)) = frame.remaining.peek() else {
                self.leave();
                continue;
            };
            let Some(&(index, depth)) = self.done.get(target) else {
                return Ok(Some((frame.digest, *target)));
            };
            frame.depth = frame.depth.max(depth + 1);
            frame.links.extend(frame.remaining.next().map(|(import, _)| (import, index)));
            self.room_for_path(self.path.len() + depth)?;
        }
        Ok(None)
    }

    /// All of the last module's links are done, so it is.
    fn leave(&mut self) {
        if let Some(frame) = self.path.pop() {
            self.done.insert(frame.digest, (self.nodes.len(), frame.depth));
            self.nodes.push(GraphNode {
                digest: frame.digest,
                wasm: frame.wasm,
                links: frame.links,
            });
        }
    }

    fn room_for_path(&self, length: usize) -> Result<(), GraphError> {
        if length > self.limits.depth {
            return Err(GraphError::TooDeep { maximum: self.limits.depth });
        }
        Ok(())
    }
}
