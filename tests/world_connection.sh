#!/usr/bin/env bash
# Proves that the search over a Connection holds rules 11 to 14: takes each out of a copy of the
# core, one small change at a time, and demands that the search finds what it did not find before.
#
#   tests/world_connection.sh          all rules
#   tests/world_connection.sh 11 13    these
#   tests/world_connection.sh long     instead, a search of up to 10^7 states in each world
#   tests/world_connection.sh check    only whether each change still applies; some seconds
#
# The changes are made as tests/rules.sh makes them, in <target>/world_connection. Only the worlds
# that are about the rule are searched. Rule 17 is not in the core yet and cannot be taken out. That
# no jitter is drawn where none is wanted is for `--test rules` to say: these worlds count whole
# seconds.
# Prints the rule, what was taken out, and the first thing that was found. Status 1 if a rule
# survives, 2 if a change does not apply or compile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
test=(cargo test --locked -p wspulse-tests --no-default-features --test world_connection)

main() {
  if [[ ${1:-} == long ]]; then
    WSPULSE_LONG_SEARCH=1 exec "${test[@]}" --release -- --nocapture
  fi
  check=
  [[ ${1:-} != check ]] || { check=yes && shift; }
  selected=" $* "
  root=$(cargo metadata --format-version 1 --no-deps --locked | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/world_connection
  copy=$root/workspace log=$root/log
  export CARGO_TARGET_DIR=$root/target CARGO_TERM_COLOR=never CARGO_INCREMENTAL=1
  export CARGO_PROFILE_TEST_OPT_LEVEL=1 CARGO_PROFILE_DEV_OPT_LEVEL=1
  export CARGO_PROFILE_TEST_DEBUG=0 CARGO_PROFILE_DEV_DEBUG=0 RUST_BACKTRACE=0
  rm -rf "$copy" && mkdir -p "$copy"
  # The files get a new time, so that what was built from a changed one is built again.
  git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null | tar -xmf - -C "$copy"
  cd "$copy"
  survivors=0 changes=0
  if [[ $check ]]; then
    rules
    echo "$changes changes apply"
    return
  fi
  export WSPULSE_WORLDS=
  "${test[@]}" >"$log" 2>&1 || broken "unchanged: the search fails"

  printf '%-4s  %-58s  %s\n' rule 'taken out' 'found'
  rules
  echo "$changes changes, $survivors survived, $((SECONDS / 60)) min $((SECONDS % 60)) s"
  ((changes > 0)) || broken "no such rule:$selected"
  ((survivors == 0))
}

rules() {
  local state=connection/state.rs timers=connection/timers.rs facade=connection/mod.rs
  local transmit=connection/transmit.rs receive=connection/receive.rs
  local schedule=heartbeat/schedule.rs heartbeat=heartbeat/mod.rs

  out 11 'a dead peer is sent no Close' dying $state \
    'ending.silence = silence;' 'ending.silence = silence;
            ending.close = CloseStage::None;'
  out 11 'a dead peer has the time of a closing handshake' stalling,short $state \
    'let linger = self.config.linger;' 'let linger = self.config.close_timeout;'
  out 11 'a dead peer is waited for' dying $state \
    'EndingKind::Dead => said || self.stream_ended,' 'EndingKind::Dead => self.stream_ended,'
  out 11 'traffic extends the closing handshake' closing $facade \
    'Phase::Ending(_) => self.receive_frames(now, input),' \
    'Phase::Ending(_) => {
                if let Phase::Ending(ending) = &mut self.phase {
                    ending.clock = Clock::start(now, self.config.close_timeout);
                }
                self.receive_frames(now, input)
            }'
  out 11 'the closing handshake has no deadline' closing $state \
    'if !ending.clock.has_run_out(now, looked_at) {' \
    'if true || !ending.clock.has_run_out(now, looked_at) {'
  out 11 'the server waits for the client to close TCP' closing $state \
    'said && (role == Role::Server || self.stream_ended)' 'said && self.stream_ended'
  out 11 'the client closes TCP first' closing $state \
    'said && (role == Role::Server || self.stream_ended)' 'said'
  out 11 'a Close that we sent is not waited for' failing $state \
    'EndingKind::Failing | EndingKind::Refused => said && self.stream_ended,' \
    'EndingKind::Failing | EndingKind::Refused => said,'
  out 11 'nobody is told to half-close' failing $state \
    '        silent
            && self.close.is_done()
            &&' \
    '        false
            && silent
            &&'

  out 12 'the opening handshake has no deadline' opening $state \
    'if !opening.clock.has_run_out(now, looked_at) {' \
    'if true || !opening.clock.has_run_out(now, looked_at) {'
  out 12 'a trickle extends the opening handshake' opening $facade \
    'Phase::Opening(_) => self.receive_head(now, input),' \
    'Phase::Opening(_) => {
                if let Phase::Opening(opening) = &mut self.phase {
                    opening.clock = Clock::start(now, self.config.handshake_timeout);
                }
                self.receive_head(now, input)
            }'
  out 12 'an idle connection stays' idle $timers 'is_due(self.idle_deadline(), read)' 'false'
  out 12 'a connection is idle that nobody looked at' idle $timers \
    'is_due(self.idle_deadline(), read)' 'is_due(self.idle_deadline(), now)'
  out 12 "our pause is held against the connection's clocks" opening,closing,message,idle $timers \
    '            self.shift_clocks(late);' '            let _ = late;'
  out 12 'a handshake ends without a look' opening,closing $timers \
    'let is_looked_for = |at: Instant| at >= deadline || now >= last;' \
    'let is_looked_for = |_: Instant| last >= deadline;'
  out 12 'a handshake has no step' opening,closing $timers \
    'step(self.since, half(self.length), now).min(deadline)' 'deadline'
  out 12 'any byte is use' idle $facade \
    '                self.heartbeat.handle_received(now);
