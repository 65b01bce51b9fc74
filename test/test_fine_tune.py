# SPDX-License-Identifier: Apache-2.0
"""A model is trained further on new recordings, and does not forget the old ones."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest
from recordings import contents
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.joined import JoinedDataset
from smwm_ros.errors import CheckpointError, ConfigError, DatasetError
from smwm_ros.evaluation.fit_to_images import CommandFit, measure_commands
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.checkpoint import Checkpoint, load
from smwm_ros.planning import frame_bank
from smwm_ros.training.batches import Batches
from smwm_ros.training.fine_tune import held_out_rows, Origin, sampler_of
from smwm_ros.training.train import train
import torch
from worlds import BLOCK, dot_dataset, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
PLANNER = config.Planner()
LONG = config.Train(steps=250, batch=32, eval_every=125, device='cpu')
SHORT = replace(LONG, steps=20, eval_every=10)
WORDS = ('train.steps=20', 'train.batch=32', 'train.eval_every=10', 'train.device=cpu')


def negative(folder: Path, episodes: int = 6) -> TransitionDataset:
    """Record a dot on a white canvas: another look, and commands of half the size."""
    rng = np.random.default_rng(1)
    actions = rng.uniform(-0.25, 0.25, (episodes, 40, 2))
    made = dot_dataset(folder, episodes, 40, actions)
    column = folder / 'shards' / 'dots' / 'pixels.npy'
    np.save(column, 255 - np.load(column))
    return TransitionDataset.open(made.folder)


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an old dataset, a run on it, and a new dataset."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('tuned')
    old = dot_dataset(folder / 'old')
    negative(folder / 'new')
    train(old, folder / 'run', TINY, LONG, PLANNER)
    frame_bank.save(folder / 'run', frame_bank.make(load(folder / 'run'), old), old.fingerprint)
    return folder


def data(place: Path, name: str) -> TransitionDataset:
    return TransitionDataset.open(place / name)


def tune(
    place: Path, out: Path, settings: config.Train = SHORT, old: tuple[str, ...] = ('old',)
) -> Checkpoint:
    origin = Origin(load(place / 'run'), tuple(data(place, name) for name in old))
    return train(data(place, 'new'), out, TINY, settings, PLANNER, origin=origin)


def weights(checkpoint: Checkpoint) -> list[torch.Tensor]:
    return list(checkpoint.model.state_dict().values())


def equal(one: Checkpoint, two: Checkpoint) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))


def test_a_joined_dataset_holds_the_rows_of_all_and_no_window_crosses(place: Path) -> None:
    new, old = data(place, 'new'), data(place, 'old')
    joined = JoinedDataset([new, old])
    assert len(joined) == len(new) + len(old)
    for part, begin in ((new, 0), (old, len(new))):
        rows = np.random.default_rng(0).permutation(len(part))[:50]
        for read in ('pixels', 'actions', 'states', 'confidence', 'recorded'):
            found, wanted = (getattr(one, read)(at) for one, at in
                             ((joined, rows + begin), (part, rows)))  # fmt: skip
            assert np.array_equal(found, wanted, equal_nan=found.dtype.kind == 'f'), read
    for split in ('train', 'val', 'all'):
        wanted = np.concatenate([new.starts(split), old.starts(split) + len(new)])
        assert np.array_equal(joined.starts(split), wanted)
    assert joined.fingerprint == new.fingerprint


def test_a_part_without_measured_states_has_unknown_ones(place: Path, tmp_path: Path) -> None:
    new, blind = data(place, 'new'), dot_dataset(tmp_path / 'blind', state=config.State())
    joined = JoinedDataset([new, blind])
    measured = joined.measured(np.arange(len(joined)))
    assert measured[: len(new)].all()
    assert not measured[len(new) :].any()
    assert JoinedDataset([blind, new]).states(np.arange(9)).shape == (9, 0)


def test_datasets_of_two_robots_cannot_be_joined(place: Path, tmp_path: Path) -> None:
    other = dot_dataset(tmp_path / 'block', action_block=BLOCK + 1)
    with pytest.raises(DatasetError, match=f'dataset.action_block is {BLOCK + 1}, and {BLOCK} in'):
        JoinedDataset([data(place, 'old'), other])


@pytest.mark.parametrize('share', [0.25, 0.5])
def test_each_batch_has_the_share_of_old_windows_and_each_epoch_has_all(
    place: Path, share: float
) -> None:
    new = data(place, 'new')
    batches = Batches(
        JoinedDataset([new, data(place, 'old')]), load(place / 'run').scaler, torch.device('cpu')
    )
    sampler = sampler_of(batches, len(new), replace(SHORT, old_share=share))
    drawn = [sampler(step) for step in range(120)]
    assert all((rows >= len(new)).sum() == share * SHORT.batch for rows in drawn)
    assert set(np.concatenate(drawn)) == set(batches.starts('train'))
    assert np.array_equal(sampler(7), drawn[7])
    assert any((rows[:8] >= len(new)).any() and (rows[:8] < len(new)).any() for rows in drawn)
    none = sampler_of(batches, len(new), replace(SHORT, old_share=0.0))
    assert all((none(step) < len(new)).all() for step in range(30))
    held_out = held_out_rows(batches, len(new), 40)
    assert (held_out < len(new)).sum() == 20
    assert set(held_out) <= set(batches.starts('val'))


def test_it_begins_with_the_weights_and_keeps_the_scale_of_the_actions(
    place: Path, tmp_path: Path
) -> None:
    run = load(place / 'run')
    still = replace(SHORT, from_lr=1e-4)
    tuned = tune(place, tmp_path / 'tuned', still)
    names = [name for name, _ in run.model.named_parameters()]
    pairs = ((run.model.state_dict()[name], tuned.model.state_dict()[name]) for name in names)
    assert all(torch.allclose(a, b, atol=20 * 1e-4 * still.lr) for a, b in pairs)
    assert not equal(run, tuned)
    assert tuned.scaler.std.tolist() == run.scaler.std.tolist()
    assert data(place, 'new').action_scaler().std.tolist() != run.scaler.std.tolist()


def test_it_learns_the_new_recordings_and_forgets_the_old_ones_only_without_them(
    place: Path, tmp_path: Path
) -> None:
    found: dict[str, list[CommandFit]] = {}
    run = load(place / 'run')
    mixed = tune(place, tmp_path / 'mixed', LONG)
    alone = tune(place, tmp_path / 'alone', LONG, ())
    for name in ('new', 'old'):
        found[name] = [measure_commands(one, data(place, name)) for one in (run, mixed, alone)]
    new, old = ([fit.forward + 1 - fit.inverse_r2 for fit in found[key]] for key in found)
    assert new[1] < 0.5 * new[0]
    assert old[1] < 1.3 * old[0] + 0.05
    assert old[2] > 1.4 * old[1]


def test_an_interrupted_one_ends_with_the_same_weights(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune(place, tmp_path / 'whole')
    from smwm_ros.training import learner

    taken, step = [0], learner.Learner.step

    def interrupted(self: learner.Learner, number: int, batch: object) -> object:
        taken[0] += 1
        if taken[0] == 15:
            raise KeyboardInterrupt
        return step(self, number, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(learner.Learner, 'step', interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune(place, tmp_path / 'again')
    assert equal(tune(place, tmp_path / 'again'), whole)
    assert taken == [15]


def test_the_verb_prints_both_and_records_where_the_model_comes_from(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = contents(place / 'run'), tmp_path / 'tuned'
    words = ['train', str(place / 'new'), '--out', str(out), '--from', str(place / 'run'), *WORDS]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f'50% of each batch from {place / "old"}' in shown
    assert contents(place / 'run') == before
    tuned = load(out)
    assert tuned.model_config == TINY
    for name in ('new', 'old'):
        fit = measure_commands(tuned, data(place, name))
        part = shown.partition(f'{place / name} ({name})')[2]
        assert f'{fit.inverse_r2:.2f}' in part.split('inverse R2', 1)[1].splitlines()[0]
    record = checkpoints.read_meta(out).info.tuned_from
    assert (out / record['run']).resolve() == (place / 'run').resolve()
    assert record['weights'] == checkpoints.read_meta(place / 'run').weights_sha256
    assert [(out / name).resolve() for name in record['data']] == [(place / 'old').resolve()]
    # The album is of the new weights, and shows both datasets.
    frame_bank.load(out, 'the test')
    # A run that begins with it mixes in all that it was trained on.
    third = negative(tmp_path / 'third', 8)
    words[1:6] = [str(third.folder), '--out', str(tmp_path / 'next'), '--from', str(out)]
    assert main(words) == 0
    record = checkpoints.read_meta(tmp_path / 'next').info.tuned_from
    found = [(tmp_path / 'next' / name).resolve() for name in record['data']]
    assert found == [(place / name).resolve() for name in ('new', 'old')]


def test_prepare_uses_all_recordings_of_the_run(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(place, tmp_path / 'tuned')
    assert main(['prepare', str(tmp_path / 'tuned'), 'prepare.steps=5']) == 0
    frames = len(JoinedDataset([data(place, 'new'), data(place, 'old')]).starts('train'))
    assert int(capsys.readouterr().out.partition(' from ')[2].split()[0]) >= frames


def test_bags_added_to_the_dataset_of_the_run_are_not_mixed_in_twice(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['train', str(place / 'old'), '--out', str(tmp_path / 'tuned')]
    assert main([*words, '--from', str(place / 'run'), *WORDS]) == 0
    shown = capsys.readouterr().out
    assert f'whose recordings are part of {place / "old"}' in shown
    assert 'may forget' not in shown
    assert shown.count('Held-out episodes of') == 1


def test_without_old_recordings_it_warns(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ['train', str(place / 'new'), '--out', str(tmp_path / 'tuned')]
    assert main([*words, '--from', str(place / 'run'), '--mix', 'none', *WORDS]) == 0
    assert 'warning: no old recordings are mixed in' in capsys.readouterr().out


def test_what_does_not_fit_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    block = dot_dataset(tmp_path / 'block', action_block=BLOCK + 1)
    out, run, new = str(tmp_path / 'out'), str(place / 'run'), str(place / 'new')

    def refusal(*words: str) -> str:
        assert main(['train', *words, *WORDS]) == 2
        return capsys.readouterr().err

    assert f'dataset.action_block is {BLOCK + 1}, and {BLOCK} in {run}' in refusal(
        str(block.folder), '--out', out, '--from', run
    )
    assert 'model.latent is 4 there and 9 now' in refusal(
        new, '--out', out, '--from', run, 'model.latent=9'
    )
    assert 'is the run to begin with' in refusal(new, '--out', run, '--from', run)
    assert '--mix: needs --from' in refusal(new, '--out', out, '--mix', 'none')
    assert 'none alone' in refusal(new, '--out', out, '--from', run, '--mix', 'none', new)
    assert not Path(out).exists()
    # A finished run is not another one's.
    tune(place, tmp_path / 'tuned')
    assert 'tuned_from.weights' in refusal(
        new, '--out', str(tmp_path / 'tuned'), *(f'model.{name}={size}' for name, size in
        (('latent', TINY.latent), ('hidden', TINY.hidden)))
    )  # fmt: skip


def test_a_dataset_that_moved_has_to_be_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = place / 'run' / 'meta.json'
    text = meta.read_text()
    there = json.loads(text)
    there['info']['data'] = '../elsewhere'
    words = ['train', str(place / 'new'), '--out', str(tmp_path / 'tuned')]
    words += ['--from', str(place / 'run'), *WORDS]
    try:
        meta.write_text(json.dumps(there))
        assert main(words) == 2
        assert 'was moved or removed; name all old datasets' in capsys.readouterr().err
        assert main([*words, '--mix', str(place / 'old')]) == 0
    finally:
        meta.write_text(text)


def test_a_latent_action_model_is_refused(place: Path) -> None:
    run = load(place / 'run')
    latent = run._replace(model_config=config.Model(kind='latent_action'))
    with pytest.raises(CheckpointError, match='cannot be trained further'):
        Origin(latent).require_fit(data(place, 'new'), latent.model_config)


def test_a_model_of_the_state_keeps_the_scale_of_the_state(tmp_path: Path) -> None:
    old, new = dot_dataset(tmp_path / 'old'), negative(tmp_path / 'new')
    model = replace(TINY, kind='state_align')
    train(old, tmp_path / 'run', model, SHORT, PLANNER)
    run = load(tmp_path / 'run')
    tuned = train(new, tmp_path / 'tuned', model, SHORT, PLANNER, origin=Origin(run, (old,)))
    for name, before in run.model.state_dict().items():
        if name.startswith('state_head') and name.endswith(('mean', 'std')):
            assert torch.equal(before, tuned.model.state_dict()[name]), name
    blind = dot_dataset(tmp_path / 'blind', state=config.State())
    with pytest.raises(DatasetError, match=r'size of robot\.state\.fields is 0, and 2'):
        Origin(run, (old,)).require_fit(blind, model)
    with pytest.raises(ConfigError, match=r'model\.kind is state_align there'):
        Origin(run).require_fit(new, TINY)
