//! Directed graphs with kinds of edges: strongly connected components, and short cycles through them.
//!
//! Nodes below `txns` are transactions; those above are bundles, which stand for "each of these", so that *n* edges do the work of *n²*:
//!
//! ```text
//!   reader ──rw──▶ bundle 0 ─▶ bundle 1 ─▶ bundle 2          every writer from the first on comes after the reader
//!                     │           │           │
//!                     ▼           ▼           ▼
//!                  writer 0    writer 1    writer 2
//! ```
//! A bundle may lead back to where it was entered (a reader that is itself one of the writers). That says nothing, and such ways are not taken for
//! cycles: a cycle has at least two transactions.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

/// Kinds of edges, as a mask.
pub(super) mod kind {
    pub const WW: u8 = 1;
    pub const WR: u8 = 2;
    pub const RW: u8 = 4;
    pub const RT: u8 = 8;
    /// rw that holds because of real time.
    pub const TIMED_RW: u8 = 16;
    /// Between bundles, and from them.
    pub const BUNDLE: u8 = 32;
}

/// Most edges looked at in search of a short cycle through one component.
const SEARCH_MAX: usize = 4_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub to: u32,
    pub kind: u8,
    /// What the edge means, for whoever made it.
    pub label: u32,
}

/// A graph being made.
pub(super) struct Builder {
    txns: u32,
    nodes: u32,
    edges: Vec<(u32, Edge)>,
}

impl Builder {
    pub fn new(txns: usize) -> Self {
        Builder { txns: txns as u32, nodes: txns as u32, edges: Vec::new() }
    }

