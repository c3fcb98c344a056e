#!/usr/bin/env bash
# fuzzingserver.sh PORT REPORT [CASE...]: serves the cases on 127.0.0.1:PORT to
# the clients that come, until it is killed; 'listening on' says that it is up,
# and where if PORT is 0.
# A client has its report written by /updateReports; report.py REPORT prints it.
# SHARE=K/N serves the Kth of N shares of the cases: for N servers at once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
port=$1 report=$2
shift 2
dir=${AUTOBAHN_DIR:-$HOME/.cache/autobahn-testsuite}
"$here/install.sh" "$dir" >&2

"$dir/bin/python" "$here/spec.py" "$report" "ws://127.0.0.1:$port" "" "${SHARE:-1/1}" "$@"
exec "$dir/bin/wstest" --mode fuzzingserver --webport 0 --spec "$report/1/spec.json" > >(exec tee "$report/1/wstest.log") 2>&1
