#!/usr/bin/env bash
# Proves that every rule of liveness is held by a test with its number: takes each rule out of the
# core, one small change at a time, and demands that one of its tests fails.
#
#   tests/rules.sh            all rules
#   tests/rules.sh 5 12 p42   these (pNN: the reconnect rules of core/src/backoff.rs)
#   tests/rules.sh world      rules 1 to 9 and 15, out of the heartbeat: the search of
#                             `--test world` must find a counter-example that it does not know
#   tests/rules.sh world 6    this one
#   tests/rules.sh check      only whether each change still applies; some seconds
#
# Works on a copy of the working tree in <target>/rules, never on the tree itself, and takes some
# minutes; no part of `cargo test`. Each change is an exact replacement that must fit exactly once:
# one that no longer applies, or does not compile, is an error, and whoever changed the rule says
# here how to take the new one out. Prints a table: the rule, what was taken out, which tests
# fell. Status 1 if a rule survives, 2 if the table could not be made. Tests that nothing made fall
# are listed at the end: they may hold something that is not taken out here, or nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
  world= check=
  case ${1:-} in
    world) world=yes && shift ;;
    check) check=yes && shift ;;
  esac
  selected=" $* "
  root=$(cargo metadata --format-version 1 --no-deps --locked | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/rules
  copy=$root/workspace log=$root/log
  # Built for the first run of each change, so not optimised; kept from run to run.
  export CARGO_TARGET_DIR=$root/target CARGO_TERM_COLOR=never CARGO_INCREMENTAL=1
  export CARGO_PROFILE_TEST_OPT_LEVEL=0 CARGO_PROFILE_TEST_DEBUG=0
  export RUST_BACKTRACE=0 PROPTEST_CASES=16
  mkdir -p "$copy"
  : >"$root/fell"
  git ls-files -z --cached --others --exclude-standard | python3 -c "$SYNC" "$copy"
  cd "$copy"

  if [[ $world ]]; then
    search
    return
  fi
  if [[ $check ]]; then
    changes=0
    rules
    sites
    reconnect
    echo "$changes changes apply"
    return
  fi
  all=
  for tests in p4 rule_; do
    build "$tests" || broken "unchanged: does not compile"
    all+=$(run "$tests" --list | sed -n 's/: test$//p')$'\n'
    run "$tests" >"$log" || broken "unchanged: a test of a rule fails"
  done
  for rule in {1..15}; do
    grep -q "rule_$(printf %02d "$rule")_" <<<"$all" || broken "rule $rule: no test has its number"
  done

  survivors=0 changes=0
  printf '%-4s  %-66s  %s\n' rule 'taken out' 'tests that fell'
  rules
  reconnect
  ((changes > 0)) || broken "no such rule:$selected"
  echo "$changes changes, $survivors survived, $((SECONDS / 60)) min $((SECONDS % 60)) s"
  if [[ $selected == "  " ]]; then
    sort -u "$root/fell" | comm -23 <(sed '/^$/d' <<<"$all" | sort) - | sed 's/^/never fell: /'
  fi
  ((survivors == 0))
}

# The heartbeat alone, against the search. The search is worth optimising for.
search() {
  export CARGO_PROFILE_TEST_OPT_LEVEL=2
  local limit=900
  build world || broken "unchanged: does not compile"
  run the_shipped >"$log" || broken "unchanged: the search knows what it finds"
  survivors=0 changes=0
  printf '%-4s  %-66s  %s\n' rule 'taken out' 'new counter-examples'
  rules
  sites
  ((changes > 0)) || broken "no such rule:$selected"
  echo "$changes changes, $survivors survived, $((SECONDS / 60)) min $((SECONDS % 60)) s"
  ((survivors == 0))
}

