//! wspulse and tungstenite, on the same random streams of frames and request heads.

mod tungstenite;

use wspulse_tests::differential::classes::{self, Class, Peer};
use wspulse_tests::differential::head_classes::{self, HeadClass};
use wspulse_tests::differential::tally::Tally;
use wspulse_tests::differential::{generate, heads, lines};
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
    let mut tally = Tally::new(Class::of(Peer::Tungstenite));
    found.into_iter().for_each(|classes| tally.add(classes));
    println!("{tally}");
    if tally.inputs() >= 100_000 {
        assert_eq!(tally.dead(), [], "classes that nothing is in");
    }
}

#[test]
fn tungstenite_accepts_the_same_of_20_000_request_heads() {
    let found = rng::traces("heads", 20_000, |seed| {
        let head = heads::head(seed);
        let theirs = tungstenite::accept(&head);
        head_classes::explain(&head, Peer::Tungstenite, theirs.as_deref()).unwrap_or_else(
            |difference| panic!("{:?}\n{difference}", String::from_utf8_lossy(&head)),
        )
    });
    let mut tally = Tally::new(HeadClass::of(Peer::Tungstenite).iter().copied());
    found.into_iter().for_each(|class| tally.add(class));
    println!("{tally}");
    if tally.inputs() >= 20_000 {
        assert_eq!(tally.dead(), [], "classes that nothing is in");
    }
}
