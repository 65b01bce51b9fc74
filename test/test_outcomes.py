# SPDX-License-Identifier: Apache-2.0
"""Task and outcome of an episode reach the dataset, its page and exports, and choose episodes."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
import re

import numpy as np
import pytest
from recordings import contents, made, TinyBag
from safetensors.numpy import load_file
from smwm_ros.bags.reading.outcome import write_outcome
from smwm_ros.cli import main
from smwm_ros.config import Train
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.joined import JoinedDataset
from smwm_ros.data.split import Drive, hold_out_each
from smwm_ros.errors import DatasetError
from smwm_ros.model.checkpoint import load
from smwm_ros.training.fine_tune import settings_of

TICKS = 30  # in a bag
FEW = ['train.steps=4', 'train.batch=8', 'train.eval_every=4', 'model.latent=4', 'model.hidden=16']
FEW += ['model.history=1', 'train.device=cpu']
SUCCESS, FAILURE, NONE = 'success', 'failure', ''


def record(folder: Path, outcomes: Sequence[str], task: str = '') -> Path:
    """Write a bag for each outcome, in which the frames and commands change."""
    for number, outcome in enumerate(outcomes):
        bag = TinyBag(folder / f'bag_{number}')
        rng = np.random.default_rng(number)
        for tick in range(TICKS):
            bag.frame(tick, int(rng.integers(256)))
            bag.command(tick, rng.uniform(-0.5, 0.5))
        write_outcome(bag.close(), task, outcome)
    return folder


def data_of(tmp_path: Path, outcomes: Sequence[str], *words: str) -> TransitionDataset:
    """Return the dataset of bags with these outcomes."""
    return made(tmp_path, record(tmp_path / 'bags', outcomes), *words)


def outcomes_of(data: TransitionDataset, split: str) -> set[str]:
    """Return the outcomes of the episodes of a split."""
    mine = [episode for episode in data.episodes if episode.split == split]
    return {d.outcome for d in data.drives for e in mine if d.start <= e.start < d.stop}


def test_convert_takes_over_the_task_and_the_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = record(tmp_path / 'bags', [SUCCESS, FAILURE, NONE, FAILURE], 'sweep <b>')
    out = tmp_path / 'data'
    assert main(['convert', str(bags), f'--out={out}', 'dataset.image_size=16']) == 0
    data = TransitionDataset.open(out)
    assert [drive.outcome for drive in data.drives] == [SUCCESS, FAILURE, NONE, FAILURE]
    assert {drive.task for drive in data.drives} == {'sweep <b>'}
    meta = json.loads((out / 'shards' / 'bag_0' / 'meta.json').read_text())
    assert (meta['outcome'], meta['task']) == ('success', 'sweep <b>')
    for words in (['inspect', str(out)], ['convert', str(bags), f'--out={out}']):
        capsys.readouterr()
        assert main([*words, *['dataset.image_size=16'] * (words[0] == 'convert')]) == 0
        said = capsys.readouterr().out
        assert '  outcomes: 1 succeeded, 2 failed, 1 without an outcome\n' in said
        assert '  task of 4 episodes: sweep <b>\n' in said
    assert main(['view', str(out)]) == 0
    page = (tmp_path / 'data.html').read_text()
    captions = set(re.findall(r'rows [^;<]+; failed; task: sweep &lt;b&gt;\.', page))
    assert len(captions) == 2
    assert 's; succeeded; task: sweep' in page
    assert 'outcomes: 1 succeeded, 2 failed, 1 without an outcome.' in page


def test_bags_without_either_give_the_shards_that_they_gave_before(tmp_path: Path) -> None:
    data = data_of(tmp_path, [NONE] * 3)
    meta = json.loads((data.folder / 'shards' / 'bag_0' / 'meta.json').read_text())
    assert not {'task', 'outcome'} & set(meta)
    plain = [drive._replace(outcome='') for drive in data.drives]
    assert data.episodes == hold_out_each(plain, [True] * 3, 0.1, 0, 5)
    capsule = JoinedDataset([data, data])
    assert [drive.outcome for drive in capsule.drives] == [''] * 6


def test_an_outcome_that_is_set_later_reaches_a_converted_dataset(tmp_path: Path) -> None:
    before = data_of(tmp_path, [SUCCESS, NONE, NONE])
    columns = {
        name: content for name, content in contents(before.folder).items() if name.endswith('.npy')
    }
    write_outcome(tmp_path / 'bags' / 'bag_0', '', '')
    write_outcome(tmp_path / 'bags' / 'bag_1', 'sweep', FAILURE)
    after = made(tmp_path, tmp_path / 'bags')
    assert [drive.outcome for drive in after.drives] == [NONE, FAILURE, NONE]
    assert after.drives[1].task == 'sweep'
    now = contents(after.folder)
    assert {name: now[name] for name in columns} == columns, 'nothing was converted again'
    assert after.fingerprint != before.fingerprint, 'the split depends on outcomes'


def test_an_unknown_outcome_in_a_bag_is_reported(tmp_path: Path) -> None:
    bags = record(tmp_path / 'bags', [SUCCESS])
    file = bags / 'bag_0' / 'metadata.yaml'
    file.write_text(file.read_text().replace('outcome: success', 'outcome: sucess'))
    data = made(tmp_path, bags)
    assert data.drives[0].outcome == NONE
    (note,) = (text for text in data.metas['bag_0']['notes'] if 'outcome' in text)
    assert "outcome 'sucess', expected success or failure" in note


def test_a_damaged_outcome_in_a_dataset_is_named(tmp_path: Path) -> None:
    data = data_of(tmp_path, [SUCCESS])
    file = data.folder / 'shards' / 'bag_0' / 'meta.json'
    file.write_text(file.read_text().replace('"outcome": "success"', '"outcome": "so so"'))
    with pytest.raises(DatasetError, match=r"meta.json: damaged: outcome: 'so so', expected"):
        TransitionDataset.open(data.folder)


@pytest.mark.parametrize(
    ('choice', 'kept', 'left_out'),
    [
        ('all', {SUCCESS, FAILURE, NONE}, ''),
        ('not_failed', {SUCCESS, NONE}, '4 failed'),
        ('succeeded', {SUCCESS}, '4 failed, 4 without an outcome'),
    ],
)
def test_episodes_are_chosen_by_their_outcome_and_held_out_as_before(
    tmp_path: Path, choice: str, kept: set[str], left_out: str
) -> None:
    every = data_of(tmp_path, [SUCCESS, FAILURE, NONE] * 4)
    data = TransitionDataset.open(every.folder, outcomes=choice)
    assert data.left_out == left_out
    assert {drive.outcome for drive in data.drives} == kept
    assert outcomes_of(data, 'train') == outcomes_of(data, 'val') == kept
    assert set(data.episodes) <= set(every.episodes), 'no held-out episode is trained on'
    rows = np.concatenate([np.arange(d.start, d.stop) for d in data.drives])
    for split in ('train', 'val', 'all'):
        assert set(data.starts(split)) <= set(rows)
        assert len(data.starts(split)) == sum(row in rows for row in every.starts(split))


def test_a_choice_that_leaves_nothing_says_what_there_is(tmp_path: Path) -> None:
    data = data_of(tmp_path, [FAILURE, NONE, NONE])
    with pytest.raises(
        DatasetError,
        match=r'train.outcomes=succeeded leaves no training episode: 1 failed, 2 without an outc',
    ):
        TransitionDataset.open(data.folder, outcomes='succeeded')
    data = data_of(tmp_path / 'more', [SUCCESS, NONE, NONE])
    with pytest.raises(DatasetError, match='leaves no held-out episode: 1 succeeded, 2 without'):
        TransitionDataset.open(data.folder, outcomes='succeeded')


def test_of_few_episodes_one_is_held_out_whatever_its_outcome() -> None:
    drives = [Drive(0, 30, 'a/0', SUCCESS), Drive(30, 60, 'b/0', FAILURE)]
    found = hold_out_each(drives, [True, True], 0.1, 0, 5)
    assert sorted(episode.split for episode in found) == ['train', 'val']
    assert found == hold_out_each([d._replace(outcome='') for d in drives], [True] * 2, 0.1, 0, 5)


def test_train_leaves_failures_out_and_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(tmp_path, [SUCCESS, FAILURE] * 3 + [NONE])
    words = ['train', str(data.folder), '--out', str(tmp_path / 'run'), *FEW]
    assert main([*words, 'train.outcomes=not_failed']) == 0
    said = capsys.readouterr().out
    assert '(4 episodes).' in said
    assert 'train.outcomes=not_failed leaves out the episodes that are 3 failed.' in said
    assert settings_of(load(tmp_path / 'run')).outcomes == 'not_failed'
    assert main([*words, 'train.outcomes=all']) == 2
    assert 'outcomes' in capsys.readouterr().err, 'a run is of one choice'
    assert main([*words[:3], str(tmp_path / 'other'), *FEW, 'train.outcomes=none']) == 2
    assert 'not_failed, succeeded' in capsys.readouterr().err
    assert main(['prepare', str(tmp_path / 'run'), 'prepare.steps=2']) == 0
    kept = TransitionDataset.open(data.folder, outcomes='not_failed').episodes
    drives = load_file(tmp_path / 'run' / 'drives.safetensors')
    assert len(drives['left']) == sum(e.stop - e.start for e in kept if e.split == 'train')
    assert Train().outcomes == 'all'
