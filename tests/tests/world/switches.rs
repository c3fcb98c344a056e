//! Each rule taken out of the reference, one part at a time: the search must miss it.

use wspulse_tests::world::cases::{Case, cases, scenes};
use wspulse_tests::world::compare::Both;
use wspulse_tests::world::heartbeat::{Engine, HeartbeatWorld};
use wspulse_tests::world::reference::{Call, Reference, Switch};
use wspulse_tests::world::search::{Failure, Limits, search};

/// What shows that a part of a rule is missing.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// An oracle falls in this world.
    ByOracle(&'static str),
    /// No oracle needs it: in this world the whole reference answers differently.
    ByComparison(&'static str),
}

#[test]
fn each_rule_taken_out_of_the_reference_gives_a_counter_example() {
    let mut survivors = Vec::new();
    for switch in Switch::ALL {
        let (rule, shown) = (switch.rule(), shown_by(switch));
        match counter_example(switch, shown) {
            Some(failure) => println!("rule {rule} without {switch:?}, {shown:?}: {failure}"),
            None => survivors.push((switch, shown)),
        }
    }
    assert!(survivors.is_empty(), "not missed: {survivors:#?}");
}

/// Worlds found by searching all of them; any other one that works would do.
fn shown_by(switch: Switch) -> Shown {
    use Shown::{ByComparison, ByOracle};
    match switch {
        Switch::PingAfterNothingOut
        | Switch::OnePing
        | Switch::TriedAgainLater
        | Switch::Suspect
        | Switch::Timeout
        | Switch::NoBurst => ByOracle("idle, a host that never pauses"),
        Switch::BytesAreLife => ByOracle("idle, a frame longer than the timeout"),
        Switch::EvidenceIsChosen => ByOracle("frames as evidence, pauses"),
        Switch::PassiveExpects => ByOracle("passive, pauses"),
        Switch::PingAfterNothingIn => ByOracle("pongs as evidence, traffic both ways"),
        Switch::PeriodicIsPeriodic => ByOracle("periodic, traffic"),
        Switch::CappedByInterval | Switch::Shift | Switch::ShiftAt(Call::WouldBlock) => {
            ByOracle("idle, long timers, a path as slow as allowed")
        }
        Switch::LatestPong
        | Switch::SampleWithoutPause
        | Switch::WriteIsNoEvidence
        | Switch::ShiftOnce
        | Switch::GraceOnce
        | Switch::SuspicionStays
        | Switch::Recovered => ByOracle("idle, pauses"),
        Switch::SampleOnce => ByOracle("idle, repeated pongs"),
        Switch::ClockFromLastByte
        | Switch::ProgressPostpones
        | Switch::ShiftAt(Call::Transmitted)
        | Switch::ShiftStall => ByOracle("idle, a small buffer, two writes and two pauses"),
        Switch::Extension | Switch::StallIsDeath => ByOracle("idle, a full buffer before the ping"),
        Switch::ExtensionIsBound => ByOracle("idle, a full transport"),
        Switch::StallNeedsAttempt => ByOracle("idle, a full transport and a pause"),
        Switch::ShiftAt(Call::Received) => ByOracle("pongs as evidence, a path as slow as allowed"),
        Switch::ShiftAt(Call::Timeout) => ByComparison("idle, pauses, any call first"),
        Switch::ShiftAt(Call::Resumed) => {
            ByOracle("idle, a small buffer and pauses that the host tells of")
        }
        Switch::ShiftAt(Call::Set) | Switch::Guard => ByOracle("two policies, pauses"),
        Switch::ShiftSuspicion => ByOracle("every mode after every other"),
        Switch::Steps => ByOracle("idle, late suspicion"),
        Switch::GraceOfQuiet => ByOracle("idle, pauses that the host tells of"),
        Switch::GraceOfAwaiting => {
            ByOracle("idle, a first pause and a path slower than half the timeout")
        }
        Switch::GraceOnResumed => ByOracle("idle, pauses that the host tells of"),
        Switch::DeathNeedsLook => ByOracle("idle, reads held back"),
        Switch::BytesWin => ByOracle("idle, pauses, a slow path"),
        Switch::ChangeRestarts | Switch::SameIsNoChange => {
            ByComparison("a shorter timeout, no pause")
        }
        Switch::ChangeUsesGrace | Switch::ChangeTakesEffect => {
            ByOracle("a shorter timeout, no pause")
        }
        Switch::OldStamps => ByOracle("a policy that changes for ever"),
        Switch::NotRead => ByOracle("idle, a forgotten would_block"),
    }
}

fn counter_example(switch: Switch, shown: Shown) -> Option<Failure> {
    let (Shown::ByOracle(name) | Shown::ByComparison(name)) = shown;
    let mut cases = cases().into_iter().chain(scenes());
    let case = cases.find(|case| case.name == name);
    let case = case.unwrap_or_else(|| panic!("no world is called \"{name}\""));
    let policy = &case.policies[0];
    let without = Reference::without(policy, Some(switch));
    match shown {
        Shown::ByOracle(_) => first_failure(&case, without),
        Shown::ByComparison(_) => first_failure(&case, Both::new(without, Reference::new(policy))),
    }
}

fn first_failure<E: Engine>(case: &Case, engine: E) -> Option<Failure> {
    let world = HeartbeatWorld {
        setting: case.setting.clone(),
        policies: case.policies.clone(),
        engine,
    };
    let limits = Limits {
        stops_at_failure: true,
        ..Limits::depth(case.depth)
    };
    search(&world, limits).failures.into_iter().next()
}
