#!/usr/bin/env bash
# run.sh [CASE...]: puts the cases to wspulse in both roles, prints both reports, and
# fails if a case is not good or was not run. Without a CASE: sections 1 to 7 and 10,
# which are 247 cases. Reports with wire logs go to autobahn/{server,client} in the
# target directory.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}
reports=$target/autobahn

cases=("$@")
at_least=1
if [ $# -eq 0 ]; then
  cases=('1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' '10.*')
  at_least=247
fi

# start LOG COMMAND...: runs it in the background, sets $pid, and sets $port once it is listening.
pids=()
start() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  pids+=("$pid")
  for _ in $(seq 200); do
    port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$log")
    [ -z "$port" ] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "$1 does not listen; it said:" >&2
  cat "$log" >&2
  exit 1
}

stop() {
  kill "$pid"
  wait "$pid" 2>/dev/null || true
  pids=()
}
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

# judge ROLE COMMAND...: runs the command, which prints the report of this role.
failed=
judge() {
  local role=$1
  shift
  "$@" || failed=yes
  local count
  count=$(wc -l <"$reports/$role/cases.txt")
  if [ "$count" -lt "$at_least" ]; then
    echo "$count cases, not $at_least" >&2
    failed=yes
  fi
}

cargo build --release --locked -p wspulse -p wspulse-tests --bins --example autobahn_client
"$here/install.sh" >&2
rm -rf "$reports"
mkdir -p "$reports"

echo "wspulse as the server"
start "$reports/echo.log" "$target/release/wspulse" echo --listen 127.0.0.1:0
judge server "$here/fuzzingclient.sh" "ws://127.0.0.1:$port" wspulse "$reports/server" "${cases[@]}"
stop

echo "wspulse as the client"
start "$reports/fuzzingserver.log" "$here/fuzzingserver.sh" 0 "$reports/client" "${cases[@]}"
if ! timeout 3600 "$target/release/examples/autobahn_client" "ws://127.0.0.1:$port" wspulse 8 >"$reports/client.log" 2>&1; then
  echo "the client failed; its last words:" >&2
  tail -n 5 "$reports/client.log" >&2
  failed=yes
fi
stop
judge client "$here/report.py" "$reports/client"

if [ -n "$failed" ]; then
  echo "autobahn: FAILED; see $reports" >&2
  exit 1
fi
