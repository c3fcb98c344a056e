#!/usr/bin/env bash
# Searches the worlds of tests/src/world as deep as a budget of states allows, in release: first the
# shipped heartbeat, then the reference.
#
#   tests/world.sh                5,000,000 states in each world at most
#   tests/world.sh 20000000       so many
#   tests/world.sh 5000000 idle   only worlds whose name holds "idle"
#
# Status 1 if an oracle fell that tests/tests/world/known.txt does not have. Two worlds are searched
# at a time, in some 2 GB of memory each; a world that runs out of room ends at the last level that
# was searched whole.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(cargo metadata --format-version 1 --no-deps --locked |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
cargo build --locked --release -p wspulse-tests --no-default-features --example world
status=0
for engine in shipped reference; do
  echo "== $engine"
  "$target/release/examples/world" "$engine" "${1:-5000000}" "${2:-}" || status=$?
done
exit "$status"
