#!/usr/bin/env bash
# run.sh [--runtime tokio|std|mio] [--role server|client|both] [--sections LIST] [--deflate] [CASE...]
#
# Puts Autobahn's cases to wspulse, in both roles at the same time, prints a report of each role,
# and fails if a case is not good or was not run. LIST is such as 1-7,10; without it and without
# a CASE the sections are 1-7,9,10, which are 301 cases; --deflate adds 12 and 13, another 216,
# and has the client offer permessage-deflate. A CASE is a number or a pattern: 7.1.5 '6.*'.
# Reports with wire logs go to autobahn/RUNTIME/{server,client} in the target directory.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$here/run.sh" >&2
  exit 2
}

runtime=tokio role=both sections= deflate=
cases=()
while [ $# -gt 0 ]; do
  case $1 in
    --runtime) runtime=${2:-} && shift ;;
    --role) role=${2:-} && shift ;;
    --sections) sections=${2:-} && shift ;;
    --deflate) deflate=--deflate ;;
    -*) usage ;;
    *) cases+=("$1") ;;
  esac
  shift || usage
done
[[ $runtime =~ ^(tokio|std|mio)$ && $role =~ ^(server|client|both)$ ]] || usage

# How many cases each section has: a suite that lost some must not pass.
declare -A size=([1]=16 [2]=11 [3]=7 [4]=10 [5]=20 [6]=145 [7]=37 [9]=54 [10]=1 [12]=90 [13]=126)
at_least=${#cases[@]}
if [ -z "$sections" ] && [ ${#cases[@]} -eq 0 ]; then
  sections=1-7,9,10${deflate:+,12,13}
fi
for range in ${sections//,/ }; do
  [[ $range =~ ^[0-9]+(-[0-9]+)?$ ]] || usage
  for section in $(seq "${range%-*}" "${range#*-}"); do
    [ -n "${size[$section]:-}" ] || { echo "there is no section $section" >&2; exit 2; }
    cases+=("$section.*")
    at_least=$((at_least + size[$section]))
  done
done

cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}
reports=$target/autobahn/$runtime
cargo build --release --locked -p wspulse-cli -p wspulse-tests --bins --example autobahn_client
"$here/install.sh" >&2
rm -rf "$reports"
mkdir -p "$reports"

# Each role is a subshell, which ends what it started.
pids=()
stop() {
  local pid
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  pids=()
}

# start LOG COMMAND...: runs it in the background, and sets $port once it is listening.
start() {
  local log=$1 pid
  shift
  : >"$log"
  "$@" >"$log" 2>&1 &
  pid=$!
  pids+=("$pid")
  for _ in $(seq 200); do
    port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$log")
    [ -z "$port" ] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "$1 does not listen; it said:"
  cat "$log"
  exit 1
}

# The suite gives up on each case in its own time; this is for a peer that spins.
patience=1800

as_server() {
  trap stop EXIT
  start "$reports/echo.log" "$target/release/wspulse" echo --listen 127.0.0.1:0 --runtime "$runtime"
  NAME="wspulse as the server, on $runtime" timeout "$patience" \
    "$here/fuzzingclient.sh" "ws://127.0.0.1:$port" wspulse "$reports/server" "${cases[@]}" &
  pids+=("$!")
  wait "$!"
}

# Two fuzzing servers, each with a client of its own: the suite has one thread, and large messages
# and deflate keep it busy. Beside those it misses its own deadlines, so they come one at a time.
as_client() {
  trap stop EXIT
  local fast=() slow=() failed=
  for one in "${cases[@]}"; do
    if [[ $one =~ ^([1-7]|10)\. ]]; then fast+=("$one"); else slow+=("$one"); fi
  done
  [ ${#fast[@]} -eq 0 ] || meet fast 8 "${fast[@]}" || failed=yes
  [ ${#slow[@]} -eq 0 ] || meet slow 1 "${slow[@]}" || failed=yes
  "$here/report.py" --name "wspulse as the client, on $runtime" "$reports"/client/* || failed=yes
  [ -z "$failed" ]
}

# meet NAME PARALLEL CASE...: has the clients run these cases, each so many at a time.
meet() {
  local name=$1 parallel=$2 share log clients=() failed=
  shift 2
  for share in 1 2; do
    mkdir -p "$reports/client/$name.$share"
    start "$reports/fuzzingserver.$name.$share.log" \
      env SHARE=$share/2 "$here/fuzzingserver.sh" 0 "$reports/client/$name.$share" "$@"
    timeout "$patience" "$target/release/examples/autobahn_client" $deflate \
      "$runtime" "ws://127.0.0.1:$port" wspulse "$parallel" >"$reports/client.$name.$share.log" 2>&1 &
    clients+=("$!")
    pids+=("$!")
  done
  for share in 1 2; do
    log=$reports/client.$name.$share.log
    if ! wait "${clients[share - 1]}"; then
      echo "the client failed; its last words:"
      tail -n 5 "$log"
      failed=yes
    fi
  done
  stop
  [ -z "$failed" ]
}

began=$SECONDS
declare -A waits=()
for one in server client; do
  if [[ $role =~ ^($one|both)$ ]]; then
    (as_$one) >"$reports/$one.txt" 2>&1 &
    waits[$one]=$!
  fi
done
# What a signal ends, it ends with the roles.
trap 'kill "${waits[@]}" 2>/dev/null || true' EXIT
failed=
for one in server client; do
  [ -n "${waits[$one]:-}" ] || continue
  wait "${waits[$one]}" || failed=yes
  cat "$reports/$one.txt"
  count=$(cat "$reports/$one/cases.txt" "$reports/$one"/*/cases.txt 2>/dev/null | sort -u | grep -c .) || true
  if [ "$count" -lt "$at_least" ]; then
    echo "$count cases, not $at_least" >&2
    failed=yes
  fi
done
trap - EXIT
echo "took $((SECONDS - began)) s"
if [ -n "$failed" ]; then
  echo "autobahn: FAILED; see $reports" >&2
  exit 1
fi