# Rule 6: each clock that a lateness must move.
sites() {
  local stamp
  for stamp in evidence_at last_received last_would_block last_sent left_at deadline; do
    out 6 "a lateness does not move $stamp" heartbeat \
      "            &mut self.$stamp,
" ''
  done
  out 6 'a lateness does not move a suspicion' heartbeat \
    'for stamp in [&mut self.suspect_since, &mut self.restarted_at] {' \
    'for stamp in [&mut self.restarted_at] {'
  out 6 'a lateness does not move a wait that began anew' heartbeat \
    'for stamp in [&mut self.suspect_since, &mut self.restarted_at] {' \
    'for stamp in [&mut self.suspect_since] {'
  out 6 'a lateness does not move a stall' heartbeat \
    'for stamp in [&mut self.stalled_since, &mut self.open_since] {' \
    'for stamp in [&mut self.open_since] {'
}

# What the search cannot see, and `--test rules` does: the worlds have jitter 0, one connection, so
# that its nonce is no other's, spans of seconds, and only policies that can work.
beyond_search() {
  case $1 in
    *nonce* | *jitter* | 'a payload is bytes'*) true ;;
    'the longest '* | *' is accepted' | *' is taken') true ;;
    *) false ;;
  esac
}

rules() {
  local heartbeat=heartbeat policy=heartbeat/config.rs drain=heartbeat/drain.rs
  local connection=connection/mod.rs state=connection/state.rs timers=connection/timers.rs
  local transmit=connection receive=connection/receive.rs budget=connection/budget.rs

  out 1 'bytes are no life' $heartbeat \
    'if self.config.evidence == Evidence::AnyByte {' 'if false {'
  out 1 'bytes are life whatever the evidence asked for' $heartbeat \
    'if self.config.evidence == Evidence::AnyByte {' 'if true {'
  out 1 'a frame is life also where only the pong is' $heartbeat \
    'if self.config.evidence == Evidence::AnyFrame {' 'if true {'
  out 1 'a frame is never life' $heartbeat \
    'if self.config.evidence == Evidence::AnyFrame {' 'if false {'

  out 2 'what went out does not make a ping due' $heartbeat \
    'Mode::Idle => self.evidence_at.min(self.last_sent),' 'Mode::Idle => self.evidence_at,'
  out 2 'what came in does not make a ping due' $heartbeat \
    'Mode::Idle => self.evidence_at.min(self.last_sent),' 'Mode::Idle => self.last_sent,'
  out 2 'any byte postpones a ping, whatever the evidence' $heartbeat \
    'Mode::Idle => self.evidence_at.min(self.last_sent),' 'Mode::Idle => self.last_received.min(self.last_sent),'
  out 2 'periodic pings wait for silence' $heartbeat \
    'Mode::Periodic => self.left_at,
            Mode::Passive | Mode::Off => return' \
    'Mode::Periodic => self.evidence_at.min(self.last_sent),
            Mode::Passive | Mode::Off => return'
  out 2 'a passive heartbeat expects nothing' $heartbeat \
    'if heartbeat.config.mode == Mode::Passive {' 'if false {'
  out 2 'another ping goes out while one is outstanding' $heartbeat \
    '        if self.phase == Phase::Quiet {
            let due = self.ping_due();' \
    '        if self.phase == Phase::Awaiting && self.left_at.saturating_add(self.interval()) <= self.now {
            self.make_ping();
        }
        if self.phase == Phase::Quiet {
            let due = self.ping_due();'
  out 2 'the deadline may be further ahead than an interval' $heartbeat \
    '                    at(since.saturating_add(self.interval()));
                    at(now.saturating_add(self.interval().max(MIN_WAIT)));' ''

  out 3 'a pong for an earlier ping is a sample' $heartbeat \
    'if sequence != self.sequence || self.phase == Phase::Due {' 'if self.phase == Phase::Due {'
  out 3 'the same pong again is a sample' $heartbeat \
    'if self.answer == Answer::None || !self.is_alive() {' 'if !self.is_alive() {'
  out 3 'the nonce of a pong is not looked at' $heartbeat \
    'let ours = number(nonce)? == self.nonce;' 'let ours = number(nonce).is_some();'
  out 3 'all connections have one nonce' $heartbeat \
    'nonce: mix(seed),' 'nonce: mix(seed & 0),'
  out 3 'pings are not numbered' $heartbeat \
    'self.sequence = self.sequence.wrapping_add(1);' 'self.sequence = 1;'
  out 3 'a payload is bytes, whatever they are' $heartbeat \
    '_ => b'"'a'"'.saturating_add(value.saturating_sub(10)),' '_ => value,'
  out 3 'a sample may span a pause' $heartbeat \
    'if is_early || !is_timed || answer == Answer::AwaitedUntimed {' 'if is_early || !is_timed {'

  out 4 'the clock starts when the ping is handed out' $heartbeat \
    '        self.phase = Phase::Queued;
' \
    '        self.phase = Phase::Awaiting;
        self.left_at = self.now;
        self.arm();
'
  out 4 "the clock starts with the ping's first byte" $transmit \
    'take_if(|end| *end <= outgoing.taken)' 'take_if(|_| outgoing.taken > 0)'

  out 5 'expiry does not wait for output before the ping' $heartbeat \
    '        if self.phase != Phase::Awaiting {
            return;
        }
        let now = self.now;' \
    '        if matches!(self.phase, Phase::Quiet | Phase::Dead(_)) {
            return;
        }
        let now = self.now;'
  out 5 'the clock is not extended' $heartbeat \
    'drain.map_or(Duration::ZERO, |drain| drain.extension())' \
    'drain.map_or(Duration::ZERO, |drain| drain.extension().min(Duration::ZERO))'
  out 5 'the extension has no bound' $heartbeat \
    '            Duration::MAX => self.config.timeout.saturating_mul(4),
            timeout => timeout,' \
    '            _ => self.config.timeout.saturating_mul(64),'
  out 5 'a write after the ping does not lengthen the extension' $heartbeat \
    'if ahead == 0 || !self.was_full || !self.is_blocked() {' 'if true {'
  out 5 'all of a rate is believed' $heartbeat '
        .saturating_mul(2)
        .checked_div' '
        .checked_div'
  out 5 'a stall is never judged' $heartbeat \
    'let is_vain = taken == 0 && room != Room::Left;' 'let is_vain = false;'
  out 5 'a stall is judged without an attempt' $heartbeat \
    '        if self.not_read == NotRead::Untold && self.unread_deadline() <= self.now {' \
    '        if self.stalled_since().is_some() && self.stall_deadline() <= self.now {
            return self.die(DeadReason::WriteStalled);
        }
        if self.not_read == NotRead::Untold && self.unread_deadline() <= self.now {'
  out 5 'progress does not postpone a stall' $drain \
    'if !was_blocked || taken > 0 {' 'if !was_blocked {'
  out 5 'bytes taken are life' $heartbeat \
    '            self.last_sent = now;
            self.uncovered' \
    '            self.last_sent = now;
            self.handle_life();
            self.uncovered'

  out 6 'time alone judges, without a read' $heartbeat \
    '        if self.not_read == NotRead::Untold && self.unread_deadline() <= self.now {' \
    '        self.judge();
        if self.not_read == NotRead::Untold && self.unread_deadline() <= self.now {'
  out 6 'bytes behind the deadline are too late' $heartbeat \
    '        if !self.is_alive() {
            return;
        }
        self.evidence_at' \
    '        if !self.is_alive() || self.phase == Phase::Awaiting && self.now >= self.death_deadline() {
            return;
        }
        self.evidence_at'
  out 6 'our own lateness changes nothing' $heartbeat \
    'if !late.is_zero() {' 'if false {'
  out 6 'lateness is counted from the call before' $heartbeat \
    'now.saturating_duration_since(armed.max(self.now));' 'now.saturating_duration_since(armed.min(self.now));'
  out 6 'no clock has a step' $heartbeat \
    'at(step(since, half(self.config.timeout), now));' ''
  out 6 'a stall has no step' $heartbeat \
    'at(since.saturating_add(half(self.config.write_stall())));' ''
  out 6 'a pause asks afresh nowhere' $heartbeat \
    'if late > quarter(self.config.timeout) {' 'if false {'
  out 6 'any lateness is a pause' $heartbeat \
    'if late > quarter(self.config.timeout) {' 'if true {'
  out 6 'a pause sends no ping where none was out' $heartbeat \
    'Phase::Quiet if pings => self.make_ping(),' 'Phase::Quiet if pings => {}'
  out 6 'each pause grants the full timeout' $heartbeat \
    'Phase::Awaiting if !self.grace_used => {
                self.grace_used = true;' \
    'Phase::Awaiting => {'
  out 6 'no pause grants a timeout' $heartbeat \
    'Phase::Awaiting if !self.grace_used => {' 'Phase::Awaiting if false => {'
  out 6 'a pause takes the suspicion back' $heartbeat \
    '        let pings = self.config.pings();
        match self.phase {
            Phase::Quiet if pings' \
    '        let pings = self.config.pings();
        if let Some(rare) = &mut self.rare {
            rare.suspect_since = None;
        }
        match self.phase {
            Phase::Quiet if pings'
  out 6 'resumed does nothing' $heartbeat \
    '        self.spoil_sample();
        self.note_pause();' ''
  out 6 "a pause is held against the connection's clocks" $timers \
    '            self.shift_clocks(late);' '            let _ = late;'
  out 6 'a clock ends without a look' $timers \
    'let is_looked_for = |at: Instant| at >= deadline || now >= last;' \
    'let is_looked_for = |_: Instant| last >= deadline;'

  out 7 'nobody is suspected' $heartbeat \
    'self.rare_mut().suspect_since = Some(now);' 'self.rare_mut().suspect_since = None;'
  out 7 'nobody recovers' $heartbeat \
    '            rare.suspect_since = None;
            rare.restarted_at = None;' \
    '            rare.restarted_at = None;'
  out 7 'suspicion has no time of its own' $heartbeat \
    'if let Some(after) = self.config.suspect_after {' 'if let Some(after) = None {'
  out 7 'death does not wait for the warning' $heartbeat \
    'Some(since) => plain.max(since.saturating_add(warning)),' 'Some(since) => plain.max(since.min(since.saturating_add(warning))),'

  out 8 'the timeout is doubled' $heartbeat \
    'let after = self.config.timeout.saturating_add(self.extension());' \
    'let after = self.config.timeout.saturating_mul(2).saturating_add(self.extension());'
  out 8 'what went out postpones the ping' $heartbeat \
    'Mode::Idle => self.evidence_at.min(self.last_sent),' 'Mode::Idle => self.evidence_at.max(self.last_sent),'
  out 8 'a sign of life delays a suspicion' $heartbeat \
    'at(now.saturating_add(self.suspect_after().max(MIN_WAIT)));' ''
  out 8 'jitter lengthens the interval' $heartbeat \
    '.saturating_sub(unit.saturating_mul(self.early.into()))' '.saturating_add(unit.saturating_mul(self.early.into()))'

  out 9 'two pings at once' $heartbeat \
    '        self.early = self.draw_early(self.config.jitter_percent);
' \
    '        self.early = self.draw_early(self.config.jitter_percent);
        if self.sequence == 1 {
            return self.make_ping();
        }
'
  out 9 'a late ping is dated back' $heartbeat \
    '        self.left_at = now;
' \
    '        self.left_at = self.left_at.saturating_add(self.interval());
'
  out 9 'the longest interval ends' $heartbeat \
    '        };
        since.saturating_add(self.interval())' \
    '        };
        since.saturating_add(self.interval().min(Duration::from_secs(3_600)))'
  out 9 'the longest timeout ends' $heartbeat \
    'let is_due = |deadline: Instant| now >= deadline && deadline != Instant::MAX;' \
    'let is_due = |deadline: Instant| now >= deadline;'
  out 9 'an interval of zero is accepted' $policy \
    'if self.pings() && self.interval.is_zero() {' 'if false {'
  out 9 'a timeout of zero is accepted' $policy 'if self.timeout.is_zero() {' 'if false {'
  out 9 'suspicion after death is accepted' $policy 'after.is_zero() || after > self.timeout' 'after.is_zero()'
  out 9 'a stall of zero is accepted' $policy \
    'if [self.write_stall_timeout, self.unread_timeout].contains(&Some(Duration::ZERO)) {' 'if false {'
  out 9 'any jitter is accepted' $policy 'self.jitter_percent > 50' 'self.jitter_percent > 100'

  out 10 'pongs leave behind data' $transmit \
    'for payload in outgoing.pongs.iter() {' \
    'outgoing.commit_staged();
        outgoing.frame_data(max_frame, keys.as_deref_mut());
        for payload in outgoing.pongs.iter() {'
  out 10 'a large message is committed whole' $transmit \
    'const COMMIT: usize = 64 << 10;' 'const COMMIT: usize = 64 << 20;'
  out 10 'a commit is long whatever the transport takes' $transmit \
    'self.took.saturating_mul(2).clamp(COMMIT, LONGEST_COMMIT)' 'LONGEST_COMMIT'
  out 10 'a commit stays long when the transport takes less' $transmit \
    'self.took = written.max(self.took / 2);' 'self.took = written.max(self.took);'
  out 10 'any number of pongs waits' $transmit \
    'const MAX_PONGS: usize = 16;' 'const MAX_PONGS: usize = usize::MAX;'
  out 10 'the oldest pongs are kept' $transmit \
    'if self.count >= MAX_PONGS {
            self.clear();' \
    'if self.count >= MAX_PONGS {
            return;'
  out 10 'the bucket never runs empty' $budget \
    'self.tokens = self.tokens.saturating_sub(1);' ''
  out 10 'nothing refills the bucket' $budget \
    'self.tokens = self.tokens.saturating_add(tokens).min(BURST);' 'let _ = tokens;'
  out 10 'time does not refill the bucket' $budget \
    'self.add(earned);' ''
  out 10 'data bytes do not refill the bucket' $budget \
    'self.add(u32::try_from(bytes >> 10).unwrap_or(u32::MAX));' 'let _ = bytes;'
  out 10 'messages do not refill the bucket' $budget \
    'self.add(1);' ''
  out 10 'pongs that were taken do not refill the bucket' $budget \
    'self.add(u32::try_from(count).unwrap_or(u32::MAX));' 'let _ = count;'
  out 10 'nobody is told of a flood' $receive \
    'self.flood_unreported = true;' ''
  out 10 'a flood is told and goes on' $receive \
    'Standing::Excess => Err(LimitExceeded::ControlFlood.into()),' 'Standing::Excess => Ok(()),'

  out 11 'a dead peer is sent no Close' $state \
    'ending.silence = silence;' 'ending.silence = silence;
            ending.close = CloseStage::None;'
  out 11 'a dead peer has the time of a closing handshake' $state \
    'let linger = self.config.linger;' 'let linger = self.config.close_timeout;'
  out 11 'a dead peer is waited for' $state \
    'EndingKind::Dead => said || self.stream_ended,' 'EndingKind::Dead => self.stream_ended,'
  out 11 'traffic extends the closing handshake' $connection \
    'Phase::Ending(_) => self.receive_frames(now, input),' \
    'Phase::Ending(_) => {
                if let Phase::Ending(ending) = &mut self.phase {
                    ending.clock = Clock::start(now, self.config.close_timeout);
                }
                self.receive_frames(now, input)
            }'
  out 11 'the closing handshake has no deadline' $state \
    'if !ending.clock.has_run_out(now, looked_at) {' 'if true || !ending.clock.has_run_out(now, looked_at) {'
  out 11 'the server waits for the client to close TCP' $state \
    'said && (role == Role::Server || self.stream_ended)' 'said && self.stream_ended'
  out 11 'the client closes TCP first' $state \
    'said && (role == Role::Server || self.stream_ended)' 'said'
  out 11 'a Close that we sent is not waited for' $state \
    'EndingKind::Failing | EndingKind::Refused => said && self.stream_ended,' \
    'EndingKind::Failing | EndingKind::Refused => said,'
  out 11 'nobody is told to half-close' $state \
    '        silent
            && self.close.is_done()
            &&' \
    '        false
            && silent
            &&'

  out 12 'the opening handshake has no deadline' $state \
    'if !opening.clock.has_run_out(now, looked_at) {' 'if true || !opening.clock.has_run_out(now, looked_at) {'
  out 12 'a trickle extends the opening handshake' $connection \
    'Phase::Opening(_) => self.receive_head(now, input),' \
    'Phase::Opening(_) => {
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.clock = Clock::start(now, self.config.handshake_timeout);
                }
                self.receive_head(now, input)
            }'
  out 12 'an idle connection stays' $timers 'is_due(self.idle_deadline(), read)' 'false'
  out 12 'a connection is idle that nobody looked at' $timers \
    'is_due(self.idle_deadline(), read)' 'is_due(self.idle_deadline(), now)'
  out 12 'any byte is use' $connection \
    '                self.heartbeat.handle_received(now);
' \
    '                self.heartbeat.handle_received(now);
                if let Some(timers) = self.optional_timers() {
                    timers.message_ended(now, true);
                }
'
  out 12 'sending is no use' $timers 'self.is_sending = true;' ''
  out 12 'an old connection stays' $timers 'is_due(self.too_old, now)' 'false'
  out 12 'all connections grow old at once' $timers \
    'config.max_age.saturating_sub(early)' 'config.max_age'
  out 12 'a message may take for ever' $timers 'is_due(self.message_deadline(), read)' 'false'
  out 12 'a message is late that nobody looked for' $timers \
    'is_due(self.message_deadline(), read)' 'is_due(self.message_deadline(), now)'
  out 12 'the heartbeat hides the other timers' $timers \
    'limit.min(heartbeat.unwrap_or(Instant::MAX))' 'heartbeat.unwrap_or(limit)'
  out 12 'the other timers hide the heartbeat' $timers \
    'limit.min(heartbeat.unwrap_or(Instant::MAX))' \
    'if limit == Instant::MAX { heartbeat.unwrap_or(limit) } else { limit }'

  out 13 'nothing is drawn' $heartbeat \
    'saturating_mul(most) >> 32;' 'saturating_mul(most) >> 63;'
  out 13 'first pings come at once' $heartbeat \
    'self.early = self.draw_early(spread);' 'self.early = 0;'
  out 13 'first pings are jittered as later ones' $heartbeat \
    '            0
        } else {
            50' \
    '            0
        } else {
            self.config.jitter_percent'
  out 13 'later pings come at once' $heartbeat \
    'self.early = self.draw_early(self.config.jitter_percent);' 'self.early = 0;'
  out 13 'zero does not switch it off' $heartbeat \
    '            0
        } else {
            50' \
    '            50
        } else {
            50'

  out 14 'we ask with a ping frame' $transmit \
    'Some(application) if application.sends && !outgoing.inside_message => {' \
    'Some(application) if application.sends && false => {'
  out 14 'we ask between the fragments of a message' $transmit \
    'Some(application) if application.sends && !outgoing.inside_message => {' \
    'Some(application) if application.sends => {'
  out 14 'the answer to us is nothing' $receive \
    'self.heartbeat.handle_unnumbered_answer(now);' 'let _ = now;'
  out 14 'the answer to us is also a message' $receive \
    'self.heartbeat.handle_unnumbered_answer(now);
            return true;' \
    'self.heartbeat.handle_unnumbered_answer(now);
            return false;'
  out 14 'we do not answer' $receive \
    '                self.queue_answer();
' ''
  out 14 'what we answer is also a message' $receive \
    '                self.queue_answer();
            }
            return true;' \
    '                self.queue_answer();
            }
            return false;'
  out 14 'we answer between the parts of a message' $transmit \
    'if outgoing.unfinished.is_some() {
            outgoing.owes_answer = true;' \
    'if false {
            outgoing.owes_answer = true;'

  out 15 'the old policy stays' $heartbeat \
    '        self.config = Arc::new(config);
' ''
  out 15 'the old deadline stays' $heartbeat \
    '        self.begin();
        Ok(())' \
    '        Ok(())'
  out 15 'an outstanding ping survives the end of pings' $heartbeat \
    '            self.phase = Phase::Quiet;
        }
        if config.mode == Mode::Off' \
    '        }
        if config.mode == Mode::Off'
  out 15 'the time before the change counts' $heartbeat \
    '            self.grace_used = true;
            self.restart_wait();
        } else' \
    '            self.grace_used = true;
        } else'
  out 15 'each change grants a timeout' $heartbeat \
    'if is_awaited && !self.grace_used {' 'if is_awaited {'
  out 15 'suspicion outlives the heartbeat' $heartbeat \
    'if config.mode == Mode::Off
            && let' \
    'if false
            && let'
  out 15 'a policy that cannot work is taken' $heartbeat \
    'config.validate()?;
        self.observe(now);
        if config' \
    'self.observe(now);
        if config'
}

