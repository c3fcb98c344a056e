#!/usr/bin/env bash
# ci.sh [--deflate]: everything on tokio, sections 1 to 7 and 10 on std and mio, both roles each,
# and the sums at the end. --deflate adds sections 12 and 13 on tokio.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT

failed=
run() {
  "$here/run.sh" "$@" 2>&1 | tee -a "$log" || failed=yes
}
run --runtime tokio "$@"
run --runtime std --sections 1-7,10
run --runtime mio --sections 1-7,10

printf '\nautobahn, in %d s:\n' "$SECONDS"
grep acceptable "$log" || failed=yes
[ -z "$failed" ]
