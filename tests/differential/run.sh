#!/usr/bin/env bash
# run.sh [STREAMS]: the same random streams (100,000 if nothing else is said) into wspulse and into
# the Sans-I/O layer of Python's websockets. Prints how many differ in which way; fails if one
# differs in a way that is not in tests/src/differential/classes.rs. DIFFERENTIAL_BASE chooses
# other streams, DIFFERENTIAL_SEED replays one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}
cargo build --profile test --locked -p wspulse-tests --no-default-features --example differential
"$here/install.sh" "$target/differential-venv"
exec "$target/debug/examples/differential" "$target/differential-venv/bin/python" "$here/replay.py" "$@"
