//! What was promised, and whether it was kept on a machine that was so late.

use std::time::Duration;

/// An end gave its peer up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// Since the last byte.
    pub(super) silence: Duration,
    /// Since this end's last ping.
    pub(super) waited: Duration,
    /// Since the suspicion, if there was one.
    pub(super) warning: Option<Duration>,
    /// By how much the engine's wakes can have been late in the silence, and the longest delay.
    pub(super) late: Duration,
    pub(super) longest_delay: Duration,
}

impl Death {
    /// A silent peer is found within interval + timeout of the last byte.
    pub(super) fn is_prompt(self) -> bool {
        let bound = self.interval.saturating_add(self.timeout);
        is_within(self.silence, bound, self.late + self.grace())
    }

    /// A peer has the whole timeout for its answer to a ping. The relay may have seen the ping one
    /// delay after it left.
    pub(super) fn is_fair(self) -> bool {
        self.silence >= self.timeout && self.waited + SLACK + self.longest_delay >= self.timeout
    }

    /// The suspicion comes after three quarters of the timeout at the latest.
    pub(super) fn is_warned(self) -> bool {
        self.warning
            .is_some_and(|warning| warning + SLACK >= self.timeout / 4)
    }

    /// An end that was held up for more than a quarter of the timeout gives the peer one more.
    pub(super) fn grace(self) -> Duration {
        if self.longest_delay > self.timeout / 4 {
            self.timeout
        } else {
            Duration::ZERO
        }
    }
}

/// Something kept its bound, but for what this machine was late.
pub(super) fn is_within(took: Duration, bound: Duration, late: Duration) -> bool {
    took <= bound.saturating_add(SLACK).saturating_add(late)
}

/// Something that waits for nothing but this machine took no longer than a moment.
pub(super) fn is_moment(took: Duration, late: Duration) -> bool {
    took <= MOMENT.saturating_add(late)
}

/// A client came back after its delay, which was no longer than the longest.
pub(super) fn is_return(
    delay: Duration,
    away: Duration,
    longest: Duration,
    late: Duration,
) -> bool {
    delay <= longest && away >= delay && is_moment(away.saturating_sub(delay), late)
}

/// How exact times are beyond the measured lateness: timers have a resolution of a millisecond, and
/// a delay is measured some milliseconds too short.
pub(super) const SLACK: Duration = Duration::from_millis(50);

/// So often a late machine can make an end late on the way from the last byte to its verdict: the
/// ping, the suspicion and the verdict, and two wakes for a look.
pub(super) const WAKEUPS: usize = 5;

/// The most that something takes which waits for nothing but this machine.
pub(super) const MOMENT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::{Death, Duration, is_moment, is_return, is_within};

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A death as it should be, on a machine that is never late.
    const DEATH: Death = Death {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        silence: Duration::from_millis(2_950),
        waited: Duration::from_secs(2),
        warning: Some(Duration::from_secs(1)),
        late: Duration::ZERO,
        longest_delay: Duration::ZERO,
    };

    #[test]
    fn a_death_keeps_its_bound() {
        assert!(DEATH.is_prompt() && DEATH.is_fair() && DEATH.is_warned());
        let late = Death {
            silence: millis(3_100),
            ..DEATH
        };
        assert!(!late.is_prompt());
        let hasty = Death {
            silence: millis(1_999),
            ..DEATH
        };
        assert!(!hasty.is_fair());
        let impatient = Death {
            waited: millis(1_949),
            ..DEATH
        };
        assert!(!impatient.is_fair());
    }

    #[test]
    fn a_death_without_a_warning_in_time_is_none() {
        for warning in [None, Some(Duration::ZERO), Some(millis(449))] {
            assert!(!Death { warning, ..DEATH }.is_warned(), "{warning:?}");
        }
    }

    #[test]
    fn a_late_machine_moves_a_bound_by_what_it_was_late() {
        let death = Death {
            silence: millis(3_300),
            late: millis(300),
            longest_delay: millis(200),
            ..DEATH
        };
        assert!(death.is_prompt());
        let fault = Death {
            silence: millis(3_400),
            ..death
        };
        assert!(!fault.is_prompt());
    }

    #[test]
    fn one_more_timeout_needs_a_delay_of_a_quarter_of_it() {
        let death = |longest_delay| Death {
            silence: millis(5_500),
            late: millis(500),
            longest_delay,
            ..DEATH
        };
        assert!(death(millis(501)).is_prompt());
        assert!(!death(millis(500)).is_prompt());
    }

    #[test]
    fn other_bounds_move_likewise() {
        assert!(is_within(millis(3_050), millis(3_000), Duration::ZERO));
        assert!(!is_within(millis(3_051), millis(3_000), Duration::ZERO));
        assert!(is_moment(millis(300), millis(50)));
        assert!(!is_moment(millis(301), millis(50)));
        let longest = millis(5_000);
        assert!(is_return(
            millis(4_900),
            millis(5_100),
            longest,
            Duration::ZERO
        ));
        assert!(!is_return(
            millis(4_900),
            millis(4_800),
            longest,
            Duration::ZERO
        ));
        assert!(!is_return(
            millis(5_100),
            millis(5_100),
            longest,
            Duration::ZERO
        ));
        assert!(!is_return(
            millis(1_000),
            millis(1_300),
            longest,
            Duration::ZERO
        ));
    }
}
