#!/usr/bin/env bash
# Chromium for the browser tests: the system's own package, since a browser downloaded by Playwright cannot be relied on.
# Never fails: without a browser those tests are skipped and say so.
set -uo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the browser tests ..."
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } \
        </dev/null >/dev/null && exit 0
fi
echo "No Chromium here: the browser tests will be skipped (install the system's package chromium to run them)."
