# SPDX-License-Identifier: Apache-2.0
"""
Run the benchmarks and store their figures.

Each benchmark is a script in bench/ of the source tree and can run alone. Without names, all run.
Figures are stored in docs/results.json, from which `make docs` writes docs/results.md. --import
adds the rows that a benchmark printed with --json on another machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import nullcontext
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from smwm_ros.data.stored import mismatch
from smwm_ros.errors import did_you_mean, one_line, SmwmError
from smwm_ros.lock import hold_name
from smwm_ros.text import count_of, echo, echo_raw

EXAMPLE = 'smwm bench --quick convert planner'
Row = dict[str, Any]
SHAPE = {
    **dict.fromkeys(('measure', 'unit', 'target', 'peer', 'machine', 'when', 'code'), str),
    **{'value': float, 'peer_value': Any, 'ratio': Any, 'interval': Any},
}
ROOT = Path(__file__).resolve().parents[2]
BY_ARENA = ('actor', 'history', 'paper_worlds', 'transfer')  # these can measure one arena alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('names', nargs='*', metavar='NAME', help='benchmarks (default: all)')
    parser.add_argument(
        '--quick', action='store_true', help='under a minute each; figures are not stored'
    )
    parser.add_argument(
        '--import',
        dest='files',
        nargs='+',
        metavar='FILE',
        default=[],
        help='run nothing; import printed rows from these files',
    )


def run(args: argparse.Namespace) -> int:
    """Run the named benchmarks one after the other."""
    scripts = {
        path.stem: path for path in sorted(ROOT.glob('bench/*.py')) if path.stem != 'common'
    }
    if not scripts:
        raise SmwmError(f'{ROOT}: no bench/ folder; run benchmarks from the source tree')
    for name in args.names:
        if name not in scripts:
            raise SmwmError(f'{name}: no such benchmark; {did_you_mean(name, scripts)}')
    results = ROOT / 'docs' / 'results.json'
    if args.files:
        if args.names or args.quick:
            raise SmwmError('--import takes files only, without names or --quick')
        imported = _rows_of(args.files, scripts)
        with hold_name(results):
            for name, rows in imported.items():
                _store(results, name, rows)
                echo(f'{name}: {count_of(len(rows), "row")}')
        return 0
    with nullcontext() if args.quick else hold_name(results):
        for name in args.names or scripts:
            echo(f'bench/{name}.py')
            rows = _measure(scripts[name], args.quick)
            if not args.quick:
                _store(results, name, rows)
    return 0


def _rows_of(files: list[str], scripts: Iterable[str]) -> dict[str, list[Row]]:
    """Read rows from files; return them by benchmark."""
    found: dict[str, list[Row]] = {}
    for file in files:
        try:
            lines = Path(file).read_text(encoding='utf-8').splitlines()
        except (OSError, ValueError) as error:
            raise SmwmError(f'{file}: cannot be read: {error}') from error
        for number, line in enumerate(lines, 1):
            name, row = _row(line, f'{file}, line {number}')
            if name not in scripts:
                raise SmwmError(
                    f'{file}, line {number}: {name}: no such benchmark; '
                    f'{did_you_mean(name, scripts)}'
                )
            found.setdefault(name, []).append(row)
    return found


def _row(line: str, where: str) -> tuple[str, Row]:
    """Parse a printed row; return its benchmark and the row."""
    try:
        row = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise SmwmError(f'{where}: not a row of a benchmark: {one_line(error)}') from error
    if reason := mismatch(row, SHAPE, 'the row'):
        raise SmwmError(f'{where}: not a row of a benchmark: {reason}')
    return row['measure'].partition('.')[0], row


def _refuse(constant: str) -> None:
    raise ValueError(f'{constant} is not a number')


def _measure(script: Path, quick: bool) -> list[Row]:
    """Run one benchmark, print its rows as they arrive, and return them."""
    command = [sys.executable, str(script), '--json', *(['--quick'] if quick else [])]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            echo_raw(f'  {line.rstrip()}')
            rows.append(json.loads(line))
    if process.returncode:
        raise SmwmError(f'{script.name}: exit code {process.returncode}; see its output above')
    return rows


def _store(path: Path, name: str, rows: list[Row]) -> None:
    """Replace the rows of the same runs in the results file."""
    from smwm_ros.pages.html import write_text  # imports numpy and OpenCV

    results = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else {}
    runs = {run_of(row['measure']) for row in rows}
    kept = [row for row in results.get(name, []) if run_of(row['measure']) not in runs]
    results[name] = sorted([*kept, *rows], key=lambda row: run_of(row['measure']))
    write_text(path, json.dumps(dict(sorted(results.items())), indent=1) + '\n')


def run_of(measure: str) -> tuple[bool, str]:
    """Return whether a run on a GPU yields a measure, and the arena if it measures one alone."""
    bench, *rest = measure.split('.')
    return 'cuda' in measure, rest[0] if bench in BY_ARENA else ''
