#!/usr/bin/env bash
# Write locks/*.txt anew from pyproject.toml: versions and hashes for Python 3.11 to 3.13, no download addresses.
# Needs uv (`pip install uv`). Run it after changing a dependency and commit the result.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() { # name, options for uv
  local name=$1; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
    --no-annotate --upgrade "$@" pyproject.toml --output-file "locks/$name.txt"
}
lock device
lock window --extra window
lock coordinator --extra coordinator
lock demo --extra demo
lock dev --extra dev