reconnect() {
  local backoff=backoff.rs
  out p40 'delays are not random' $backoff \
    'Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(u64::MAX))' \
    'Duration::from_nanos(u64::try_from(product >> 127).unwrap_or(u64::MAX)).max(ceiling)'
  out p40 'delays do not double' $backoff '.saturating_mul(2u64.saturating_pow(doublings))' \
    '.saturating_mul(u64::from(doublings > 0).saturating_add(1))'
  out p40 'delays have no cap' $backoff \
    'Duration::from_nanos(ceiling).min(self.config.cap)' 'Duration::from_nanos(ceiling)'
  out p40 'the first delay has no cap' $backoff 'self.config.first.min(self.config.cap)' 'self.config.first'
  out p40 'the first delay is zero' $backoff 'None => self.first(),' 'None => Duration::ZERO,'
  out p41 'any uptime starts over' $backoff '>= self.config.min_uptime' '>= Duration::ZERO'
  out p41 'no uptime starts over' $backoff '>= self.config.min_uptime' '> Duration::MAX'
  out p42 'nothing is fatal' $backoff \
    'if (self.config.classify)(outcome) == RetryClass::Fatal {' 'if false {'
  out p42 'a normal close is no end' $backoff \
    'code: 1000 | 1002 | 1003 | 1007..=1010,' 'code: 1002 | 1003 | 1007..=1010,'
  out p42 'a timeout of the server is fatal' $backoff \
    'status: 408 | 425 | 429 | 500..=599,' 'status: 425 | 429 | 500..=599,'
  out p42 'Retry-After is ignored' $backoff \
    'match outcome.retry_after() {' 'match outcome.retry_after().filter(|_| false) {'
  out p43 'what follows a Retry-After is not spread as after a loss' $backoff \
    'self.ceiling().max(self.first()),' 'self.ceiling(),'
  out p43 'delays are not random' $backoff \
    'Duration::from_nanos(u64::try_from(product >> 64).unwrap_or(u64::MAX))' \
    'Duration::from_nanos(u64::try_from(product >> 127).unwrap_or(u64::MAX)).max(ceiling)'
  out p44 'generations are not told apart' $backoff \
    'if generation == self.generation => Ok(())' 'if generation.0 > 0 => Ok(())'
  out p45 'hints do nothing' $backoff 'until: until.min(soon),' 'until: until.max(until),'
  out p45 'hints are not spread' $backoff \
    'let soon = self.now.max(floor).saturating_add(delay);' 'let soon = self.now.max(floor);'
}

