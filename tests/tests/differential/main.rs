//! wspulse and tungstenite, on the same random streams of frames.

mod tungstenite;

use wspulse_tests::differential::classes::{self, Peer, Tally};
use wspulse_tests::differential::{generate, lines};
use wspulse_tests::rng;

#[test]
fn tungstenite_makes_the_same_of_100_000_streams() {
    let found = rng::traces("differential", 100_000, |seed| {
        let mut case = generate::case(seed);
        if seed % 2 == 0 {
            case = case.cut_at_frames();
        }
        let theirs = tungstenite::run(&case);
        classes::explain(&case, Peer::Tungstenite, &theirs)
            .unwrap_or_else(|difference| panic!("{}\n{difference}", lines::case(&case)))
    });
    let mut tally = Tally::new(Peer::Tungstenite);
    found.iter().for_each(|classes| tally.add(classes));
    println!("{tally}");
    if found.len() >= 100_000 {
        assert_eq!(tally.dead(), [], "classes that nothing is in");
    }
}
