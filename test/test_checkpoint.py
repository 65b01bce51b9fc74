# SPDX-License-Identifier: Apache-2.0
"""A checkpoint comes back to the bit, or says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from smwm_ros.errors import CheckpointError
from smwm_ros.model.checkpoint import add_info, load, META, require, save, WEIGHTS
from smwm_ros.share import shipped
import torch
from worlds import tiny_checkpoint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path / 'run', tiny_checkpoint(mean=0.1, std=0.2))
    return tmp_path / 'run'


def edit_meta(folder: Path, **changes: Any) -> None:
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps({**meta, **changes}))


def test_it_comes_back_to_the_bit(saved: Path) -> None:
    before, after = tiny_checkpoint(mean=0.1, std=0.2), load(saved)
    assert before.model.state_dict().keys() == after.model.state_dict().keys()
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name]), name
    for part in ('robot', 'dataset', 'model_config', 'planner', 'info', 'spec'):
        assert getattr(before, part) == getattr(after, part), part
    assert np.array_equal(before.scaler, after.scaler)
    assert not after.model.training
    assert (after.action_block, after.image_size) == (2, 16)


def test_a_checkpoint_on_another_device_leaves_this_one_where_it_is() -> None:
    made = tiny_checkpoint()
    assert made.on(torch.device('cpu')) is made
    moved = made.on(torch.device('meta'))
    assert {part.device.type for part in moved.model.parameters()} == {'meta'}
    assert {part.device.type for part in made.model.parameters()} == {'cpu'}


def test_info_that_another_version_wrote_is_kept(saved: Path, tmp_path: Path) -> None:
    add_info(saved, mood='good', summary={'step': 3.0})
    info = json.loads((saved / META).read_text())['info']
    assert info == {'dataset': 'none', 'warnings': [], 'mood': 'good', 'summary': {'step': 3.0}}
    again = load(saved)
    assert (again.info.summary, again.info.others) == ({'step': 3.0}, {'mood': 'good'})
    save(tmp_path / 'again', again)
    assert json.loads((tmp_path / 'again' / META).read_text())['info'] == info


def test_tensors_that_do_not_fit_are_listed(saved: Path) -> None:
    tensors = load_file(saved / WEIGHTS)
    tensors['surplus'] = torch.zeros(1)
    del tensors['encoder.head.0.bias']
    tensors['forward_model.change.0.weight'] = torch.zeros(3, 3)
    save_file(tensors, saved / WEIGHTS)
    with pytest.raises(CheckpointError) as caught:
        load(saved)
    for word in (
        'missing encoder.head.0.bias',
        'unexpected surplus',
        'forward_model.change.0.weight is (3, 3), expected (32, 8)',
    ):
        assert word in str(caught.value)


def test_weights_of_another_run_are_refused(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / 'other', tiny_checkpoint(seed=1))
    (saved / WEIGHTS).write_bytes((tmp_path / 'other' / WEIGHTS).read_bytes())
    with pytest.raises(CheckpointError, match=r'differs from weights_sha256 in meta\.json'):
        load(saved)


def test_a_cut_off_file_is_refused(saved: Path) -> None:
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match='not a safetensors file'):
        load(saved)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_executed(saved: Path, tmp_path: Path) -> None:
    torch.save({'bomb': Bomb(tmp_path / 'exploded')}, saved / WEIGHTS)
    with pytest.raises(CheckpointError, match='not a safetensors file'):
        load(saved)
    assert not (tmp_path / 'exploded').exists()


def test_a_missing_folder_lists_its_neighbours(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r'rum: no checkpoint here; in .*: run'):
        load(saved.with_name('rum'))
    with pytest.raises(CheckpointError, match='does not exist either'):
        load(saved / 'deep' / 'deeper')


def test_a_folder_without_meta_lists_what_it_holds(saved: Path) -> None:
    (saved / META).unlink()
    with pytest.raises(CheckpointError, match=r'meta.json is missing; found model.safetensors'):
        load(saved)
    (saved / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match='found an empty folder'):
        load(saved)


def test_a_newer_format_asks_for_an_update(saved: Path) -> None:
    edit_meta(saved, format=99)
    with pytest.raises(
        CheckpointError, match=r'format 99 is newer than format 1.*update smwm_ros'
    ):
        load(saved)


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'format': None}, 'damaged'),
        ({'robot': None}, 'damaged'),
        ({'model': {'latent': 4, 'hidden': 32, 'spin': 1}}, 'damaged.*unknown Model knobs: spin'),
        ({'model': {'latent': 4.5}}, 'damaged.*model.latent: expected a whole number, found 4.5'),
        ({'robot': {'camera': {'topic': ['a']}}}, 'damaged.*robot.camera.topic: expected a text'),
        ({'action': {'mean': [0.0], 'std': [1.0]}}, 'damaged: expected mean and positive std'),
        ({'action': {'mean': [0, 0], 'std': [1, 0]}}, 'damaged: expected mean and positive std'),
        ({'action': {'mean': [0, 0], 'std': [1, float('nan')]}}, 'expected mean and positive std'),
    ],
)
def test_a_damaged_meta_says_so(saved: Path, changes: dict[str, Any], match: str) -> None:
    edit_meta(saved, **changes)
    with pytest.raises(CheckpointError, match=match):
        load(saved)


def test_broken_json_says_so(saved: Path) -> None:
    (saved / META).write_text('{')
    with pytest.raises(CheckpointError, match=r'meta.json: damaged'):
        load(saved)


def test_an_interrupted_save_leaves_no_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == META:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        save(saved, tiny_checkpoint(seed=1))
    with pytest.raises(CheckpointError, match='no checkpoint here'):
        load(saved)


def test_each_thing_that_does_not_fit_is_named() -> None:
    checkpoint = tiny_checkpoint()
    require(checkpoint, 'here', action_size=2, dt=0.1, image_size=16)
    with pytest.raises(CheckpointError) as caught:
        require(checkpoint, 'the arena', action_size=3, dt=0.2, image_size=64)
    assert str(caught.value) == (
        'action size is 3 in the arena, and 2 in the checkpoint; '
        'control period [s] is 0.2 in the arena, and 0.1 in the checkpoint; '
        'image size [px] is 64 in the arena, and 16 in the checkpoint'
    )


def test_the_checkpoint_that_comes_with_the_package_loads() -> None:
    folder = shipped('models', 'two_room')
    assert folder is not None
    assert load(folder).spec.size == 2