# Takes something out of a rule: rule, what that means, file, text, text instead.
out() {
  local rule=$1 what=$2 file=core/src/$3 tests fell
  [[ $selected == "  " || $selected == *" $rule "* ]] || return 0
  if [[ $world ]]; then
    [[ $3 == heartbeat* ]] && ((rule <= 10 || rule == 15)) || return 0
    ! beyond_search "$what" || return 0
  fi
  changes=$((changes + 1))
  # A folder stands for the one file in it that has the pattern.
  [[ ! -d $file ]] || file=$(python3 -c "$FIND" "$file" "$4") || broken "rule $rule, '$what': no longer applies; say here how to take it out"
  cp "$file" "$root/original"
  : >"$log"
  python3 -c "$REPLACE" "$file" "$4" "$5" || broken "rule $rule, '$what': no longer applies; say here how to take it out"
  if [[ $check ]]; then
    cp "$root/original" "$file"
    return
  fi
  if [[ $world ]]; then
    tests=world
  elif [[ $rule == p* ]]; then
    tests=$rule
  else
    tests=rule_$(printf %02d "$rule")
  fi
  build "$tests" || broken "rule $rule, '$what': does not compile"
  local status=0
  if [[ $world ]]; then
    run the_shipped >"$log" || status=$?
    # A failure that is gone is no counter-example.
    fell=$(grep -aE '^\? in ".*": .* at t=' "$log" | sed 's/^? in //; s/ at t=.*//' | head -3 | paste -sd';' || true)
    [[ $fell ]] || status=0
  else
    run "${tests}_" >"$log" || status=$?
    fell=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
  fi
  cp "$root/original" "$file"
  if ((status == 0)); then
    survivors=$((survivors + 1))
    fell='SURVIVES'
  elif ((status == 124)); then
    fell="${fell:+$fell }(does not end)"
  elif [[ -z $fell ]]; then
    broken "rule $rule, '$what': the tests did not run"
  fi
  if [[ $world ]]; then
    printf '%-4s  %-66s  %s\n' "$rule" "$what" "$fell"
    return
  fi
  tr ' ' '\n' <<<"$fell" >>"$root/fell"
  printf '%-4s  %-66s  %s\n' "$rule" "$what" "$(sed 's/.*:://' <<<"$fell" | paste -sd' ')"
}

