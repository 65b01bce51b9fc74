#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measure everything that needs a GPU, unattended, in under nine minutes; no network, no ROS and no
# simulator is needed. `bench/gpu.sh --help` says more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python3}" bench/gpu/run.py "$@"
