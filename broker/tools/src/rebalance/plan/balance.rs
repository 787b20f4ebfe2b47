//! The steps of a plan that move bytes: emptying brokers, then counts, topics and bytes, each as even as it gets.

use std::cmp::Reverse;

use super::layout::Layout;

/// Everything leaves the drained brokers: the largest first, as it is the hardest to place.
pub fn drain(layout: &mut Layout) {
    let mut leaving: Vec<(Reverse<u64>, usize, usize)> = Vec::new();
    for broker in layout.drained() {
        leaving.extend(layout.on[broker].iter().map(|p| (Reverse(layout.partitions[*p].bytes), *p, broker)));
    }
    leaving.sort_unstable();
    let open = layout.open.len();
    let most = (layout.shared().0 + leaving.len()).div_ceil(open.max(1));
    for (_, partition, from) in leaving {
        let topic = layout.partitions[partition].topic;
        let key = |to: &usize| {
            let racks = layout.rack_change(partition, from, *to);
            let is_full = layout.count(*to) >= most;
            (racks, is_full, layout.topic_count(topic, *to), layout.bytes[*to], layout.count(*to))
        };
        let to = layout.open.iter().copied().filter(|to| layout.is_free(partition, *to)).min_by_key(key);
        if let Some(to) = to {
            layout.shift(partition, from, to);
        }
    }
}

/// Moves replicas from brokers that have too many until the counts differ by 1 at most, or racks forbid more.
pub fn even_counts(layout: &mut Layout) {
    while pairs(layout, |layout, broker| layout.count(broker) as u64)
        .into_iter()
        .any(|(from, to)| relieve(layout, from, to) || relieve_by_way_of_a_third(layout, from, to))
    {}
}

/// Pairs of open brokers that differ by 2 or more in a measure, the widest apart first.
fn pairs(layout: &Layout, measure: impl Fn(&Layout, usize) -> u64) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for from in &layout.open {
        for to in &layout.open {
            let (more, less) = (measure(layout, *from), measure(layout, *to));
            if more >= less + 2 {
                let bytes = layout.bytes[*from].saturating_sub(layout.bytes[*to]);
                pairs.push((Reverse(more - less), Reverse(bytes), *from, *to));
            }
        }
    }
    pairs.sort_unstable();
    pairs.into_iter().map(|(_, _, from, to)| (from, to)).collect()
}

/// How many are moved before the choice is made anew: a part of what has to go, so that large clusters are planned in time.
const PARTS: usize = 8;

fn relieve(layout: &mut Layout, from: usize, to: usize) -> bool {
    let (replicas, bytes) = layout.shared();
    let open = layout.open.len();
    let (least, most) = (replicas / open, replicas.div_ceil(open));
    let surplus = layout.count(from).saturating_sub(least);
    let lack = most.saturating_sub(layout.count(to));
    let half = (layout.count(from) - layout.count(to)) / 2;
    let batch = (surplus.min(lack).min(half) / PARTS).max(1);
    // Sizes that bring the bytes of both to the mean while the counts go there.
    let mean = bytes / open as u64;
    let lacking = mean.saturating_sub(layout.bytes[to]) / lack.max(1) as u64;
    let too_many = layout.bytes[from].saturating_sub(mean) / surplus.max(1) as u64;
    let size = lacking.min(too_many);
    let gain = |layout: &Layout, partition: usize| {
        let topic = layout.partitions[partition].topic;
        i64::from(layout.topic_count(topic, from)) - i64::from(layout.topic_count(topic, to))
    };
    let mut candidates: Vec<_> = layout.on[from]
        .iter()
        .filter(|partition| layout.may_shift(**partition, from, to))
        .map(|partition| {
            let racks = layout.rack_change(*partition, from, to);
            let is_copied = layout.copied(*partition, from, to) > 0;
            let distance = layout.partitions[*partition].bytes.abs_diff(size);
            (racks, Reverse(gain(layout, *partition)), is_copied, distance, *partition)
        })
        .collect();
    candidates.sort_unstable();
    let mut moved = 0;
    for (_, Reverse(expected), .., partition) in candidates {
        // Others of its topic have gone before it.
        if gain(layout, partition) < expected && moved > 0 {
            continue;
        }
        layout.shift(partition, from, to);
        moved += 1;
        if moved == batch {
            break;
        }
    }
    moved > 0
}

/// Racks can forbid the direct way: a third broker gives one of its own and takes another.
fn relieve_by_way_of_a_third(layout: &mut Layout, from: usize, to: usize) -> bool {
    let find = |layout: &Layout, from: usize, to: usize| {
        let may = layout.on[from].iter().copied().filter(|partition| layout.may_shift(*partition, from, to));
        may.min_by_key(|partition| (layout.copied(*partition, from, to), *partition))
    };
    for third in layout.open.clone() {
        if third == from || third == to {
            continue;
        }
        let Some(second) = find(layout, third, to) else { continue };
        let Some(first) = find(layout, from, third) else { continue };
        layout.shift(second, third, to);
        layout.shift(first, from, third);
        return true;
    }
    false
}

