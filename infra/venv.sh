#!/usr/bin/env bash
# Makes .venv from uv.lock: the pip of a Python found here installs uv in .uv, by hash, and uv does the rest.
# Options are those of `uv sync`. After an interruption it starts again, with the files that uv already has in its cache.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV UV_PYTHON
# A user's settings for other projects, which pip and uv would take for this one.
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv

usable() { # usable COMMAND MINOR: is it Python 3.MINOR, and is there a way to pip?
    "$1" -c "
import sys
from importlib.util import find_spec as has
sys.exit(sys.version_info[:2] != (3, $2) or not (has('pip') or has('venv') and has('ensurepip')))" >/dev/null 2>&1
}

find_python() {
    local minor candidate
    if [ -n "${PYTHON:-}" ]; then
        for minor in 13 12 11; do
            if usable "$PYTHON" "$minor"; then echo "$PYTHON"; return; fi
        done
        echo "PYTHON=$PYTHON does not run, is not Python 3.11 to 3.13, or has no pip" \
            "(on Debian and Ubuntu: install python3-pip or python3-venv)." >&2
        return 1
    fi
    for minor in 13 12 11; do
        # A name on PATH may be a version manager's shim that only prints an error, so every candidate is tried.
        for candidate in "python3.$minor" "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3."$minor".*/bin/python3 \
            /usr/local/bin/python3."$minor" /opt/homebrew/bin/python3."$minor" /usr/bin/python3."$minor" python3 python; do
            if usable "$candidate" "$minor"; then echo "$candidate"; return; fi
        done
    done
    echo "No usable Python found: install Python 3.13, 3.12 or 3.11 with pip (on Debian and Ubuntu: python3-pip)," >&2
    echo "or name one: make PYTHON=/path/to/python3" >&2
    return 1
}

# The interpreter behind that of another virtual environment, which uv does not use when it is found on PATH.
base() { "$1" -c 'import sys; print(sys._base_executable or sys.executable)'; }

identity() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null; }

install_uv() { # install_uv PYTHON
    local pip=("$1" -m pip)
    echo "Installing uv in .uv ..."
    rm -rf .uv
    if ! "${pip[@]}" --version >/dev/null 2>&1; then
        "$1" -m venv .uv/pip
        pip=(.uv/pip/bin/python -m pip)
    fi
    "${pip[@]}" install -qq --target .uv --no-deps --require-hashes --only-binary :all: -r infra/uv.txt
    rm -rf .uv/pip
}

if [ "$(cat .venv/.installed 2>/dev/null)" != "$(pwd -P)" ] || ! identity .venv/bin/python >/dev/null ||
    { [ -n "${PYTHON:-}" ] && [ "$(identity "$PYTHON")" != "$(identity .venv/bin/python)" ]; }; then
    python=$(find_python)
    fresh=true
else
    python=.venv/bin/python
    fresh=false
fi
uv_version=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' infra/uv.txt)
case "$(.uv/bin/uv --version 2>/dev/null)" in
"uv $uv_version"*) ;;
*) install_uv "$python" ;;
esac
# Behind a company's proxy only the system knows the certificates. A small container has none: then uv uses its own.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS-$("$python" -c '
import os, ssl, sys
paths = ssl.get_default_verify_paths()
print(int(sys.platform == "darwin" or bool(paths.cafile or paths.capath and os.listdir(paths.capath))))')}"
if $fresh; then
    echo "Making .venv with $("$python" --version) ..."
    .uv/bin/uv venv --quiet --clear --python "$(base "$python")" .venv
    echo "Installing the locked packages (the first time half a gigabyte) ..."
fi
# The list of all packages, one a line, is left out.
.uv/bin/uv sync --frozen "$@" 2>&1 | awk '!/^ [-+~] /{ print; fflush() }'
