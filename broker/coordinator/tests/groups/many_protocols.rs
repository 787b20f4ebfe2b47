//! A stranger may name as many protocols as a request holds: the coordinator serves others meanwhile, so it must not compare
//! each with each.

use crate::world::World;

const MANY: usize = 50_000;

#[test]
fn members_with_many_protocols_join_at_once() {
    let protocols: Vec<String> = (0..MANY).map(|number| format!("p{number}")).collect();
    let reversed: Vec<&str> = protocols.iter().rev().map(String::as_str).collect();
    let mut world = World::new();
    world.run(&format!("join g=g client=a v=3 protocols={}", protocols.join(",")));
    world.run(&format!("join g=g client=b v=3 protocols={},{}", reversed.join(","), reversed.join(",")));
    let told = world.run("tick now=9000");
    // Each likes another one best: the first member's counts.
    assert!(told.contains("generation 1 protocol p0 leader a-#1 [a-#1 b-#2]"), "{told}");
    let told = world.run("join g=g client=c v=3 protocols=another");
    assert!(told.contains("InconsistentGroupProtocol"), "{told}");
}
