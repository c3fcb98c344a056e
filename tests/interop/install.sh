#!/usr/bin/env bash
# install.sh: installs what the peers need and the machine lacks. Programs come from apt, which
# needs root; libraries go to target/peers, where a second call does nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$here/target/peers
mkdir -p "$dir"
exec 9>"$dir/lock"
flock 9

missing=()
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
java --list-modules 2>/dev/null | grep -q '^jdk.compiler' || missing+=(default-jdk-headless)
command -v chromium >/dev/null || missing+=(chromium)
if [ "${#missing[@]}" -gt 0 ]; then
  began=$SECONDS
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
  echo "apt: ${missing[*]}: $((SECONDS - began)) s"
fi

# once NAME FILE... -- COMMAND...: runs the command unless it has run with the same files.
once() {
  local name=$1 began=$SECONDS inputs files=()
  shift
  while [ "$1" != -- ]; do
    files+=("$1")
    shift
  done
  shift
  inputs=$(cat "$here/install.sh" "${files[@]}" | sha256sum)
  [ "$(cat "$dir/$name.stamp" 2>/dev/null)" != "$inputs" ] || return 0
  rm -rf "${dir:?}/$name"
  "$@"
  echo "$inputs" >"$dir/$name.stamp"
  echo "$name: $((SECONDS - began)) s"
}

venv() {
  python3 -m venv "$dir/venv"
  "$dir/venv/bin/pip" --quiet --disable-pip-version-check --no-input install \
    --only-binary :all: --no-deps --requirement "$here/peers/requirements.txt"
}

node() {
  mkdir "$dir/node"
  cp "$here/peers/package.json" "$here/peers/package-lock.json" "$dir/node"
  npm ci --prefix "$dir/node" --silent --no-audit --no-fund
}

once venv "$here/peers/requirements.txt" -- venv
once node "$here/peers/package.json" "$here/peers/package-lock.json" -- node
