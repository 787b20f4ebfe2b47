//! Cycles in a directed graph.

/// One cycle's members, if there is any (Tarjan's strongly connected components, without recursion). `edges[a]` are the
/// nodes that `a` leads to.
pub(super) fn find(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut index = vec![UNSEEN; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut on_stack = vec![false; edges.len()];
    let mut stack = Vec::new();
    let mut next = 0;
    for root in 0..edges.len() {
        if index[root] != UNSEEN {
            continue;
        }
        // A node and how many of its edges were followed.
        let mut path = vec![(root, 0)];
        while let Some(&mut (node, ref mut followed)) = path.last_mut() {
            if *followed == 0 {
                index[node] = next;
                low[node] = next;
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(&to) = edges[node].get(*followed) {
                *followed += 1;
                if to == node {
                    return Some(vec![node]);
                }
                if index[to] == UNSEEN {
                    path.push((to, 0));
                } else if on_stack[to] {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _)) = path.last() {
                low[parent] = low[parent].min(low[node]);
            }
            if low[node] == index[node] {
                let at = stack.iter().rposition(|&member| member == node).expect("a node on the path is on the stack");
                let component = stack.split_off(at);
                component.iter().for_each(|&member| on_stack[member] = false);
                if component.len() > 1 {
                    return Some(component);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_chain_has_none_and_a_ring_has_one() {
        assert_eq!(find(&[vec![1], vec![2], vec![]]), None);
        assert_eq!(find(&[vec![1, 2], vec![2], vec![]]), None, "two ways to one node");
        let mut ring = find(&[vec![], vec![2], vec![3], vec![1, 0]]).unwrap();
        ring.sort_unstable();
        assert_eq!(ring, [1, 2, 3]);
        assert_eq!(find(&[vec![], vec![1]]), Some(vec![1]), "a node that leads to itself");
    }
}