/// Spreads each topic's replicas, one for one where a broker would otherwise have too many.
pub fn spread_topics(layout: &mut Layout) -> bool {
    let mut is_changed = false;
    for topic in 0..layout.topics.len() {
        while pairs(layout, |layout, broker| u64::from(layout.topic_count(topic, broker)))
            .into_iter()
            .any(|(from, to)| spread(layout, topic, from, to))
        {
            is_changed = true;
        }
    }
    is_changed
}

fn spread(layout: &mut Layout, topic: usize, from: usize, to: usize) -> bool {
    let cheapest = |partitions: &mut dyn Iterator<Item = usize>, layout: &Layout, from: usize, to: usize| {
        let may = partitions.filter(|p| layout.on[from].contains(p) && layout.may_shift(*p, from, to));
        may.min_by_key(|partition| (layout.copied(*partition, from, to), *partition))
    };
    let Some(first) = cheapest(&mut layout.topics[topic].iter().copied(), layout, from, to) else { return false };
    if layout.count(from) > layout.count(to) {
        layout.shift(first, from, to);
        return true;
    }
    let goes_back = |partition: &usize| {
        let other = layout.partitions[*partition].topic;
        other != topic && layout.topic_count(other, to) > layout.topic_count(other, from)
    };
    let mut others = layout.on[to].iter().copied().filter(goes_back);
    let Some(second) = cheapest(&mut others, layout, to, from) else { return false };
    layout.shift(first, from, to);
    layout.shift(second, to, from);
    true
}

/// Swaps large replicas for small ones while that evens out bytes, as long as the spoils are worth what is copied.
pub fn even_bytes(layout: &mut Layout) -> bool {
    let (replicas, bytes) = layout.shared();
    let open = layout.open.len();
    let mean = bytes / open as u64;
    let swaps_max = 4 * open + replicas / 50;
    let mut swaps = 0;
    while swaps < swaps_max {
        let mut brokers = layout.open.clone();
        brokers.sort_by_key(|broker| (layout.bytes[*broker], *broker));
        let apart = |from: usize, to: usize| layout.bytes[from].saturating_sub(layout.bytes[to]);
        // From the fullest one to the emptiest one that can take something of it, then from the next.
        let ways = brokers.iter().rev().flat_map(|from| brokers.iter().map(move |to| (*from, *to)));
        let best = ways
            .filter(|(from, to)| apart(*from, *to) > mean / 10)
            .find_map(|(from, to)| best_swap(layout, from, to, mean).map(|swap| (from, to, swap)));
        let Some((from, to, (there, back))) = best else { break };
        layout.shift(there, from, to);
        if let Some(back) = back {
            layout.shift(back, to, from);
        }
        swaps += 1;
    }
    swaps > 0
}

/// Neighbours that are tried on either side of the size that would be right.
const TRIES: usize = 8;

/// A replica that goes there, and one that comes back for it, so that both have about the same.
fn best_swap(layout: &Layout, from: usize, to: usize, mean: u64) -> Option<(usize, Option<usize>)> {
    let apart = layout.bytes[from] - layout.bytes[to];
    let size = |partition: usize| layout.partitions[partition].bytes;
    let mut backs: Vec<(u64, usize)> =
        layout.on[to].iter().filter(|p| layout.may_shift(**p, to, from)).map(|p| (size(*p), *p)).collect();
    backs.sort_unstable();
    // The largest gain, then the least to copy.
    let mut best = None;
    let mut best_key = (0, Reverse(u64::MAX), Reverse(usize::MAX));
    let mut consider = |there: usize, back: Option<usize>| {
        let (large, small) = (size(there), back.map_or(0, size));
        if large <= small || large - small >= apart || !keeps_topics(layout, from, to, there, back) {
            return;
        }
        let gain = (large - small).min(apart - (large - small));
        // A huge pair whose difference is small is copied for little.
        if gain < (mean / 50).max(1) || large + small > gain.saturating_mul(4) {
            return;
        }
        let key = (gain, Reverse(large + small), Reverse(there));
        if key > best_key {
            best_key = key;
            best = Some((there, back));
        }
    };
    for there in layout.on[from].iter().copied().filter(|p| layout.may_shift(*p, from, to)) {
        if layout.count(from) > layout.count(to) {
            consider(there, None);
        }
        // The one whose size leaves half of what they are apart.
        let wanted = size(there).saturating_sub(apart / 2);
        let at = backs.partition_point(|(bytes, _)| *bytes < wanted);
        for (_, back) in &backs[at.saturating_sub(TRIES)..(at + TRIES).min(backs.len())] {
            consider(there, Some(*back));
        }
    }
    best
}

/// Whether topics are spread as well after a swap as before.
fn keeps_topics(layout: &Layout, from: usize, to: usize, there: usize, back: Option<usize>) -> bool {
    let topic = layout.partitions[there].topic;
    let other = back.map(|back| layout.partitions[back].topic);
    if other == Some(topic) {
        return true;
    }
    layout.topic_count(topic, from) > layout.topic_count(topic, to)
        && other.is_none_or(|other| layout.topic_count(other, to) > layout.topic_count(other, from))
}
