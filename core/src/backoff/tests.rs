extern crate std;

use std::vec::Vec;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn backoff(seed: u64) -> Backoff {
    Backoff::new(BackoffConfig::default(), seed).unwrap()
}

/// Fails one attempt that begins as soon as it may, and returns the delay after it.
fn fail(backoff: &mut Backoff, outcome: Outcome) -> Duration {
    let now = backoff.poll_timeout().unwrap_or(backoff.now);
    let generation = backoff.begin(now);
    match backoff.handle_closed(now, generation, outcome) {
        Ok(Decision::Retry { at }) => {
            assert_eq!(
                backoff.poll_timeout(),
                Some(at).filter(|at| *at < Instant::MAX)
            );
            at.saturating_duration_since(now)
        }
        other => panic!("expected a retry, got {other:?}"),
    }
}

fn delays(backoff: &mut Backoff, count: usize) -> Vec<Duration> {
    (0..count)
        .map(|_| fail(backoff, Outcome::ConnectFailed))
        .collect()
}

/// Opens a connection, keeps it for `uptime`, loses it.
fn open_and_lose(backoff: &mut Backoff, uptime: Duration) {
    let now = backoff.poll_timeout().unwrap_or(backoff.now);
    let generation = backoff.begin(now);
    backoff.handle_open(now, generation).unwrap();
    let end = now.saturating_add(uptime);
    let decision = backoff.handle_closed(end, generation, Outcome::Closed { code: 1006 });
    assert!(matches!(decision, Ok(Decision::Retry { .. })));
}

#[test]
fn p40_delays_are_drawn_below_ceilings_that_double_up_to_the_cap() {
    let ceilings = [5, 1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs);
    let clients: Vec<_> = (0..2_000)
        .map(|seed| delays(&mut backoff(seed), ceilings.len()))
        .collect();
    for (nth, ceiling) in ceilings.into_iter().enumerate() {
        let of_clients = || clients.iter().map(|delays| delays[nth]);
        let mean = of_clients().sum::<Duration>() / 2_000;
        // Full jitter, so the whole range is used and the middle is the mean.
        assert!(of_clients().all(|delay| delay <= ceiling), "delay {nth}");
        assert!(of_clients().max() > Some(ceiling * 99 / 100), "delay {nth}");
        assert!(of_clients().min() < Some(ceiling / 100), "delay {nth}");
        assert!(mean.abs_diff(ceiling / 2) < ceiling / 40, "delay {nth}");
    }
}

#[test]
fn p40_the_sequence_is_a_function_of_seed_and_outcomes() {
    let plain = delays(&mut backoff(7), 20);
    assert_eq!(delays(&mut backoff(7), 20), plain);
    assert_ne!(delays(&mut backoff(8), 20), plain);

    // A hint shortens the wait it is given in and no other.
    let mut hinted = backoff(7);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(fail(&mut hinted, Outcome::ConnectFailed));
        hinted.handle_network_up(hinted.now);
    }
    assert_eq!(seen, plain);
}

#[test]
fn p41_only_min_uptime_starts_the_sequence_over() {
    let mut backoff = backoff(1);
    for failures in 1..=20 {
        open_and_lose(&mut backoff, 10 * SECOND - Duration::from_nanos(1));
        assert_eq!(backoff.failures(), failures);
    }
    assert_eq!(backoff.ceiling(), 60 * SECOND);

    open_and_lose(&mut backoff, 10 * SECOND);
    assert_eq!(backoff.failures(), 1);
    assert_eq!(backoff.ceiling(), 5 * SECOND);
}

#[test]
fn p41_a_connection_replaced_while_open_counts_by_its_uptime() {
    for (uptime, failures) in [(9 * SECOND, 4), (10 * SECOND, 1)] {
        let mut backoff = backoff(1);
        delays(&mut backoff, 3);
        let generation = backoff.begin(backoff.now);
        backoff.handle_open(backoff.now, generation).unwrap();
        backoff.begin(backoff.now.saturating_add(uptime));
        fail(&mut backoff, Outcome::ConnectFailed);
        assert_eq!(backoff.failures(), failures, "{uptime:?}");
    }
}

#[test]
fn p42_close_codes() {
    let fatal = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003];
    for code in 0..=u16::MAX {
        let expected = match fatal.contains(&code) {
            true => RetryClass::Fatal,
            false => RetryClass::Retry,
        };
        assert_eq!(Outcome::Closed { code }.class(), expected, "{code}");
    }
}

