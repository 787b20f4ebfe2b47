//! Who leads: the first replicas, made even by changing the order of replicas, which copies nothing.

use std::collections::{BTreeMap, VecDeque};

use super::layout::Layout;

/// Hands leaderships on, from the broker with the most by way of any others to one with at least two less.
pub fn even(layout: &mut Layout) {
    let mut leads = Leads::new(layout);
    while let Some(way) = leads.way(layout) {
        // From the end, so that nobody in between has more than it will have.
        for pair in way.windows(2).rev() {
            leads.hand_on(layout, pair[0], pair[1]);
        }
    }
}

struct Leads {
    /// Partitions led, by broker.
    count: Vec<usize>,
    by_topic: BTreeMap<(usize, usize), usize>,
    /// Partitions that the first broker leads and the second one could.
    could: BTreeMap<(usize, usize), Vec<usize>>,
}

impl Leads {
    fn new(layout: &Layout) -> Self {
        let mut leads = Self { count: vec![0; layout.on.len()], by_topic: BTreeMap::new(), could: BTreeMap::new() };
        for partition in 0..layout.partitions.len() {
            if let Some(first) = layout.first(partition) {
                leads.add(layout, partition, first);
            }
        }
        leads
    }

    fn add(&mut self, layout: &Layout, partition: usize, first: usize) {
        self.count[first] += 1;
        *self.by_topic.entry((layout.partitions[partition].topic, first)).or_default() += 1;
        for other in layout.partitions[partition].replicas.iter().filter(|o| **o != first && layout.is_open(**o)) {
            self.could.entry((first, *other)).or_default().push(partition);
        }
    }

    fn way(&self, layout: &Layout) -> Option<Vec<usize>> {
        let mut from = layout.open.clone();
        from.sort_by_key(|broker| std::cmp::Reverse(self.count[*broker]));
        from.into_iter().find_map(|broker| self.way_from(layout, broker))
    }

    /// The shortest way to a broker with the fewest leaderships that can be reached.
    fn way_from(&self, layout: &Layout, from: usize) -> Option<Vec<usize>> {
        let mut before: BTreeMap<usize, usize> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        let mut reached = Vec::new();
        while let Some(broker) = queue.pop_front() {
            for next in &layout.open {
                let leads_on = self.could.get(&(broker, *next)).is_some_and(|partitions| !partitions.is_empty());
                if *next != from && leads_on && !before.contains_key(next) {
                    before.insert(*next, broker);
                    queue.push_back(*next);
                    reached.push(*next);
                }
            }
        }
        let to = reached.into_iter().filter(|to| self.count[from] >= self.count[*to] + 2);
        let to = to.min_by_key(|broker| self.count[*broker])?;
        let mut way = vec![to];
        while let Some(previous) = way.last().and_then(|broker| before.get(broker)) {
            way.push(*previous);
        }
        way.reverse();
        Some(way)
    }

    /// One partition, of the topic that the giver leads the most of.
    fn hand_on(&mut self, layout: &mut Layout, from: usize, to: usize) {
        let of_topic = |topic: usize, broker: usize| self.by_topic.get(&(topic, broker)).copied().unwrap_or(0) as i64;
        let gain = |partition: &usize| {
            let topic = layout.partitions[*partition].topic;
            (of_topic(topic, from) - of_topic(topic, to), std::cmp::Reverse(*partition))
        };
        let candidates = self.could.get(&(from, to)).into_iter().flatten();
        let Some(partition) = candidates.copied().max_by_key(gain) else { return };
        for other in layout.partitions[partition].replicas.iter().filter(|other| **other != from) {
            if let Some(partitions) = self.could.get_mut(&(from, *other)) {
                partitions.retain(|p| *p != partition);
            }
        }
        self.count[from] -= 1;
        if let Some(count) = self.by_topic.get_mut(&(layout.partitions[partition].topic, from)) {
            *count -= 1;
        }
        layout.put_first(partition, to);
        self.add(layout, partition, to);
    }
}
