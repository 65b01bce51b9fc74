# SPDX-License-Identifier: Apache-2.0
"""
Run the side-by-side benchmarks and write their figures down.

Each benchmark is a script in bench/ of the source tree and runs alone, too. Without names, all of
them run. The figures go to docs/results.json, from which `make docs` writes docs/results.md.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from smwm_ros.errors import did_you_mean, SmwmError
from smwm_ros.lock import hold_name
from smwm_ros.text import tell, tell_program

EXAMPLE = 'smwm bench --quick convert planner'
ROOT = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('names', nargs='*', metavar='NAME', help='benchmarks (default: all)')
    parser.add_argument(
        '--quick', action='store_true', help='under a minute each; figures are not written down'
    )


def run(args: argparse.Namespace) -> int:
    """Run the named benchmarks one after the other."""
    scripts = {
        path.stem: path for path in sorted(ROOT.glob('bench/*.py')) if path.stem != 'common'
    }
    if not scripts:
        raise SmwmError(f'{ROOT}: no bench/ here; benchmarks run from the source tree')
    for name in args.names:
        if name not in scripts:
            raise SmwmError(f'{name}: no such benchmark; {did_you_mean(name, scripts)}')
    results = ROOT / 'docs' / 'results.json'
    with nullcontext() if args.quick else hold_name(results):
        for name in args.names or scripts:
            tell(f'bench/{name}.py')
            rows = _measure(scripts[name], args.quick)
            if not args.quick:
                _write_down(results, name, rows)
    return 0


def _measure(script: Path, quick: bool) -> list[dict[str, Any]]:
    """Run one benchmark, show its rows as they come, and return them."""
    command = [sys.executable, str(script), '--json', *(['--quick'] if quick else [])]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tell_program(f'  {line.rstrip()}')
            rows.append(json.loads(line))
    if process.returncode:
        raise SmwmError(f'{script.name}: ended with {process.returncode}; its message is above')
    return rows


def _write_down(path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of one benchmark in the results file."""
    from smwm_ros.report import write_text  # imports numpy and OpenCV

    results = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    results[name] = rows
    write_text(path, json.dumps(dict(sorted(results.items())), indent=1) + '\n')