#[test]
fn p42_http_statuses() {
    for status in 0..=u16::MAX {
        let refused = Outcome::Refused {
            status,
            retry_after: None,
        };
        let expected = match [408, 425, 429].contains(&status) || status / 100 == 5 {
            true => RetryClass::Retry,
            false => RetryClass::Fatal,
        };
        assert_eq!(refused.class(), expected, "{status}");
    }
    assert_eq!(Outcome::ConnectFailed.class(), RetryClass::Retry);
}

#[test]
fn p42_a_fatal_outcome_ends_it_until_the_caller_begins_again() {
    let mut backoff = backoff(1);
    delays(&mut backoff, 5);
    let generation = backoff.begin(backoff.now);
    let decision = backoff.handle_closed(backoff.now, generation, Outcome::Closed { code: 1008 });
    assert_eq!(decision, Ok(Decision::GiveUp(GiveUp::Fatal)));
    assert_eq!(backoff.poll_timeout(), None);
    backoff.handle_network_up(backoff.now);
    assert_eq!(backoff.poll_timeout(), None);

    fail(&mut backoff, Outcome::ConnectFailed);
    assert_eq!(backoff.failures(), 1);
}

#[test]
fn p42_the_caller_may_class_otherwise() {
    let config = BackoffConfig::default().classify(|outcome| match outcome {
        Outcome::Closed { code: 1000 } => RetryClass::Retry,
        Outcome::Closed { code: 4000..=4099 } => RetryClass::Fatal,
        other => other.class(),
    });
    for (code, retried) in [(1000, true), (4001, false), (1001, true), (1002, false)] {
        let mut backoff = Backoff::new(config, 1).unwrap();
        let generation = backoff.begin(Instant::ZERO);
        let decision = backoff.handle_closed(Instant::ZERO, generation, Outcome::Closed { code });
        assert_eq!(
            matches!(decision, Ok(Decision::Retry { .. })),
            retried,
            "{code}"
        );
    }
}

#[test]
fn p42_retry_after_is_a_floor_with_the_delay_on_top() {
    let asked = 120 * SECOND;
    let refused = Outcome::Refused {
        status: 503,
        retry_after: Some(asked),
    };
    for seed in 0..100 {
        let plain = fail(&mut backoff(seed), Outcome::ConnectFailed);
        assert_eq!(fail(&mut backoff(seed), refused), asked + plain);

        let mut hinted = backoff(seed);
        fail(&mut hinted, refused);
        hinted.handle_network_up(hinted.now);
        assert!(hinted.poll_timeout() >= Some(hinted.now.saturating_add(asked)));
    }
}

#[test]
fn p42_gives_up_after_max_retries_in_a_row() {
    for max in 0..5 {
        let config = BackoffConfig::default().max_retries(Some(max));
        let mut backoff = Backoff::new(config, 1).unwrap();
        for _ in 0..max {
            fail(&mut backoff, Outcome::ConnectFailed);
        }
        let generation = backoff.begin(backoff.now);
        let decision = backoff.handle_closed(backoff.now, generation, Outcome::ConnectFailed);
        assert_eq!(decision, Ok(Decision::GiveUp(GiveUp::Exhausted)));
        assert_eq!(backoff.poll_timeout(), None);
    }
}

/// Returns the most connects in any second, and the mean over the first five.
fn storm(connects: &mut [Instant]) -> (usize, usize) {
    connects.sort_unstable();
    let first_window = connects.partition_point(|at| *at <= Instant::from_secs(5));
    let peak = connects
        .iter()
        .enumerate()
        .map(|(nth, at)| {
            let end = at.saturating_add(SECOND);
            connects.partition_point(|other| *other < end) - nth
        })
        .max();
    (peak.unwrap_or_default(), first_window / 5)
}

/// Ten thousand clients lose a server at once; it refuses everybody for `outage`.
fn connects(outage: Duration, outcome: Outcome) -> Vec<Instant> {
    let back = Instant::ZERO.saturating_add(outage);
    let mut connects = Vec::new();
    for seed in 0..10_000 {
        let mut backoff = backoff(seed);
        fail(&mut backoff, Outcome::Closed { code: 1006 });
        while let Some(at) = backoff.poll_timeout() {
            connects.push(at);
            if at >= back {
                break;
            }
            fail(&mut backoff, outcome);
        }
    }
    connects
}