' \
    '                self.heartbeat.handle_received(now);
                if let Some(timers) = self.optional_timers() {
                    timers.message_ended(now, true);
                }
'
  out 12 'sending is no use' idle $timers 'self.is_sending = true;' ''
  out 12 'an old connection stays' age $timers 'is_due(self.too_old, now)' 'false'
  out 12 'all connections grow old at once' jitter $timers \
    'config.max_age.saturating_sub(early)' 'config.max_age'
  out 12 'a message may take for ever' message $timers 'is_due(self.message_deadline(), read)' 'false'
  out 12 'a message is late that nobody looked for' message $timers \
    'is_due(self.message_deadline(), read)' 'is_due(self.message_deadline(), now)'
  out 12 'the heartbeat hides the other timers' 'all clocks' $timers \
    'limit.min(heartbeat.unwrap_or(Instant::MAX))' 'heartbeat.unwrap_or(limit)'
  out 12 'the other timers hide the heartbeat' 'all clocks' $timers \
    'limit.min(heartbeat.unwrap_or(Instant::MAX))' \
    'if limit == Instant::MAX { heartbeat.unwrap_or(limit) } else { limit }'

  out 13 'nothing is drawn' jitter $schedule \
    'saturating_mul(most) >> 32;' 'saturating_mul(most) >> 63;'
  out 13 'first pings come at once' jitter $schedule \
    'self.early = self.draw_early(spread);' 'self.early = 0;'
  out 13 'first pings are jittered as later ones' jitter $schedule \
    '            0
        } else {
            50' \
    '            0
        } else {
            self.config.jitter_percent'
  out 13 'later pings come at once' jitter $heartbeat \
    'self.early = self.draw_early(self.config.jitter_percent);' 'self.early = 0;'

  out 14 'we ask with a ping frame' asking $transmit \
    'Some(application) if application.sends && !outgoing.inside_message => {' \
    'Some(application) if application.sends && false => {'
  out 14 'we ask between the fragments of a message' asking $transmit \
    'Some(application) if application.sends && !outgoing.inside_message => {' \
    'Some(application) if application.sends => {'
  out 14 'the answer to us is also a message' asking $receive \
    'self.heartbeat.handle_unnumbered_answer(now);
            return true;' \
    'self.heartbeat.handle_unnumbered_answer(now);
            return false;'
  out 14 'we do not answer' answering $receive \
    '                self.queue_answer();
' ''
  out 14 'what we answer is also a message' answering $receive \
    '                self.queue_answer();
            }
            return true;' \
    '                self.queue_answer();
            }
            return false;'
  out 14 'we answer between the parts of a message' answering $transmit \
    'if outgoing.unfinished.is_some() {
            outgoing.owes_answer = true;' \
    'if false {
            outgoing.owes_answer = true;'
}

# Takes something out of a rule: rule, what that means, worlds, file, text, text instead.
out() {
  local rule=$1 what=$2 file=core/src/$4 status=0 found
  [[ $selected == "  " || $selected == *" $rule "* ]] || return 0
  changes=$((changes + 1))
  cp "$file" "$root/original"
  : >"$log"
  python3 -c "$REPLACE" "$file" "$5" "$6" || broken "rule $rule, '$what': no longer applies; say here how to take it out"
  if [[ $check ]]; then
    cp "$root/original" "$file"
    return
  fi
  "${test[@]}" --no-run >"$log" 2>&1 || broken "rule $rule, '$what': does not compile"
  WSPULSE_WORLDS=$3 timeout 120 "${test[@]}" >"$log" 2>&1 || status=$?
  cp "$root/original" "$file"
  if ((status == 0)); then
    survivors=$((survivors + 1))
    found=SURVIVES
  elif ((status == 124)); then
    found='(does not end)'
  else
    found=$(awk "$FIRST" "$log")
  fi
  printf '%-4s  %-58s  %s\n' "$rule" "$what" "$found"
}

broken() {
  [[ ! -s $log ]] || grep -E '^error|FAILED|panicked' -A4 "$log" | head -40 >&2 || true
  echo "world_connection: $1" >&2
  exit 2
}

# The first failure that the test names.
FIRST='
/^(not in the list|passes now)/ { getline; print; named = 1; exit }
/^never met/ { print; named = 1; exit }
/panicked at/ { next_line = NR + 1 }
NR == next_line { message = $0 }
END { if (!named) print message }
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
