#!/usr/bin/env bash
# run.sh: random traffic against tokio-tungstenite and Python's websockets, for
# WSPULSE_SOAK_SECONDS (5 s if that is not set; 600 in CI, 3600 by hand). Memory has to stay flat,
# which is judged from 300 s on; what stays when all is closed, always. WSPULSE_SOAK_SEED, which
# each run prints, chooses the traffic.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked
./install.sh "$target/venv"
# What hangs is a failure, and not for ever.
exec timeout --kill-after=10 $((${WSPULSE_SOAK_SECONDS:-5} + 300)) "$target/release/wspulse-soak" "$target/venv/bin/python"