#[test]
fn p43_ten_thousand_clients_are_no_storm() {
    for outage in [0, 1, 5, 30, 300].map(Duration::from_secs) {
        let (peak, mean) = storm(&mut connects(outage, Outcome::ConnectFailed));
        assert!(mean >= 2_000, "{outage:?}: {mean}");
        assert!(peak * 2 <= mean * 5, "{outage:?}: {peak} against {mean}");
    }
}

/// C20: the slip of a server parks no client for ever.
#[test]
fn p42_a_retry_after_has_a_ceiling() {
    let refused = |asked| Outcome::Refused {
        status: 503,
        retry_after: Some(asked),
    };
    let hour = 3_600 * SECOND;
    for seed in 0..100 {
        let plain = fail(&mut backoff(seed), Outcome::ConnectFailed);
        for asked in [
            hour,
            hour + SECOND,
            Duration::from_secs(u64::MAX),
            Duration::MAX,
        ] {
            assert_eq!(fail(&mut backoff(seed), refused(asked)), hour + plain);
        }
        let config = BackoffConfig::default().max_retry_after(SECOND);
        let mut backoff = Backoff::new(config, seed).unwrap();
        assert_eq!(fail(&mut backoff, refused(hour)), SECOND + plain);
    }
}

/// C20: no delay is above the cap, and the first is none that is.
#[test]
fn p40_the_first_delay_is_below_the_cap() {
    let config = BackoffConfig::default().cap(3 * SECOND);
    let busy = Outcome::Refused {
        status: 503,
        retry_after: Some(SECOND),
    };
    let (mut most, mut most_busy) = (Duration::ZERO, Duration::ZERO);
    for seed in 0..1_000 {
        let fail = |outcome| fail(&mut Backoff::new(config, seed).unwrap(), outcome);
        most = most.max(fail(Outcome::ConnectFailed));
        most_busy = most_busy.max(fail(busy));
    }
    assert!(most > 2 * SECOND && most <= 3 * SECOND, "{most:?}");
    assert!(
        most_busy > 3 * SECOND && most_busy <= 4 * SECOND,
        "{most_busy:?}"
    );
}

#[test]
fn p43_a_common_retry_after_is_no_storm() {
    let busy = Outcome::Refused {
        status: 503,
        retry_after: Some(60 * SECOND),
    };
    let (peak, mean) = storm(&mut connects(30 * SECOND, busy));
    assert!(peak * 2 <= mean * 5, "{peak} against {mean}");
}

/// A Retry-After that is a date is the same moment for everybody, whenever they ask.
#[test]
fn p43_a_common_time_to_come_back_at_is_no_storm() {
    let back = Instant::from_secs(90);
    let mut connects = Vec::new();
    for seed in 0..10_000 {
        let mut backoff = backoff(seed);
        fail(&mut backoff, Outcome::Closed { code: 1006 });
        while let Some(at) = backoff.poll_timeout() {
            connects.push(at);
            if at >= back {
                break;
            }
            let busy = Outcome::Refused {
                status: 503,
                retry_after: Some(back.saturating_duration_since(at)),
            };
            fail(&mut backoff, busy);
        }
    }
    let (peak, mean) = storm(&mut connects);
    assert!(peak * 2 <= mean * 5, "{peak} against {mean}");
}

#[test]
fn p44_nothing_of_an_earlier_generation_changes_anything() {
    let lost = Outcome::Closed { code: 1002 };
    let mut backoff = backoff(1);
    let old = backoff.begin(Instant::ZERO);
    let new = backoff.begin(Instant::from_secs(1));
    assert_ne!(old, new);
    let now = Instant::from_secs(2);
    assert_eq!(backoff.handle_open(now, old), Err(Stale));
    assert_eq!(backoff.handle_closed(now, old, lost), Err(Stale));
    assert!(matches!(backoff.phase, Phase::Connecting));

    backoff.handle_open(now, new).unwrap();
    assert_eq!(backoff.handle_closed(now, old, lost), Err(Stale));
    assert!(matches!(backoff.phase, Phase::Open { .. }));

    // Over once means over.
    let decision = backoff.handle_closed(now, new, Outcome::ConnectFailed);
    let waiting = backoff.poll_timeout();
    assert!(matches!(decision, Ok(Decision::Retry { .. })));
    assert_eq!(backoff.handle_open(now, new), Err(Stale));
    assert_eq!(backoff.handle_closed(now, new, lost), Err(Stale));
    assert_eq!(backoff.poll_timeout(), waiting);
}

