#!/usr/bin/env bash
# run.sh [WORD...]: puts wspulse and the peers through all cases, or those peers whose name
# holds one of the words. Prints a line for each peer and side, fails if a cell is red, and writes
# the table into tests/README.md when all have run.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/install.sh" >&2
cd "$here"
cargo build --release --locked
exec target/release/wspulse-interop "$@"
