# SPDX-License-Identifier: Apache-2.0
"""A file is there whole or not at all, and what it replaces is never written into."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import shutil

import pytest
from smwm_ros.data.shards import write_json
from smwm_ros.errors import CheckpointError, SmwmError
from smwm_ros.files import write_atomic
from smwm_ros.model import sidecar
from smwm_ros.model.checkpoint import load, save
from smwm_ros.pages import html
from smwm_ros.training.run_folder import Run, RunProgress
import torch
from torch import nn
from torch.optim import SGD
from worlds import tiny_checkpoint

Write = Callable[[Path, int], object]  # the second time with other contents


def save_state(folder: Path, number: int) -> None:
    model = nn.Linear(1, 1)
    progress = RunProgress(number, [{'step': number, 'loss': 0.5}])
    Run(folder, {}).save_state(model, SGD(model.parameters(), 0.1), progress)


def save_beside(folder: Path, number: int) -> None:
    if not number:
        save(folder, tiny_checkpoint())
    sidecar.save(folder, 'roadmap', {'nodes': torch.full((3,), float(number))}, {})


WRITERS: dict[str, Write] = {
    'bytes': lambda folder, number: write_atomic(folder / 'file', b'%d' % number),
    'json': lambda folder, number: write_json(folder / 'file', {'number': number}),
    'page': lambda folder, number: html.write_text(folder / 'file', str(number)),
    'checkpoint': lambda folder, number: save(folder, tiny_checkpoint(seed=number)),
    'state': save_state,
    'roadmap': save_beside,
}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*') if path.is_file())


@pytest.mark.parametrize('name', WRITERS)
def test_what_a_file_replaces_stays_as_it_was_for_readers_that_have_it_open(
    name: str, tmp_path: Path
) -> None:
    folder, kept = tmp_path / 'now', tmp_path / 'kept'
    folder.mkdir()
    WRITERS[name](folder, 0)
    before = {path: path.read_bytes() for path in files(folder)}
    assert before
    shutil.copytree(folder, kept, copy_function=os.link)  # a second name of the same file
    WRITERS[name](folder, 1)
    assert files(folder) == sorted(before), 'nothing temporary is left'
    assert any(path.read_bytes() != data for path, data in before.items()), 'nothing was replaced'
    for path, data in before.items():
        assert (kept / path.relative_to(folder)).read_bytes() == data, path


@pytest.mark.parametrize('name', ['bytes', 'checkpoint', 'state', 'roadmap'])
def test_a_file_is_on_the_disk_before_it_gets_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[int, int] = {}  # bytes on the disk, by inode
    sync = os.fsync

    def heard_sync(descriptor: int) -> None:
        sync(descriptor)
        found = os.fstat(descriptor)
        synced[found.st_ino] = found.st_size

    monkeypatch.setattr(os, 'fsync', heard_sync)
    folder = tmp_path / 'run'
    folder.mkdir()
    WRITERS[name](folder, 0)
    monkeypatch.undo()
    for path in files(folder):
        found = path.stat()
        assert synced.get(found.st_ino) == found.st_size > 0, path


@pytest.mark.parametrize('name', ['bytes', 'checkpoint', 'state', 'roadmap'])
def test_where_the_disk_is_full_what_was_there_stays(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path, 0)
    before = {path: path.read_bytes() for path in files(tmp_path)}

    def full(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises((OSError, SmwmError), match='No space left'):
        WRITERS[name](tmp_path, 1)
    for path in files(tmp_path):
        if not path.name.endswith('.part'):
            assert path.read_bytes() == before[path], path


def test_a_checkpoint_that_was_cut_off_is_none_and_never_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, tiny_checkpoint(seed=0))
    replace, done = Path.replace, list[str]()

    def cut(self: Path, target: Path) -> Path:
        if done:
            raise KeyboardInterrupt
        done.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, 'replace', cut)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, tiny_checkpoint(seed=1))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r'no checkpoint here; meta\.json is missing'):
        load(tmp_path)