#[test]
fn p45_a_hint_shortens_the_wait_once_between_two_attempts() {
    for seed in 0..100 {
        let mut backoff = backoff(seed);
        for _ in 0..10 {
            delays(&mut backoff, 1);
            let (now, before) = (backoff.now, backoff.poll_timeout());
            backoff.handle_network_up(now);
            let after = backoff.poll_timeout();
            assert!(after <= before);
            assert!(after <= Some(now.saturating_add(SECOND)));

            backoff.handle_network_up(now.saturating_add(SECOND / 2));
            assert_eq!(backoff.poll_timeout(), after);
        }
    }
}

#[test]
fn p45_a_hint_at_any_other_time_does_nothing_and_is_not_used_up() {
    let mut backoff = backoff(1);
    backoff.handle_network_up(Instant::ZERO);
    assert_eq!(backoff.poll_timeout(), None);
    delays(&mut backoff, 10);

    let generation = backoff.begin(backoff.now);
    backoff.handle_network_up(backoff.now);
    assert_eq!(backoff.poll_timeout(), None);
    backoff.handle_open(backoff.now, generation).unwrap();
    backoff.handle_network_up(backoff.now);
    assert_eq!(backoff.poll_timeout(), None);

    let decision = backoff.handle_closed(backoff.now, generation, Outcome::ConnectFailed);
    assert!(matches!(decision, Ok(Decision::Retry { .. })));
    backoff.handle_network_up(backoff.now);
    assert!(backoff.poll_timeout() <= Some(backoff.now.saturating_add(SECOND)));
}

#[test]
fn p45_hints_are_spread_over_the_base_delay() {
    let mut connects: Vec<_> = (0..10_000)
        .filter_map(|seed| {
            let mut backoff = backoff(seed);
            delays(&mut backoff, 10);
            let now = backoff.now;
            backoff.handle_network_up(now);
            Some(backoff.poll_timeout()?.saturating_duration_since(now))
        })
        .collect();
    connects.sort_unstable();
    for (tenth, slice) in connects.chunks(1_000).enumerate() {
        let middle = SECOND * u32::try_from(tenth).unwrap() / 10 + SECOND / 20;
        assert!(slice[500].abs_diff(middle) < SECOND / 10, "{tenth}");
    }
}

#[test]
fn the_longest_durations_saturate() {
    let config = BackoffConfig::default()
        .first(Duration::MAX)
        .base(Duration::MAX)
        .cap(Duration::MAX)
        .min_uptime(Duration::MAX);
    let mut backoff = Backoff::new(config, 1).unwrap();
    for _ in 0..100 {
        fail(&mut backoff, Outcome::ConnectFailed);
        backoff.handle_network_up(backoff.now);
    }
    backoff.failures = u32::MAX;
    fail(&mut backoff, Outcome::ConnectFailed);
    assert_eq!(backoff.failures(), u32::MAX);

    let never = Outcome::Refused {
        status: 503,
        retry_after: Some(Duration::MAX),
    };
    let generation = backoff.begin(Instant::MAX);
    assert_eq!(
        backoff.handle_closed(Instant::MAX, generation, never),
        Ok(Decision::Retry { at: Instant::MAX })
    );
    backoff.handle_network_up(Instant::MAX);
    assert_eq!(backoff.poll_timeout(), None);
}

#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let mut backoff = backoff(1);
    let generation = backoff.begin(Instant::from_secs(100));
    backoff
        .handle_open(Instant::from_secs(50), generation)
        .unwrap();
    let decision = backoff.handle_closed(Instant::ZERO, generation, Outcome::Closed { code: 1006 });
    assert!(matches!(decision, Ok(Decision::Retry { .. })));
    assert!(backoff.poll_timeout() >= Some(Instant::from_secs(100)));
}

#[test]
fn nonsense_is_refused() {
    let refused = |config: BackoffConfig| Backoff::new(config, 1).err();
    let config = BackoffConfig::default();
    assert_eq!(
        refused(config.base(Duration::ZERO)),
        Some(BackoffConfigError::ZeroBase)
    );
    assert_eq!(
        refused(config.base(61 * SECOND)),
        Some(BackoffConfigError::BaseAboveCap)
    );
    assert_eq!(refused(config.base(60 * SECOND)), None);
    assert_eq!(refused(config.first(Duration::ZERO)), None);
}

#[test]
fn splitmix64_gives_the_published_numbers() {
    // The first outputs for the seed 1234567, as in the test vectors of Rosetta Code.
    let numbers = [0, 1, 2].map(|index| splitmix64(1_234_567, index));
    assert_eq!(
        numbers,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ]
    );
}
