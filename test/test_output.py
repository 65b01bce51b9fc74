# SPDX-License-Identifier: Apache-2.0
"""Where a verb cannot write it says so in one line, and leaves nothing half-written behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import resource
import shutil
import stat
import sys

import pytest
from recordings import TinyBag
from smwm_ros import files
from smwm_ros.cli import main
from smwm_ros.errors import OutputError
from smwm_ros.model.checkpoint import load, save
from worlds import dot_dataset, latent_checkpoint, tiny_checkpoint

SEARCH = 'planner.samples=8 planner.elites=4 planner.iterations=1'
FOLDERS = {
    'collect': 'collect --out={out} --jobs=1 arena.episodes=1 arena.length=9 arena.image_size=16',
    'convert': 'convert {here}/bag --out={out} dataset.image_size=16',
    'import': 'import {here}/data.h5 --out={out}',
    'export-model': 'export-model {here}/run --out={out}',
    'train': 'train {here}/data --out={out} model.latent=4 model.hidden=32 train.steps=1 '
    'train.batch=8',
    'toy': 'toy single --out={out} --transitions=100 train.steps=1 train.batch=8',
    'goals': 'goals {here}/run --name=dock --bag={here}/bag --at=1 --folder={out}',
}
FILES = {
    'export': 'export {here}/recorded --to=hdf5 --out={out}',
    'view': 'view {here}/recorded --out={out}',
    'replay': f'replay {{here}}/bag {{here}}/run --out={{out}} {SEARCH}',
    'evaluate': f'evaluate {{here}}/run --data={{here}}/data --out={{out}} {SEARCH} '
    'evaluate.pairs=1 evaluate.repeats=1 evaluate.budget=2 evaluate.offset=3',
    'lam-report': 'lam-report {here}/latent --data={here}/data --out={out}',
    'inspect a run': 'inspect {here}/run --data={here}/data --samples=50 --out={out}',
    'inspect --write': 'inspect {here}/bag --write={out}',
    'inspect --thumbnails': 'inspect {here}/bag --thumbnails={out}',
}
VERBS = {**FOLDERS, **FILES}


@pytest.fixture(scope='module')
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bag, two datasets, a file of HDF5 and a run."""
    folder = tmp_path_factory.mktemp('here')
    bag = TinyBag(folder / 'bag')
    for tick in range(30):
        bag.frame(tick)
        bag.command(tick + 0.5)
        bag.pose(tick, tick / 10)
    bag.close()
    made = dot_dataset(folder / 'data', episodes=4, length=12, val_share=0.3)
    save(folder / 'run', tiny_checkpoint())
    save(folder / 'latent', latent_checkpoint(made))
    data = folder / 'recorded'
    assert main(['convert', str(bag.path), f'--out={data}', 'dataset.image_size=16']) == 0
    assert main(['export', str(data), '--to=hdf5', f'--out={folder / "data.h5"}']) == 0
    return folder


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python does not notice that a .pyc it writes is cut, and every later import would fail.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before


