//! Step tests: one rule each.

mod world;

use world::*;

use crate::Role;

#[test]
fn a_change_travels_from_its_writer_over_two_bridges_to_a_far_gateway() {
    let mut world = World::new();
    world.member("a", 1, &[listed(1, 0), policy(2, "*/*/*")]);
    world.bridge("east", near());
    world.bridge("west", far());
    world.add("gateway", far(), Role::Gateway, limits());
    world.connect("east", "a");
    world.connect("west", "east");
    world.connect("gateway", "west");
    world.run();
    world.tick(2);

    world.write("a", vec![set(80, session(7, "x"))]);
    world.run();

    for name in ["a", "east", "west", "gateway"] {
        assert_eq!(world.shown(name), [(80, "x".to_owned())].into(), "at {name}");
    }
}
