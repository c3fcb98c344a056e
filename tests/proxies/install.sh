#!/usr/bin/env bash
# install.sh: installs Debian's nginx and HAProxy where they are missing, as root. Their system
# services are not started: the tests start what they need on ports of their own.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
for package in nginx haproxy; do
  command -v "$package" >/dev/null || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
  exit
fi

# While this says 101, packages start no services (invoke-rc.d(8)). One that is there already is
# somebody else's, and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
