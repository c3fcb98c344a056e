//! wspulse and tungstenite, on the same random streams of frames.

mod tungstenite;

use std::collections::BTreeMap;

use wspulse_tests::differential::classes::{self, Class, Peer};
use wspulse_tests::differential::{generate, lines};
use wspulse_tests::rng;

#[test]
fn tungstenite_makes_the_same_of_100_000_streams() {
    let found = rng::traces("differential", 100_000, |seed| {
        let case = generate::case(seed);
        let theirs = tungstenite::run(&case);
        classes::explain(&case, Peer::Tungstenite, &theirs).unwrap_or_else(|difference| {
            panic!("{}\nnot explained: {difference}", lines::case(&case));
        })
    });
    let differ = found.iter().filter(|classes| !classes.is_empty()).count();
    let mut counts: BTreeMap<_, usize> = Class::ALL
        .into_iter()
        .filter(|class| class.is_of(Peer::Tungstenite))
        .map(|class| (class, 0))
        .collect();
    for class in found.iter().flatten() {
        *counts.entry(*class).or_default() += 1;
    }
    println!("{} streams, {differ} with a difference", found.len());
    for (class, count) in &counts {
        println!("{count:>6} {class:?}");
    }
    if found.len() >= 100_000 {
        let dead: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).collect();
        assert!(dead.is_empty(), "classes that nothing is in: {dead:?}");
    }
}
