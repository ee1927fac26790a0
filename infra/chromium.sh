#!/usr/bin/env bash
# Install Chromium for the browser tests from the system's packages, as root by apt. The headless shell is preferred,
# because it takes half the time of the whole browser. Never fails: without a browser those tests are skipped.
set -uo pipefail
for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the browser tests ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update </dev/null >/dev/null
    for package in chromium-headless-shell chromium; do
        apt-get -qq install -y --no-install-recommends "$package" </dev/null >/dev/null 2>&1 && exit 0
    done
fi
echo "There is no Chromium: the browser tests are skipped. To run them, install the system's package chromium."
