# SPDX-License-Identifier: Apache-2.0
"""
Check this machine: what is installed and set, what is missing, and what to do about it.

Each line says ok, remark or PROBLEM. A remark may matter, and a problem will. With RUN it also
loads the model of a run, and compares the time of a plan with the control period. It exits with 1
if there is a problem.
"""

from __future__ import annotations

import argparse
from collections import Counter
import json
import os
from pathlib import Path

from smwm_ros.text import count_of, echo, echo_raw

EXAMPLE = 'smwm doctor runs/mine'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        'run_folder', type=Path, nargs='?', metavar='RUN', help='run folder of smwm train'
    )
    parser.add_argument('--json', action='store_true', help='print one JSON object per line')


def run(args: argparse.Namespace) -> int:
    """Print the findings as they come."""
    from smwm_ros.doctor.examination import examine
    from smwm_ros.doctor.findings import Machine, PROBLEM, REMARK

    count = Counter[str]()
    for one in examine(Machine(dict(os.environ)), args.run_folder):
        count[one.state] += 1
        if args.json:
            echo_raw(json.dumps(one._asdict()))
            continue
        state = one.state.upper() if one.state == PROBLEM else one.state
        echo(f'{state:8} {one.name}: {one.found}')
        if one.remedy:
            echo(f'         -> {one.remedy}')
    if not args.json:
        echo(f'{count_of(count[PROBLEM], "problem")}, {count_of(count[REMARK], "remark")}')
    return int(count[PROBLEM] > 0)
