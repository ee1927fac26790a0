#!/usr/bin/env bash
# Install the programs that some tests need, Chromium and PgBouncer, from the system's packages, as root by apt. The
# headless shell is preferred, because it takes half the time of the whole browser. Never fails: tests without their
# program are skipped.
set -uo pipefail
PATH=$PATH:/usr/sbin

have() {
    for name in "$@"; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

# install WHAT-FOR PROGRAM... -- PACKAGE...: install the first package that there is, unless a program is there.
install() {
    local what=$1 programs=()
    shift
    while [ "$1" != -- ]; do programs+=("$1"); shift; done
    shift
    have "${programs[@]}" && return
    if [ "$(id -u)" = 0 ] && have apt-get; then
        echo "Installing $1 for the tests of $what ..."
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update </dev/null >/dev/null
        for package in "$@"; do
            apt-get -qq install -y --no-install-recommends "$package" </dev/null >/dev/null 2>&1 && return
        done
    fi
    echo "The tests of $what are skipped. To run them, install the system's package ${*: -1}."
}

install "the pages" chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable -- \
    chromium-headless-shell chromium
install "connection poolers" pgbouncer -- pgbouncer
exit 0
