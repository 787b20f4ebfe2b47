//! Who runs, who is stopped, and what has piled up before the door of a stopped one.

use std::collections::BTreeMap;

use crate::context::Event;
use crate::message::Node;

#[derive(Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<Node, State>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    paused: bool,
    /// Grows with every start.
    life: u64,
    backlog: Vec<Event>,
}

impl Nodes {
    /// Up and not paused.
    pub fn is_running(&self, node: Node) -> bool {
        self.nodes.get(&node).is_some_and(|state| state.running && !state.paused)
    }

    pub fn is_up(&self, node: Node) -> bool {
        self.nodes.get(&node).is_some_and(|state| state.running)
    }

    pub fn is_paused(&self, node: Node) -> bool {
        self.nodes.get(&node).is_some_and(|state| state.paused)
    }

    pub fn start(&mut self, node: Node) -> u64 {
        let state = self.nodes.entry(node).or_default();
        state.running = true;
        state.paused = false;
        state.life += 1;
        state.backlog.clear();
        state.life
    }

    pub fn stop(&mut self, node: Node) {
        let state = self.nodes.entry(node).or_default();
        state.running = false;
        state.paused = false;
        state.backlog.clear();
    }

    pub fn pause(&mut self, node: Node) {
        if let Some(state) = self.nodes.get_mut(&node) {
            state.paused = state.running;
        }
    }

    /// Wakes a node; what had come meanwhile is now read.
    pub fn resume(&mut self, node: Node) -> Vec<Event> {
        let Some(state) = self.nodes.get_mut(&node) else { return Vec::new() };
        state.paused = false;
        std::mem::take(&mut state.backlog)
    }

    pub fn keep(&mut self, node: Node, event: Event) {
        if let Some(state) = self.nodes.get_mut(&node) {
            state.backlog.push(event);
        }
    }
}
