//! The parts of the rules that can be taken out of the reference.

/// The calls that carry `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `handle_received`, `handle_frame` and `handle_pong`.
    Received,
    /// `handle_would_block`.
    WouldBlock,
    /// `handle_transmitted` and `handle_ping_sent`.
    Transmitted,
    /// `handle_timeout`.
    Timeout,
    /// `handle_resumed`.
    Resumed,
    /// `set_config`.
    Set,
}

/// A part of a rule that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Switch {
    /// 1. Bytes are life.
    BytesAreLife,
    /// 1. Only the evidence that was asked for is life.
    EvidenceIsChosen,
    /// 1. A passive policy expects something.
    PassiveExpects,
    /// 2. A ping is due when nothing came in.
    PingAfterNothingIn,
    /// 2. A ping is due when nothing went out.
    PingAfterNothingOut,
    /// 2. A periodic ping does not ask for silence.
    PeriodicIsPeriodic,
    /// 2. At most one ping is outstanding.
    OnePing,
    /// 2. While an answer is awaited, the deadline is never more than I ahead.
    CappedByInterval,
    /// 3. Only the latest ping's pong gives a sample.
    LatestPong,
    /// 3. It gives one once.
    SampleOnce,
    /// 3. A sample that spans a pause is discarded.
    SampleWithoutPause,
    /// 4. The clock starts when the ping's last byte was taken.
    ClockFromLastByte,
    /// 5. Bytes before the ping extend its clock.
    Extension,
    /// 5. By `write_stall_timeout` at most.
    ExtensionIsBound,
    /// 5. No progress is a death of its own.
    StallIsDeath,
    /// 5. That death needs an attempt that took nothing.
    StallNeedsAttempt,
    /// 5. Progress postpones it.
    ProgressPostpones,
    /// 5. A write that was taken is no evidence.
    WriteIsNoEvidence,
    /// 6. Lateness moves every stamp.
    Shift,
    /// 6. Also at this call.
    ShiftAt(Call),
    /// 6. Once.
    ShiftOnce,
    /// 6. Also the clock of a stalled write.
    ShiftStall,
    /// 6. Also the clock of the suspicion.
    ShiftSuspicion,
    /// 6. No clock is armed further ahead than half its length.
    Steps,
    /// 6. After a late call a ping becomes due where none is out.
    GraceOfQuiet,
    /// 6. After a late call an answer that is awaited is asked for once more.
    GraceOfAwaiting,
    /// 6. Once between two signs of life.
    GraceOnce,
    /// 6. Also on `handle_resumed`.
    GraceOnResumed,
    /// 6. A told suspicion stays told.
    SuspicionStays,
    /// 6. Death needs a look at or after the deadline.
    DeathNeedsLook,
    /// 6. Bytes handed in before death win.
    BytesWin,
    /// 6. A judgement that is due without a look is tried again later.
    TriedAgainLater,
    /// 7. Suspicion is told.
    Suspect,
    /// 7. Recovery is told.
    Recovered,
    /// 7. Death comes no sooner than T - `suspect_after` after suspicion was told.
    Guard,
    /// 8. The timeout is the one that was asked for.
    Timeout,
    /// 9. No burst after a pause.
    NoBurst,
    /// 15. A change restarts the wait.
    ChangeRestarts,
    /// 15. The first one only.
    ChangeUsesGrace,
    /// 15. With the new timeout.
    ChangeTakesEffect,
    /// 15. The interval counts from the old stamps.
    OldStamps,
    /// 15. The same policy again is no change.
    SameIsNoChange,
    /// 19. A forgotten report is told.
    NotRead,
}

impl Switch {
    /// Every one.
    pub const ALL: [Self; 48] = [
        Self::BytesAreLife,
        Self::EvidenceIsChosen,
        Self::PassiveExpects,
        Self::PingAfterNothingIn,
        Self::PingAfterNothingOut,
        Self::PeriodicIsPeriodic,
        Self::OnePing,
        Self::CappedByInterval,
        Self::LatestPong,
        Self::SampleOnce,
        Self::SampleWithoutPause,
        Self::ClockFromLastByte,
        Self::Extension,
        Self::ExtensionIsBound,
        Self::StallIsDeath,
        Self::StallNeedsAttempt,
        Self::ProgressPostpones,
        Self::WriteIsNoEvidence,
        Self::Shift,
        Self::ShiftAt(Call::Received),
        Self::ShiftAt(Call::WouldBlock),
        Self::ShiftAt(Call::Transmitted),
        Self::ShiftAt(Call::Timeout),
        Self::ShiftAt(Call::Resumed),
        Self::ShiftAt(Call::Set),
        Self::ShiftOnce,
        Self::ShiftStall,
        Self::ShiftSuspicion,
        Self::Steps,
        Self::GraceOfQuiet,
        Self::GraceOfAwaiting,
        Self::GraceOnce,
        Self::GraceOnResumed,
        Self::SuspicionStays,
        Self::DeathNeedsLook,
        Self::BytesWin,
        Self::TriedAgainLater,
        Self::Suspect,
        Self::Recovered,
        Self::Guard,
        Self::Timeout,
        Self::NoBurst,
        Self::ChangeRestarts,
        Self::ChangeUsesGrace,
        Self::ChangeTakesEffect,
        Self::OldStamps,
        Self::SameIsNoChange,
        Self::NotRead,
    ];

    /// The rule by number.
    #[must_use]
    pub const fn rule(self) -> u8 {
        match self {
            Self::BytesAreLife | Self::EvidenceIsChosen | Self::PassiveExpects => 1,
            Self::PingAfterNothingIn
            | Self::PingAfterNothingOut
            | Self::PeriodicIsPeriodic
            | Self::OnePing
            | Self::CappedByInterval => 2,
            Self::LatestPong | Self::SampleOnce | Self::SampleWithoutPause => 3,
            Self::ClockFromLastByte => 4,
            Self::Extension
            | Self::ExtensionIsBound
            | Self::StallIsDeath
            | Self::StallNeedsAttempt
            | Self::ProgressPostpones
            | Self::WriteIsNoEvidence => 5,
            Self::Shift
            | Self::ShiftAt(_)
            | Self::ShiftOnce
            | Self::ShiftStall
            | Self::ShiftSuspicion
            | Self::Steps
            | Self::GraceOfQuiet
            | Self::GraceOfAwaiting
            | Self::GraceOnce
            | Self::GraceOnResumed
            | Self::SuspicionStays
            | Self::DeathNeedsLook
            | Self::BytesWin
            | Self::TriedAgainLater => 6,
            Self::Suspect | Self::Recovered | Self::Guard => 7,
            Self::Timeout => 8,
            Self::NoBurst => 9,
            Self::ChangeRestarts
            | Self::ChangeUsesGrace
            | Self::ChangeTakesEffect
            | Self::OldStamps
            | Self::SameIsNoChange => 15,
            Self::NotRead => 19,
        }
    }
}
