# SPDX-License-Identifier: Apache-2.0
"""
Damage datasets, runs and configurations at random, read them, and check the result.

`python test/mutated_files.py --count 500` tries many. It exits with 1 if a reader gives anything
but one line, takes too long or too much memory, or passes on a number that is not finite.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from functools import partial
import hashlib
import io
import json
from pathlib import Path
import random
import shutil
import sys
import tempfile
from typing import Any, NamedTuple

from mutated import LARGE, memory, mutate, outcome
import numpy as np
from recordings import made, TinyBag
from safetensors.torch import load_file, save
from smwm_ros import config
from smwm_ros.cli import main as smwm
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import describe
from smwm_ros.data.labels import write_labels
from smwm_ros.load import load_config
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.checkpoint import META, recorded_data, WEIGHTS
from smwm_ros.pages.dataset import contact_sheet
from smwm_ros.pages.run import read_curves
from smwm_ros.planning import frame_bank, policy, roadmap
from smwm_ros.planning.drives import encode_drives
from smwm_ros.planning.pilot import Pilot
from smwm_ros.training.batches import Batches, check
from smwm_ros.training.run_folder import Run
from smwm_ros.training.train import train
from smwm_ros.verbs.inspect_run import describe_checkpoint
import torch
from worlds import TINY

ROOT = Path(__file__).resolve().parents[1]
TICKS = 120
PLANNER = config.Planner(samples=16, elites=4, iterations=2, horizon=3)
SETTINGS = config.Train(steps=4, batch=8, eval_every=2)
ODD: list[Any] = [None, True, -1, 0, 1, 2**31, 2**70, 0.5, -1e308, float('nan'), float('inf')]
ODD += ['', 'text', '\x1b[2J\u202e', 'x' * 10_000, '../../etc', [], {}, [[]], [1, 'a'], {'a': 1}]
SNIPPETS = ['\t', '*a', '&a [*a]', '[' * 500, '{' * 500, '- - - x', '2024-13-45', '!!int ""']
SNIPPETS += ['!!python/object:os.system x', '? [a, b]\n: 1', '<<: 1', '\x00', '\x1b', '\ufeff']
SNIPPETS += ['!!binary x', '9' * 5000, '.nan', 'robot: []', '&b [1, 1]', '\u2028', '!!bool maybe']
Work = Callable[[], object]


class Origin(NamedTuple):
    """Sound files, which are damaged in copies."""

    folder: Path

    @property
    def datasets(self) -> list[Path]:
        """Return datasets with frames as they are, and as JPEG."""
        return [self.folder / 'raw', self.folder / 'jpeg']

    @property
    def run(self) -> Path:
        """Return a run with every file that a run can have."""
        return self.folder / 'run'


def whole(folder: Path) -> Origin:
    """Make the files to damage."""
    bag = TinyBag(folder / 'bag')
    for tick in range(TICKS):
        bag.frame(tick)
        bag.command(tick, np.sin(tick))
        bag.pose(tick, tick)
    words = ('robot.state.topic=/odom', 'dataset.action_block=2', 'dataset.val_share=0.3')
    path = bag.close()
    data = made(folder, path, *words, out='raw')
    jpeg = made(folder, path, *words, 'dataset.pixels=jpeg', out='jpeg')
    (name,), actions = jpeg.metas, np.zeros((len(jpeg), 2))
    write_labels(jpeg.folder, name, actions, np.ones(len(jpeg)), {'run': 'latent', 'r2': 0.9})
    train(data, folder / 'run', TINY, SETTINGS, PLANNER)
    keep_state(data, folder / 'run')
    assert smwm(['prepare', str(folder / 'run'), 'prepare.steps=2']) == 0
    library = GoalLibrary(folder / 'run' / 'goals')
    library.save('dock', list(data.pixels(np.arange(1))))
    library.save('patrol', list(data.pixels(np.arange(3))))
    return Origin(folder)


def keep_state(data: TransitionDataset, run: Path) -> None:
    """Copy the state of an interrupted run into a finished run."""

    class Stopped(Exception):  # noqa: N818 - no error
        pass

    def stop(self: Run, *parts: Any) -> None:
        save_state(self, *parts)
        raise Stopped

    save_state, Run.save_state = Run.save_state, stop  # type: ignore[assignment, method-assign]
    try:
        with suppress(Stopped):
            train(data, run.with_name('stopped'), TINY, SETTINGS, PLANNER)
    finally:
        Run.save_state = save_state  # type: ignore[method-assign]
    shutil.copytree(run.with_name('stopped') / 'state', run / 'state')


def spoil_json(path: Path, rng: random.Random) -> None:
    """Change, remove or add values."""
    data = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        where = data
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(where[key], dict | list) and where[key] and rng.random() < 0.8:
                where = where[key]
                continue
            if rng.random() < 0.3:
                del where[key]
            else:
                where[key] = rng.choice(ODD)
            break
    path.write_text(json.dumps(data))


def spoil_numbers(path: Path, rng: random.Random) -> None:
    """Write values into a column that are not finite, or very large."""
    array = np.load(path)
    if array.size:
        value = rng.choice([np.nan, np.inf, -np.inf, 3e38, -1, 2**31 - 1])
        with np.errstate(all='ignore'):
            array.ravel()[rng.randrange(array.size)] = np.array(value).astype(array.dtype)
    np.save(path, array)


def spoil_tensors(path: Path, rng: random.Random) -> None:
    """Change a tensor and save it again, so that the digests still agree."""
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    kind = rng.randrange(4)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name] = torch.zeros(3, 5)
    elif kind == 2 and tensor.is_floating_point() and tensor.numel():
        tensor.view(-1)[0] = rng.choice([float('nan'), float('inf')])
    else:
        tensors[name] = tensor.double()
    path.write_bytes(save(tensors))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    about = path.with_name(META) if path.name == WEIGHTS else path.with_suffix('.json')
    meta = json.loads(about.read_text())
    meta['weights_sha256' if path.name == WEIGHTS else 'sha256'] = digest
    about.write_text(json.dumps(meta))


def spoil_file(path: Path, rng: random.Random) -> None:
    """Damage a file in a way that fits its type, or at random bytes."""
    ways: dict[str, Callable[[Path, random.Random], None]] = {
        '.json': spoil_json,
        '.npy': spoil_numbers,
        '.safetensors': spoil_tensors,
    }
    chance = rng.random()
    if chance < 0.1:
        path.write_bytes(rng.choice([b'', b'\x00' * 100, path.read_bytes()[:-1], b'{}', b'[1]']))
    elif chance < 0.15:
        path.unlink()
    elif chance < 0.6 and path.suffix in ways:
        with suppress(Exception):  # it may be too damaged already
            ways[path.suffix](path, rng)
    else:
        path.write_bytes(mutate(path.read_bytes() or b' ', rng))


def dataset_readers(folder: Path, origin: Origin) -> Iterator[Work]:
    """Yield what the verbs do with a dataset."""

    def look() -> None:
        data = TransitionDataset.open(folder)
        describe(data)
        contact_sheet(data, 2)
        json.dumps([data.metas, data.info, data.action_scaler().mean.tolist()])

    def learn() -> None:
        data = TransitionDataset.open(folder)
        check(data, 1, warn=False)
        batches = Batches(data, data.action_scaler(), torch.device('cpu'))
        checkpoint = checkpoints.load(origin.run)
        checkpoints.require(checkpoint, 'here', data.info.spec.size, data.info.spec.dt, 16)
        with torch.no_grad():
            terms = checkpoint.model.losses(batches.at(batches.starts('train')[:8]))
        assert all(term.isfinite() for term in terms.values()), terms
        assert not encode_drives(checkpoint, data).actions.isinf().any()

    yield from (look, learn)


def run_readers(folder: Path, origin: Origin) -> Iterator[Work]:
    """Yield what the verbs and the node do with a run."""

    def drive() -> None:
        checkpoint = checkpoints.load(folder)
        pilot = Pilot(checkpoint)
        pilot.set_goal(np.zeros((16, 16, 3), np.uint8))
        plan = pilot.plan(np.full((16, 16, 3), 100, np.uint8), 0)
        assert np.isfinite(plan.actions).all()

    def beside() -> None:
        roadmap.load(folder, 'a test')
        policy.load(folder, 4, 'a test')
        frame_bank.load(folder, 'a test').nearest(torch.zeros(TINY.latent))

    def tell() -> None:
        if (folder / WEIGHTS).is_file():  # else smwm inspect takes it for no run
            describe_checkpoint(folder)
        recorded_data(folder)
        read_curves(folder)

    def goals() -> None:
        library = GoalLibrary(folder / 'goals')
        for name in library.names():
            library.load(name, 16, 'stretch')

    def go_on() -> None:
        data = TransitionDataset.open(origin.datasets[0])
        run = folder.with_name('begun')
        shutil.copytree(folder / 'state', run / 'state')
        train(data, run, TINY, SETTINGS, PLANNER)

    yield from (drive, beside, tell, goals, go_on)


def spoil_yaml(text: str, rng: random.Random) -> bytes:
    """Damage characters, lines or bytes of a configuration."""
    lines = text.splitlines()
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, kind = rng.randrange(len(lines)), rng.randrange(6)
        if kind == 0:
            lines[at] = lines[at].partition(':')[0] + ': ' + rng.choice(SNIPPETS)
        elif kind == 1:
            lines.insert(at, rng.choice(SNIPPETS))
        elif kind == 2:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind == 3:
            lines[at] = ' ' * rng.randrange(9) + lines[at].strip()
        elif kind == 4:
            lines[at] = lines[at].partition(':')[0] + f': {rng.choice(ODD)!r}'
        else:
            return mutate('\n'.join(lines).encode(), rng)
    return '\n'.join(lines).encode('utf-8', 'surrogatepass')


def bomb(rng: random.Random) -> bytes:
    """Return a few lines of YAML that expand to a huge value."""
    lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
    for level in range(1, rng.randrange(3, 30)):
        form = rng.choice(['[{}]', '{{k0: {}, <<: *a0}}'])
        many = ', '.join([f'*a{level - 1}'] * 9) if form[0] == '[' else f'*a{level - 1}'
        lines.append(f'a{level}: &a{level} {form.format(many)}')
    lines.append(f'robot: *a{level}')
    return '\n'.join(lines).encode()


def attack(what: str, count: int, seed: int, origin: Origin) -> Counter[str]:
    """Damage so many copies, read each, and count the outcomes."""
    rng, found = random.Random(f'{what}{seed}'), Counter[str]()
    configs = sorted((ROOT / 'config').glob('*.yaml'))
    for _ in range(count):
        with tempfile.TemporaryDirectory(dir=origin.folder) as place:
            copy = Path(place, 'copy')
            if what == 'yaml':
                text = rng.choice(configs).read_text()
                copy.write_bytes(bomb(rng) if rng.random() < 0.1 else spoil_yaml(text, rng))
                readers: Iterator[Work] = iter([partial(load_config, copy)])
            else:
                source = origin.run if what == 'run' else rng.choice(origin.datasets)
                shutil.copytree(source, copy)
                files = [path for path in sorted(copy.rglob('*')) if path.is_file()]
                for path in rng.sample(files, rng.choice([1, 1, 1, 2])):
                    if path.is_file():
                        spoil_file(path, rng)
                readers = {'run': run_readers, 'dataset': dataset_readers}[what](copy, origin)
            for reader in readers:
                with redirect_stderr(io.StringIO()):  # of trainings
                    found[outcome(reader)] += 1
    return found


KINDS = ('dataset', 'run', 'yaml')


def main() -> int:
    """Damage the requested number of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=500, help='of each kind')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        origin = whole(Path(folder))
        before = memory()
        for kind in KINDS:
            for what, count in attack(kind, args.count, args.seed, origin).items():
                print(f'{kind}: {count} times {what}')
                bad += count * (what not in ('fine', 'refused'))
    print(f'{bad} bad outcomes; at most {memory() / 1e6:.0f} MB, {before / 1e6:.0f} before')
    return int(bool(bad) or memory() > LARGE)


if __name__ == '__main__':
    sys.exit(main())
