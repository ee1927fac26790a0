#!/usr/bin/env bash
# Resolves uv.lock from pyproject.toml (options are uv's, such as --upgrade) and exports the files that pip reads.
# With --check it changes nothing, needs no network, and fails where the lock or an export is out of step.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."
if [ ! -x .uv/bin/uv ]; then
    echo "uv is missing (.uv/bin/uv): run \`make venv\`, which installs it" >&2
    exit 1
fi
# The lock names the public registry, not a mirror that is set up on this machine.
unset UV_DEFAULT_INDEX UV_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS
check=false
[ "${1:-}" != --check ] || check=true

out_of_step() {
    echo "$1 is not in step with $2: run \`make lock\`" >&2
    exit 1
}

export_to() { # export_to FILE OPTIONS: a requirement is never written with an extra, which old pips refuse with hashes
    local content
    content=$(
        echo "# Exported from uv.lock by \`make lock\`. Change pyproject.toml instead."
        .uv/bin/uv export --quiet --frozen --no-header --no-emit-project "${@:2}"
    )
    if $check; then
        [ "$content" = "$(cat "$1")" ] || out_of_step "$1" uv.lock
    else
        echo "$content" >"$1"
    fi
}

if $check; then
    .uv/bin/uv lock --check --offline --quiet || out_of_step uv.lock pyproject.toml
else
    .uv/bin/uv lock "$@"
fi
export_to requirements.txt --no-default-groups
export_to training_job/requirements.txt --only-group training
export_to infra/uv.txt --only-group uv
