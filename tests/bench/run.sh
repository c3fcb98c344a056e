#!/usr/bin/env bash
# Builds the benches, runs all of them, some six minutes, and writes RESULTS.md, AIMS.md, results/,
# the two drawings of growth and five rows of the project's README.
#
#   tests/bench/run.sh           the figures
#   tests/bench/run.sh --quick   whether everything still runs, in some two minutes; below target/
#
# Servers run on the second core and loads on the first, so leave the machine alone meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

quick=
case ${1-} in
  '') ;;
  --quick) quick=1 ;;
  *)
    echo "usage: run.sh [--quick]" >&2
    exit 2
    ;;
esac
if [ "$(nproc)" -lt 2 ]; then
  echo "run.sh: servers and loads need a core each" >&2
  exit 1
fi

cargo build --release --locked --bins

if [ "$quick" ]; then
  out=target/quick
  in_memory=(--rounds 2)
  loopback=(--rounds 1 --seconds 0.2)
  idle=(--connections 1000 --carriers 20)
  heartbeats=(--connections 1000 --rounds 1 --seconds 2)
  connections=(--counts 100,1000 --rounds 1 --seconds 0.2)
  growth=(--rounds 1)
else
  out=.
  in_memory=()
  loopback=(--rounds 5)
  idle=()
  heartbeats=(--rounds 1)
  connections=(--rounds 1)
  growth=()
fi
results=$out/results
rm -rf "$results"
mkdir -p "$results"
# Beside the last one, which stays if this run fails.
report=$results/RESULTS.md

machine() {
  local model
  model=$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)
  printf '%s, %s cores' "$model" "$(nproc)"
  if command -v systemd-detect-virt >/dev/null && systemd-detect-virt --quiet --vm; then
    printf ' of a virtual machine (%s)' "$(systemd-detect-virt)"
  elif grep -qw hypervisor /proc/cpuinfo; then
    printf ' of a virtual machine'
  fi
  printf ', %s GB, Linux %s, %s' "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1e6 }' /proc/meminfo)" \
    "$(uname -r)" "$(rustc --version)"
}

version() {
  awk -v name="$1" '$0 == "name = \"" name "\"" { getline; gsub(/"/, ""); print name " " $3 }' Cargo.lock
}

# part BENCH TITLE [ARGUMENT..]
part() {
  local bench=$1 title=$2 began=$SECONDS
  shift 2
  printf '\n## %s\n\n' "$title" >>"$report"
  "target/release/$bench" "$@" --results "$results/$bench.jsonl" >>"$report"
  printf -- '-- %s: %d s\n' "$bench" $((SECONDS - began)) >&2
}

SECONDS=0
load=$(cut -d ' ' -f 1 /proc/loadavg)
{
  printf '# What the benches measured\n\n'
  if [ "$quick" ]; then
    printf 'This was a quick pass, which shows that the benches run. Its figures mean nothing.\n\n'
  fi
  printf 'Written by [`run.sh`](run.sh); [README.md](README.md) says how to read it. All figures are of one run, medians over rounds in which the contestants take turns.\n\n'
  printf '%s. Load before the run: %s.\n\n' "$(machine)" "$load"
  printf 'Peers:'
  separator=' '
  for peer in tungstenite tokio-tungstenite fastwebsockets tokio-websockets sockudo-ws; do
    printf '%s%s' "$separator" "$(version "$peer")"
    separator=', '
  done
  printf '; tokio and mio: %s, %s.\n' "$(version tokio)" "$(version mio)"
} >"$report"

part in_memory 'In memory' "${in_memory[@]}"
part loopback 'Echo over loopback: connections x bytes x messages in flight' "${loopback[@]}"
part idle 'Memory of open connections' "${idle[@]}"
part heartbeats 'Heartbeats' "${heartbeats[@]}"
part connections 'Growth over connections' "${connections[@]}" --svg "$out/connections.svg"
part growth 'Growth over sizes, fragments and hours' "${growth[@]}" --svg "$out/growth.svg"
mv "$report" "$out/RESULTS.md"
[ "$quick" ] || ./reach.py "$results" AIMS.md ../../README.md "$(machine); medians of one run."
printf -- '-- all: %d s; see tests/bench/%s\n' "$SECONDS" "$out/RESULTS.md" >&2
