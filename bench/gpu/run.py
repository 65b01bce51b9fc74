# SPDX-License-Identifier: Apache-2.0
"""
Measure everything that needs a GPU, one step after the other, the most valuable first.

Each step is a process with a time limit. It prints JSON lines to STEP.jsonl in the results folder,
and everything else, tracebacks included, to STEP.log beside it. A step that fails or exceeds its
limit is ended, and the next one starts. Packages that a step needs and this Python lacks are
installed from a folder of wheels; a step whose packages are not there is skipped. This file needs
the standard library alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from importlib.util import find_spec
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time
from typing import NamedTuple

BENCH = Path(__file__).resolve().parents[1]
WORK = Path(__file__).with_name('steps.py')
TOTAL = 530.0  # for all of it [s]
INSTALL = 60.0  # for wheels [s]
LEAST = 5.0  # that any step needs [s]
SKIPPED = 77  # exit status of a step that cannot run here
PATIENCE = 10  # times the limits in a rehearsal: a processor may be slow
GRACE = 3.0  # between SIGTERM and SIGKILL [s]
MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


class Step(NamedTuple):
    """A step of steps.py."""

    name: str
    limit: float  # [s]
    needs: tuple[str, ...] = ('torch', 'numpy', 'safetensors', 'cv2')


class Outcome(NamedTuple):
    """How a step ended."""

    name: str
    word: str  # done, skipped, failed or ended
    why: str
    seconds: float


BASE = ('torch', 'numpy', 'safetensors', 'cv2')
PLATFORM = (*BASE, 'stable_worldmodel', 'transformers', 'h5py', 'hdf5plugin')
STEPS = (
    Step('tests', 60, (*BASE, 'pytest')),
    Step('planner', 150),
    Step('plans', 90),
    Step('train_tiny', 130),
    Step('train_nano', 50),
    Step('toy', 70),
    Step('platform_planner', 60, PLATFORM),
    Step('platform_training', 80, PLATFORM),
    Step('kernels', 50),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the steps; return 1 if one failed or none ran."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0], prog='gpu.sh')
    where = os.environ.get('OUT') or 'runs/gpu'
    parser.add_argument('--out', type=Path, default=where, help='folder for the results')
    parser.add_argument('--wheels', type=Path, help='folder of wheels for missing packages')
    parser.add_argument(
        '--rehearse', action='store_true', help='run on a processor with very small sizes'
    )
    names = [step.name for step in STEPS]
    parser.add_argument(
        '--only', nargs='+', choices=names, default=names, help='steps to run (default: all)'
    )
    args = parser.parse_args(words)
    begun, out = time.monotonic(), Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    packages = out / 'packages'
    if args.wheels:
        install(args.wheels.resolve(), packages)
    steps = [step for step in STEPS if step.name in args.only]
    ended = list(run(steps, out, args.rehearse, begun + TOTAL * PATIENCE**args.rehearse))
    text = table(ended, out)
    (out / 'table.txt').write_text(text, encoding='utf-8')
    print(text, flush=True)
    bad = any(one.word in ('failed', 'ended') for one in ended)
    return int(bad or not any(one.word == 'done' for one in ended))


def install(wheels: Path, packages: Path) -> None:
    """Install the wheels of a folder that this Python lacks; a failure is printed only."""
    known = {plain(found.metadata['Name'] or '') for found in distributions()}
    files = [path for path in sorted(wheels.glob('*.whl')) if plain(path.name) not in known]
    print(f'{wheels}: {len(files)} wheels of missing packages', flush=True)
    pip = [sys.executable, '-m', 'pip', 'install', '--no-index', '--no-deps', '--quiet']
    pip += ['--disable-pip-version-check', '--target', str(packages)]
    begun = time.monotonic()
    for some in (files, *([one] for one in files)):  # all at once, or else one by one
        left = INSTALL - (time.monotonic() - begun)
        try:
            subprocess.run([*pip, *map(str, some)], check=True, timeout=max(left, 1.0))
        except (OSError, subprocess.SubprocessError) as error:
            print(f'not installed: {", ".join(one.name for one in some)}: {error}', flush=True)
        else:
            if some is files:
                return


def plain(name: str) -> str:
    """Return the normalised name of a package, or of the package in a wheel."""
    return re.sub(
        r'[-_.]+', '-', name.partition('-')[0] if name.endswith('.whl') else name
    ).lower()


def run(steps: Sequence[Step], out: Path, rehearse: bool, end: float) -> Iterator[Outcome]:
    """Run steps until a deadline, and print how each ended."""
    path = [str(BENCH.parent), str(BENCH), os.environ.get('PYTHONPATH', ''), str(out / 'packages')]
    sys.path.append(path[-1])  # so that find_spec finds them
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path))}
    for step in steps:
        left = end - time.monotonic()
        missing = [name for name in step.needs if find_spec(name) is None]
        if missing:
            found = Outcome(step.name, 'skipped', f'needs {", ".join(missing)}', 0.0)
        elif left < LEAST:
            found = Outcome(step.name, 'skipped', 'no time was left', 0.0)
        else:
            command = [sys.executable, str(WORK), step.name, *['--rehearse'] * rehearse]
            limit = min(step.limit * PATIENCE**rehearse, left)
            found = do(step.name, command, limit, out, env)
        print(f'{found.name}: {found.word} {found.why} {found.seconds:.1f} s', flush=True)
        yield found


def do(
    name: str, command: Sequence[str], limit: float, out: Path, env: dict[str, str] | None = None
) -> Outcome:
    """Run a process and its children for a limited time."""
    log, begun = out / f'{name}.log', time.monotonic()
    with (out / f'{name}.jsonl').open('w') as rows, log.open('w') as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=rows, stderr=words, env=env,
            cwd=BENCH.parent, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
            stop(process, signal.SIGTERM)
            words.write(f'ended after {limit:.0f} s\n')
        finally:
            stop(process, signal.SIGKILL)  # the children that are left
    seconds = time.monotonic() - begun
    if status is None:
        return Outcome(name, 'ended', f'after its limit of {limit:.0f} s', seconds)
    if not status:
        return Outcome(name, 'done', '', seconds)
    last = (log.read_text(errors='replace').strip().splitlines() or [f'exit status {status}'])[-1]
    missing = MISSING.match(last)
    if missing and not is_ours(missing[1]):  # that a needed package needs
        return Outcome(name, 'skipped', f'needs {missing[1]}', seconds)
    return Outcome(name, 'skipped' if status == SKIPPED else 'failed', last, seconds)


def is_ours(module: str) -> bool:
    """Return whether a module is part of this project, and so must not be missing."""
    places = (BENCH, BENCH.parent, WORK.parent)
    return any((place / f'{module}{end}').exists() for place in places for end in ('', '.py'))


def stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End a process and its children."""
    try:
        os.killpg(process.pid, how)
        process.wait(GRACE)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass  # it has ended, or is killed next


def table(ended: Sequence[Outcome], out: Path) -> str:
    """Return how each step ended, with its rows."""
    from common import describe, Row  # of bench/, which is on the path by now

    lines = []
    for one in ended:
        lines.append(f'{one.name:18} {one.word:8} {one.seconds:6.1f} s  {one.why[:200]}'.rstrip())
        rows = out / f'{one.name}.jsonl'
        for line in rows.read_text(encoding='utf-8').splitlines() if rows.is_file() else ():
            try:
                lines.append(f'    {describe(Row(**json.loads(line)))}')
            except (TypeError, ValueError):  # truncated when the step was ended
                lines.append(f'    {line}')
    return '\n'.join([*lines, f'all of it: {out}', ''])


if __name__ == '__main__':
    sys.path.insert(0, str(BENCH))
    sys.exit(main())