# Builds the tests of a rule; `run` runs what was built last.
build() {
  case $1 in
    world) TARGET=(-p wspulse-tests --no-default-features --test world) ;;
    p*) TARGET=(-p wspulse-core --lib) ;;
    *) TARGET=(-p wspulse-tests --test rules) ;;
  esac
  cargo test --locked "${TARGET[@]}" --no-run >"$log" 2>&1
}

# A filter, and options of the harness. What does not end is as good as a failure.
run() {
  timeout "${limit:-120}" cargo test --locked "${TARGET[@]}" -- "$@" 2>&1
}

broken() {
  [[ ! -s $log ]] || grep -E '^error|FAILED|panicked' -A4 "$log" | head -40 >&2 || true
  echo "rules: $1" >&2
  exit 2
}

# Makes the copy what the tree is; touches only what differs, so that little is built again.
SYNC='
import pathlib, shutil, sys
copy = pathlib.Path(sys.argv[1])
names = {name for name in sys.stdin.read().split("\0") if name and pathlib.Path(name).is_file()}
for name in names:
    here, there = pathlib.Path(name), copy / name
    if not there.is_file() or there.read_bytes() != here.read_bytes():
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(here.read_bytes())
for there in copy.rglob("*"):
    if there.is_file() and str(there.relative_to(copy)) not in names:
        there.unlink()
'

FIND='
import sys
from pathlib import Path
folder, pattern = sys.argv[1:]
found = [file for file in Path(folder).glob("*.rs") if pattern in file.read_text()]
sys.exit(1) if len(found) != 1 else print(found[0])
'

REPLACE='
import pathlib, sys
path, old, new = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
text = path.read_text()
count = text.count(old)
if count != 1:
    sys.exit(f"{path}: found {count} times, not once:\n{old}")
path.write_text(text.replace(old, new))
'

main "$@"
