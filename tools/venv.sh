#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make .venv and install the package and the named extras into it, pinned by constraints.txt.
#     tools/venv.sh sim,ros          what the demo needs
#     tools/venv.sh sim,ros,dev      and what tests and checks need
# Run it again after an interruption: it goes on from what is there. PYTHON names an interpreter.
set -eu
cd "$(dirname "$0")/.."
extras=$1
venv=.venv
bootstrap=.uv # holds uv, and the Python it fetches, where no Python of this machine fits

say() { printf '%s\n' "$*"; }
fail() {
    printf 'smwm_ros: %s\n' "$*" >&2
    exit 1
}
minor() { # of Python 3; 0 where there is none
    "$1" -c 'import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else 0)' 2>/dev/null ||
        echo 0
}
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
has_compiler() {
    command -v g++ >/dev/null 2>&1 &&
        "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}
need_venv() {
    has_venv "$1" || fail "$1 lacks the venv module; on Debian and Ubuntu: sudo apt install python3-venv"
}

# Sets $python. pybullet has ready wheels for CPython 3.10 and 3.11 only, so those come first.
choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        python=$PYTHON
        [ "$(minor "$python")" -ge 10 ] || fail "PYTHON=$python: expected Python 3.10 or newer"
        need_venv "$python"
        return
    fi
    command -v python3 >/dev/null 2>&1 ||
        fail 'python3 is missing; on Debian and Ubuntu: sudo apt install python3 python3-venv'
    for python in python3 python3.11 python3.10; do
        case $(minor "$python") in
            10 | 11) if has_venv "$python"; then return; fi ;;
        esac
    done
    python=python3
    need_venv python3
    if [ "$(minor python3)" -ge 12 ] && has_compiler python3; then
        say "Python 3.$(minor python3) has no ready pybullet; pip will build it, which takes minutes."
        return
    fi
    fetch_python
}

# Sets $python to a Python 3.11 that uv fetches; nothing outside this folder changes.
fetch_python() {
    say 'No Python 3.10 or 3.11 here, for which pybullet has ready wheels, and no way to build it:'
    say 'fetching a Python 3.11 of its own with uv.'
    export UV_PYTHON_INSTALL_DIR="$PWD/$bootstrap/python"
    [ -x "$bootstrap/venv/bin/uv" ] ||
        { python3 -m venv --clear "$bootstrap/venv" && "$bootstrap/venv/bin/python" -m pip install \
            --quiet --disable-pip-version-check --constraint constraints.txt uv; } ||
        fail 'uv could not be installed; install python3.11 and python3.11-venv, or g++ and python3-dev'
    "$bootstrap/venv/bin/uv" python install --no-bin 3.11 &&
        python=$("$bootstrap/venv/bin/uv" python find --managed-python --no-project 3.11) ||
        fail 'uv could not fetch Python 3.11; install python3.11 and python3.11-venv, or g++ and python3-dev'
}

# pip prints each package and file: on a terminal they share one line, and a log gets the large ones.
follow() {
    count=0
    while read -r word name rest; do
        case "$word $name" in
            Collecting*) count=$((count + 1)) now="$count packages: $name" ;;
            Downloading*) now="downloading $name $rest" ;;
            'Building wheel'*) now="building $name $rest" ;;
            'Installing collected') now="installing $count packages" ;;
            *) continue ;;
        esac
        if [ -n "$terminal" ]; then
            printf '\r\033[K  %.90s' "$now"
            continue
        fi
        case "$word $rest" in
            Downloading*\([0-9][0-9][0-9].*MB\) | Installing*) say "  $now" ;;
        esac
    done
    if [ -n "$terminal" ]; then printf '\r\033[K'; fi
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    choose_python
    say "Making $venv with $("$python" --version)."
    "$python" -m venv --clear "$venv" || { rm -rf "$venv"; fail "$python could not make $venv"; }
fi

say "Installing smwm_ros with the extras $extras, all versions pinned (first time: minutes)."
terminal=
if [ -t 1 ]; then terminal=1; fi
failed=$venv/failed
rm -f "$failed"
{
    "$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
        --constraint constraints.txt --editable ".[$extras]" || : >"$failed"
} | follow
if [ -e "$failed" ]; then
    rm -f "$failed"
    fail 'pip could not install everything (its reason is above); run the same command again to go on'
fi
say "Installed; $venv is ready."
