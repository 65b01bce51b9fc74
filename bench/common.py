# SPDX-License-Identifier: Apache-2.0
"""Shared parts of all benchmarks: interleaved timing, the row that is printed, the targets."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
import json
import os
from pathlib import Path
import platform
import shutil
from statistics import median
import subprocess
import sys
import time
from typing import NamedTuple

from parts.fingerprint import fingerprint

# Measurements run without progress bars; tqdm reads this when it is imported, after this module.
os.environ['TQDM_DISABLE'] = '1'
# As the `smwm` command sets it; OpenMP reads it when torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
TARGETS = json.loads((Path(__file__).parent / 'targets.json').read_text(encoding='utf-8'))


class Row(NamedTuple):
    """One measured figure, as --json prints it."""

    measure: str
    value: float
    unit: str
    target: str = ''  # filled from targets.json by measure
    peer: str = ''  # what it was compared with, in the same run
    peer_value: float | None = None
    ratio: float | None = None  # ours to the peer's; above 1 is better
    machine: str = ''
    interval: tuple[float, float] | None = None  # 95 % confidence interval of the value
    when: str = ''  # date and commit of the measurement
    code: str = ''  # fingerprint of what was measured


def machine() -> str:
    """Return the processor and the number of cores, without the host name."""
    name = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                name = line.partition(':')[2].strip()
                break
    return f'{name}, {len(os.sched_getaffinity(0))} cores'


def now() -> str:
    """Return the date, and the commit that is measured; '+' where the tree differs from it."""
    git = ['git', '-C', str(Path(__file__).parent), 'describe', '--always', '--dirty=+']
    commit = ''
    if shutil.which('git'):
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f'{time.strftime("%Y-%m-%d")}, commit {commit or "unknown"}'


def interleaved(
    parts: Mapping[str, Callable[[], float | None]], rounds: int
) -> dict[str, list[float]]:
    """
    Run the parts in turn, A B A B, so that a drift of the machine affects all parts alike.

    A part returns its own figure, or None to be timed [s].
    """
    figures: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            begun = time.perf_counter()
            figure = part()
            elapsed = time.perf_counter() - begun
            figures[name].append(elapsed if figure is None else figure)
    return figures


def paired_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median over rounds of ours / theirs, each taken within its own round."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def main(
    measure: Callable[..., Iterable[Row]], about: str, **options: tuple[float | str, str]
) -> None:
    """
    Parse --quick and --json, run the benchmark, and print each row as soon as it is measured.

    Further options, {name: (default, help)}, are passed to `measure` by name.
    """
    parser = argparse.ArgumentParser(description=about.strip().splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='under a minute, less precise')
    parser.add_argument('--json', action='store_true', help='print one JSON object per line')
    for name, (default, text) in options.items():
        parser.add_argument(f'--{name}', type=type(default), default=default, help=text)
    args = parser.parse_args()
    here, when, code = machine(), now(), fingerprint(Path(sys.argv[0]))
    for row in measure(args.quick, **{name: getattr(args, name) for name in options}):
        full = row._replace(machine=row.machine or here, when=when, code=code)
        show(full, args.json)


def show(row: Row, as_json: bool) -> None:
    """Print a row with its target, unbuffered."""
    full = row._replace(target=TARGETS.get(row.measure, {}).get('target', ''))
    print(json.dumps(full._asdict()) if as_json else describe(full), flush=True)


def describe(row: Row) -> str:
    """Return a row as a line of text."""
    text = f'{row.measure}: {row.value:.4g} {row.unit}'
    if row.interval:
        text += ' (95 %: {:.3g} to {:.3g})'.format(*row.interval)
    if row.peer:
        text += f'; {row.peer}: {row.peer_value:.4g} {row.unit}'
        if row.ratio is not None:
            text += f'; ratio {row.ratio:.3g}'
    return f'{text}; target {row.target}' if row.target else text


if __name__ == '__main__':
    sys.exit('common.py is no benchmark: run another file of this folder')