    pub fn bundle(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    pub fn edge(&mut self, from: u32, to: u32, kind: u8, label: u32) {
        if from != to {
            self.edges.push((from, Edge { to, kind, label }));
        }
    }

    pub fn build(self) -> Graph {
        let mut starts = vec![0u32; self.nodes as usize + 1];
        for (from, _) in &self.edges {
            starts[*from as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut edges = vec![Edge { to: 0, kind: 0, label: 0 }; self.edges.len()];
        for (from, edge) in self.edges {
            let place = &mut next[from as usize];
            edges[*place as usize] = edge;
            *place += 1;
        }
        Graph { txns: self.txns, starts, edges }
    }
}

/// A graph.
pub(super) struct Graph {
    txns: u32,
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

/// The way around: each edge with where it comes from.
pub(super) type Cycle = Vec<(u32, Edge)>;

/// How cycles are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Any.
    Shortest,
    /// Exactly one edge of the kinds rw.
    OneRw,
}

impl Graph {
    fn out(&self, node: u32) -> &[Edge] {
        &self.edges[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }

    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// Components with at least two transactions, over edges of these kinds (bundles always), and each node's component.
    pub fn components(&self, mask: u8) -> (Vec<Vec<u32>>, Vec<u32>) {
        const UNSEEN: u32 = u32::MAX;
        let mask = mask | kind::BUNDLE;
        let n = self.starts.len() - 1;
        let (mut index, mut low, mut component) = (vec![UNSEEN; n], vec![0u32; n], vec![UNSEEN; n]);
        let (mut stack, mut calls, mut found) = (Vec::new(), Vec::<(u32, u32)>::new(), Vec::new());
        let (mut count, mut components) = (0, 0);
        for root in 0..n as u32 {
            if index[root as usize] != UNSEEN {
                continue;
            }
            calls.push((root, self.starts[root as usize]));
            while let Some((node, at)) = calls.pop() {
                let v = node as usize;
                if index[v] == UNSEEN {
                    (index[v], low[v]) = (count, count);
                    count += 1;
                    stack.push(node);
                }
                if at < self.starts[v + 1] {
                    let edge = self.edges[at as usize];
                    let to = edge.to as usize;
                    if edge.kind & mask == 0 || component[to] != UNSEEN {
                        calls.push((node, at + 1));
                    } else if index[to] == UNSEEN {
                        // Comes again to the same edge, and then takes over what was found below.
                        calls.push((node, at));
                        calls.push((edge.to, self.starts[to]));
                    } else {
                        low[v] = low[v].min(low[to]).min(index[to]);
                        calls.push((node, at + 1));
                    }
                    continue;
                }
                if low[v] == index[v] {
                    let mut members = Vec::new();
                    while let Some(member) = stack.pop() {
                        component[member as usize] = components;
                        if member < self.txns {
                            members.push(member);
                        }
                        if member == node {
                            break;
                        }
                    }
                    components += 1;
                    if members.len() > 1 {
                        members.sort_unstable();
                        found.push(members);
                    }
                }
            }
        }
        found.sort();
        (found, component)
    }

    /// A cycle of few transactions through a component.
    pub fn cycle(&self, members: &[u32], component: &[u32], mask: u8, search: Search) -> Option<Cycle> {
        let mut best: Option<(usize, Cycle)> = None;
        let mut left = SEARCH_MAX;
        for start in members {
            if let Some((length, cycle)) = self.back_to(*start, component, mask | kind::BUNDLE, search, &mut left)
                && best.as_ref().is_none_or(|(shortest, _)| length < *shortest)
            {
                best = Some((length, cycle));
            }
            if left == 0 || best.as_ref().is_some_and(|(length, _)| *length == 2) {
                break;
            }
        }
        best.map(|(_, cycle)| cycle)
    }

    /// The way from a transaction back to itself with the fewest others, and how many transactions are on it.
    fn back_to(&self, start: u32, component: &[u32], mask: u8, search: Search, left: &mut usize) -> Option<(usize, Cycle)> {
        const RW: u8 = kind::RW | kind::TIMED_RW;
        // A state is a node, and whether another transaction was met on the way to it: a bundle alone does not make a cycle.
        let mut came: FxHashMap<(u32, bool), (u32, bool, Edge)> = FxHashMap::default();
        let mut queue = VecDeque::from([(start, false, 1usize)]);
        while let Some((node, met, length)) = queue.pop_front() {
            for edge in self.out(node) {
                let allowed = match search {
                    Search::Shortest => mask,
                    Search::OneRw if node == start => RW & mask,
                    Search::OneRw => mask & !RW,
                };
                if edge.kind & allowed == 0 || component[edge.to as usize] != component[start as usize] {
                    continue;
                }
                *left = left.saturating_sub(1);
                if edge.to == start {
                    if met {
                        return Some((length, self.way(start, (node, met), *edge, &came)));
                    }
                    continue;
                }
                let is_txn = edge.to < self.txns;
                let state = (edge.to, met || is_txn);
                if came.contains_key(&state) {
                    continue;
                }
                came.insert(state, (node, met, *edge));
                if is_txn {
                    queue.push_back((edge.to, true, length + 1));
                } else {
                    queue.push_front((edge.to, met, length));
                }
            }
            if *left == 0 {
                return None;
            }
        }
        None
    }

    fn way(&self, start: u32, mut at: (u32, bool), last: Edge, came: &FxHashMap<(u32, bool), (u32, bool, Edge)>) -> Cycle {
        let mut cycle = vec![(at.0, last)];
        while at.0 != start {
            let (node, met, edge) = came[&at];
            cycle.push((node, edge));
            at = (node, met);
        }
        cycle.reverse();
        cycle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_leads_back_is_no_cycle_and_a_way_through_another_is() {
        let mut builder = Builder::new(3);
        let bundle = builder.bundle();
        builder.edge(0, bundle, kind::RW, 0);
        builder.edge(bundle, 0, kind::BUNDLE, 0);
        builder.edge(bundle, 1, kind::BUNDLE, 0);
        builder.edge(0, 2, kind::WW, 0);
        assert!(builder.build().components(kind::RW).0.is_empty());
        let mut builder = Builder::new(3);
        let bundle = builder.bundle();
        builder.edge(0, bundle, kind::RW, 0);
        builder.edge(bundle, 0, kind::BUNDLE, 0);
        builder.edge(bundle, 1, kind::BUNDLE, 0);
        builder.edge(1, 0, kind::WR, 0);
        let graph = builder.build();
        assert!(graph.components(kind::RW).0.is_empty());
        let (components, of) = graph.components(kind::RW | kind::WR);
        assert_eq!(components, [vec![0, 1]]);
        let cycle = graph.cycle(&components[0], &of, kind::RW | kind::WR, Search::OneRw).unwrap();
        assert_eq!(cycle.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [0, bundle, 1]);
    }
}
