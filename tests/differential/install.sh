#!/usr/bin/env bash
# install.sh DIR: puts Python's websockets into a venv in DIR. Does nothing unless what it
# installs has changed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$1
python=${PYTHON:-python3}

stamp=$dir/.installed
inputs=$({ "$python" --version; cat "$here/install.sh" "$here/requirements.txt"; } | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ]; then
  exit
fi
rm -rf "$dir"
"$python" -m venv "$dir" || { echo "needs Python 3.10 or later with venv (Debian: python3-venv)" >&2; exit 1; }
"$dir/bin/pip" --quiet --disable-pip-version-check --no-input install --only-binary :all: --requirement "$here/requirements.txt"
echo "$inputs" >"$stamp"