def attempt(verb: str, here: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a verb that must fail; return what it said of that, in its one line."""
    code = main([word.format(here=here, out=out) for word in VERBS[verb].split()])
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith(f'smwm {verb.split()[0]}: ')]
    assert code == 2, said
    assert len(lines) == 1, said
    assert said.splitlines()[-1] == lines[0]
    assert 'Traceback' not in said
    return lines[0]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


@pytest.mark.parametrize('verb', VERBS)
def test_below_a_file_nothing_can_be_written(
    verb: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').touch()
    said = attempt(verb, here, tmp_path / 'file' / 'x' / 'out', capsys)
    assert 'cannot be written: Not a directory; a file is in the way' in said
    assert names(tmp_path) == ['file']


@pytest.mark.parametrize('verb', VERBS)
def test_a_name_that_is_too_long_is_reported(
    verb: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = attempt(verb, here, tmp_path / ('n' * 256), capsys)
    assert 'File name too long; choose a shorter name' in said
    assert names(tmp_path) == []


@pytest.mark.parametrize('verb', VERBS)
def test_what_is_in_the_way_stays(
    verb: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    if verb in FOLDERS:
        out.write_text('mine')
    else:
        out.mkdir()
    said = attempt(verb, here, out, capsys)
    assert 'cannot be written: ' in said or 'exists already; remove it' in said
    assert names(tmp_path) == ['out']
    assert out.is_dir() or out.read_text() == 'mine'


@pytest.mark.parametrize('verb', VERBS)
def test_where_files_may_not_grow_no_half_of_one_is_left(
    verb: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_file_beyond(30 if verb == 'goals' else 400):  # its picture is small
        said = attempt(verb, here, tmp_path / 'out', capsys)
    assert 'cannot be written: File too large; raise the limit' in said
    assert [name for name in names(tmp_path) if Path(name).name.startswith('.')] == []
    assert verb in ('train', 'toy') or names(tmp_path) == []


# ONNX takes seconds, and is published as the others are.
@pytest.mark.parametrize('verb', [verb for verb in VERBS if verb != 'export-model'])
def test_nothing_gets_its_name_before_it_is_on_the_disk(
    verb: str,
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    said = attempt(verb, here, tmp_path / 'out', capsys)
    assert 'cannot be written: No space left on device; free some space' in said
    assert [name for name in names(tmp_path) if 'tensorboard' not in name] in (
        [],
        ['out'],
        ['out', 'out/single'],
    )


def test_on_a_full_disk_prepare_leaves_a_run_as_it_was(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(here / 'run', tmp_path / 'run'))
    words = ['prepare', str(run), f'--data={here / "data"}', 'prepare.steps=1']
    with no_file_beyond(400):
        assert main(words) == 2
    assert 'roadmap.safetensors: cannot be written: File too large' in capsys.readouterr().err
    assert names(run) == names(here / 'run')


def test_a_checkpoint_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    save(tmp_path, tiny_checkpoint(seed=0))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with no_file_beyond(2000), pytest.raises(OutputError, match='File too large'):
        save(tmp_path, tiny_checkpoint(seed=1))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    load(tmp_path)


@pytest.mark.parametrize('verb', ['view', 'export', 'import', 'convert'])
def test_the_longest_name_is_no_hindrance(verb: str, here: Path, tmp_path: Path) -> None:
    out = tmp_path / ('n' * 255)
    assert main([word.format(here=here, out=out) for word in VERBS[verb].split()]) == 0
    assert {path.name for path in tmp_path.iterdir()} - {'index.html'} == {'n' * 255}


def test_a_device_is_written_and_never_replaced(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = attempt('view', here, Path('/dev/full'), capsys)
    assert '/dev/full: cannot be written: No space left on device' in said
    assert stat.S_ISCHR(os.stat('/dev/full').st_mode)
    assert main(['view', str(here / 'recorded'), '--out=/dev/null']) == 0
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / 'far').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'far' / 'page')
    for text in (b'one', b'two'):
        files.write_atomic(tmp_path / 'link', text)
        assert (tmp_path / 'far' / 'page').read_bytes() == text
    assert (tmp_path / 'link').is_symlink()


def test_files_and_the_folder_around_them_are_synced_in_this_order(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, list[tuple[str, bool]]()

    def heard(descriptor: int) -> None:
        shard = tmp_path / 'out' / 'shards' / 'bag'
        synced.append((os.readlink(f'/proc/self/fd/{descriptor}'), shard.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', heard)
    words = ['convert', str(here / 'bag'), f'--out={tmp_path / "out"}', 'dataset.image_size=16']
    assert main(words) == 0
    before = {Path(path).name for path, published in synced if not published}
    assert {'pixels.npy', 'action.npy', 'state.npy', 'episode.npy', 'stamp.npy'} <= before
    assert (str((tmp_path / 'out' / 'shards').resolve()), True) in synced
