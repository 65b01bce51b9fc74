# SPDX-License-Identifier: Apache-2.0
"""
Measure all that needs a GPU, one step after the other, the most valuable first.

Each step is a process with a time limit. It prints JSON lines to STEP.jsonl in the folder of
results, and all else, its traceback too, to STEP.log beside it. One that fails or takes too long
is ended, and the next one begins. What a step needs and this Python lacks is looked for in a
folder of wheels; where it is not found, the step is left out. The standard library is enough for
this file.
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
LEAST = 5.0  # that a step needs to say anything [s]
SKIPPED = 77  # exit status of a step that cannot be done here
PATIENCE = 10  # times as much for a rehearsal: a processor may be slow, and is not paid for
GRACE = 3.0  # to end by itself [s]
MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)")


class Step(NamedTuple):
    """A step, as steps.py knows it."""

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
    """Run the steps; 1 if any failed, or none was done."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0], prog='gpu.sh')
    where = os.environ.get('OUT') or 'runs/gpu'
    parser.add_argument('--out', type=Path, default=where, help='folder of results')
    parser.add_argument('--wheels', type=Path, help='folder of wheels of what is missing here')
    parser.add_argument(
        '--rehearse', action='store_true', help='on a processor, with very little of everything'
    )
    names = [step.name for step in STEPS]
    parser.add_argument(
        '--only', nargs='+', choices=names, default=names, help='steps (default: all)'
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
    """Unpack those wheels of a folder that this Python lacks; none is worth to fail for."""
    known = {plain(found.metadata['Name'] or '') for found in distributions()}
    files = [path for path in sorted(wheels.glob('*.whl')) if plain(path.name) not in known]
    print(f'{wheels}: {len(files)} wheels of what is missing', flush=True)
    pip = [sys.executable, '-m', 'pip', 'install', '--no-index', '--no-deps', '--quiet']
    pip += ['--disable-pip-version-check', '--target', str(packages)]
    begun = time.monotonic()
    for some in (files, *([one] for one in files)):  # all at once, or those that can be
        left = INSTALL - (time.monotonic() - begun)
        try:
            subprocess.run([*pip, *map(str, some)], check=True, timeout=max(left, 1.0))
        except (OSError, subprocess.SubprocessError) as error:
            print(f'not installed: {", ".join(one.name for one in some)}: {error}', flush=True)
        else:
            if some is files:
                return


def plain(name: str) -> str:
    """Return the name of a package, or of the package in a wheel, as it is compared."""
    return re.sub(
        r'[-_.]+', '-', name.partition('-')[0] if name.endswith('.whl') else name
    ).lower()


def run(steps: Sequence[Step], out: Path, rehearse: bool, end: float) -> Iterator[Outcome]:
    """Run steps until a time, and say how each ended."""
    path = [str(BENCH.parent), str(BENCH), os.environ.get('PYTHONPATH', ''), str(out / 'packages')]
    sys.path.append(path[-1])  # to see what is there
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
    """Run a process, with all that it starts, for a limited time."""
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
            stop(process, signal.SIGKILL)  # and what it left behind
    seconds = time.monotonic() - begun
    if status is None:
        return Outcome(name, 'ended', f'after its limit of {limit:.0f} s', seconds)
    if not status:
        return Outcome(name, 'done', '', seconds)
    last = (log.read_text(errors='replace').strip().splitlines() or [f'exit status {status}'])[-1]
    missing = MISSING.match(last)
    if missing and not is_ours(missing[1]):  # what something that it needs is made from
        return Outcome(name, 'skipped', f'needs {missing[1]}', seconds)
    return Outcome(name, 'skipped' if status == SKIPPED else 'failed', last, seconds)


def is_ours(module: str) -> bool:
    """Return whether a module is a part of this project, so that nothing may lack it."""
    places = (BENCH, BENCH.parent, WORK.parent)
    return any((place / f'{module}{end}').exists() for place in places for end in ('', '.py'))


def stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, how)
        process.wait(GRACE)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass  # it is over, or about to be killed


def table(ended: Sequence[Outcome], out: Path) -> str:
    """Return how each step ended, with what it measured."""
    from common import describe, Row  # the benchmarks' own, which lie in bench/

    lines = []
    for one in ended:
        lines.append(f'{one.name:18} {one.word:8} {one.seconds:6.1f} s  {one.why[:200]}'.rstrip())
        rows = out / f'{one.name}.jsonl'
        for line in rows.read_text(encoding='utf-8').splitlines() if rows.is_file() else ():
            try:
                lines.append(f'    {describe(Row(**json.loads(line)))}')
            except (TypeError, ValueError):  # cut off in the middle
                lines.append(f'    {line}')
    return '\n'.join([*lines, f'all of it: {out}', ''])


if __name__ == '__main__':
    sys.path.insert(0, str(BENCH))
    sys.exit(main())
