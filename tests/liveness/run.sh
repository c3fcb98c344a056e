#!/usr/bin/env bash
# run.sh: plays the scenarios of liveness and prints the grid; `run.sh --help` says more. Needs
# root, iproute2, iptables and unshare (util-linux). Fails when a counted cell fails that is not
# listed in known.txt, and when a listed one passes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=${CARGO_TARGET_DIR:-target}
cargo build --locked
# A run that hangs is a failure, and ends.
exec timeout --kill-after=10 7200 "$target/debug/wspulse-liveness" "$@"
