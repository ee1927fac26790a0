#!/usr/bin/env bash
# Makes .venv with the newest of Python 3.13, 3.12 and 3.11 that really runs, and installs the locked packages in it.
# Safe to run again: an interrupted install goes on where it stopped, a virtual environment that is broken is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH

usable() { # usable COMMAND MINOR: does it run, is it 3.MINOR, and can it make virtual environments?
    "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $2))" >/dev/null 2>&1
}

find_python() {
    local minor candidate
    if [ -n "${PYTHON:-}" ]; then
        for minor in 13 12 11; do
            if usable "$PYTHON" "$minor"; then echo "$PYTHON"; return; fi
        done
        echo "PYTHON=$PYTHON does not run, is not Python 3.11 to 3.13, or lacks the modules venv and ensurepip" >&2
        return 1
    fi
    for minor in 13 12 11; do
        # A name on PATH may be a version manager's shim that only prints an error, so every candidate is tried.
        for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python3 \
            /usr/local/bin/python3."$minor" /opt/homebrew/bin/python3."$minor" /usr/bin/python3."$minor" python3 python; do
            if usable "$candidate" "$minor"; then echo "$candidate"; return; fi
        done
    done
    echo "No usable Python found: install Python 3.13, 3.12 or 3.11 (on Debian and Ubuntu with its -venv package)," >&2
    echo "or name one: make PYTHON=/path/to/python3" >&2
    return 1
}

if ! .venv/bin/python -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi

echo "Installing the locked packages (the first time a few minutes and about half a gigabyte) ..."
pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input install)
"${pip[@]}" --require-hashes -r requirements-dev.txt |
    awk '/^ *(Downloading|Installing|Successfully|Building)/ { if (length($0) > 150) $0 = substr($0, 1, 147) "..."; print; fflush() }'
"${pip[@]}" --quiet --no-deps --no-build-isolation --editable .
pwd >.venv/.installed
