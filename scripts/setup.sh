#!/usr/bin/env bash
# Prepare .venv for one purpose: scripts/setup.sh demo|dev. Run by `make demo` and `make test`; quick when nothing changed.
#   demo  the keyboard window, headless devices and the coordinator (TensorFlow left out: model v0 ships built)
#   dev   the same, and TensorFlow for authoring, and the test and lint tools
# System libraries that Kivy needs are installed with apt where this user may; otherwise the exact line is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:?usage: scripts/setup.sh demo|dev}
python=${PYTHON:-python3}
venv=.venv

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

"$python" - <<'CHECK' || fail "Python 3.11, 3.12 or 3.13 is needed. Name one with: make PYTHON=/path/to/python3.12 ..."
import sys
sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))
CHECK

missing=()
have_library() { { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -q "$1"; }
needs_window=yes
[ "$purpose" = demo ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && needs_window=no
if [ "$(uname -s)" = Linux ] && [ "$needs_window" = yes ]; then
  have_library 'libGL\.so\.1' || missing+=(libgl1)
  have_library 'libEGL\.so\.1' || missing+=(libegl1)
fi
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  line="apt-get install -y --no-install-recommends ${missing[*]}"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing system libraries: ${missing[*]}"
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive $line >/dev/null
  else
    fail "System libraries are missing. Install them with:
    sudo $line
then run the same make command again."
  fi
fi

# Tests against a real PostgreSQL and in a real browser; without them those tests are skipped.
if [ "$purpose" = dev ] && [ "$(uname -s)" = Linux ]; then
  wished=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || wished+=(postgresql)
  command -v chromium >/dev/null || command -v google-chrome >/dev/null || wished+=(chromium)
  if [ ${#wished[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "Installing for the tests: ${wished[*]}"
      apt-get update -q >/dev/null || true
      for package in "${wished[@]}"; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package" >/dev/null \
          || echo "$package could not be installed: the tests that need it are skipped"
      done
    else
      echo "Some tests are skipped without: ${wished[*]} (sudo apt-get install -y ${wished[*]})"
    fi
  fi
fi

stamp="$venv/.ready-$purpose"
wanted=$(cat "locks/$purpose.txt" pyproject.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  [ -x "$venv/bin/python" ] || { echo "Creating $venv"; "$python" -m venv "$venv"; }
  echo "Installing $(grep -cE '^[a-z0-9]' "locks/$purpose.txt") locked packages from locks/$purpose.txt into $venv (a minute or two)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "locks/$purpose.txt"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -e . 2>"$venv/install.log" \
    || fail "Installing the project itself failed: $(tail -5 "$venv/install.log")"
  echo "$wanted" > "$stamp"
fi
