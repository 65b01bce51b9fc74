# SPDX-License-Identifier: Apache-2.0
"""A trained model is examined on drives it has not seen, and judged in words that are right."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import inspect, without_pictures
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, DatasetError
from smwm_ros.evaluation.examine import Examination, examine, spectrum
from smwm_ros.evaluation.probes import linear, nonlinear
from smwm_ros.evaluation.verdict import require_fit, verdict_of
from smwm_ros.model.checkpoint import add_info, Checkpoint, load, META
from smwm_ros.model.info import Info
from smwm_ros.model.regression import r2
from smwm_ros.training.batches import with_held_out
from smwm_ros.training.train import train
import worlds
from worlds import dot_dataset, TINY

pytestmark = pytest.mark.usefixtures('one_thread')
Capture = pytest.CaptureFixture[str]
MODEL = replace(TINY, latent=8)
TRAIN = config.Train(steps=250, batch=64, lr=1e-2, eval_every=50, device='cpu')
PLANNER = config.Planner(horizon=3)
ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / 'models' / 'two_room'


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a dataset and a run that learnt well from it."""
    folder = tmp_path_factory.mktemp('runs')
    learn(folder, dot_dataset(folder / 'data', episodes=40), 'good')
    return folder


def learn(
    folder: Path, data: TransitionDataset, name: str, model: config.Model = MODEL, **knobs: Any
) -> Path:
    train(data, folder / name, model, replace(TRAIN, **knobs), PLANNER)
    return folder / name


def test_a_good_run_is_fit_and_foresees(place: Path, capsys: Capture) -> None:
    found = inspect(capsys, place / 'good')
    assert found['verdict']['fit'], found['verdict']
    assert found['trained_on_it']
    assert found['measures']['outdone'] < 0.15
    for ours, copied in zip(*found['rollout'].values(), strict=True):
        assert ours < copied / 2
    for probe in found['probes'].values():
        assert probe['linear'] > 0.8
        assert probe['nonlinear'] > 0.8
    assert sum(found['spectrum'][:2]) > 0.5, 'the dot moves in two directions'


def test_the_page_of_a_run_needs_nothing_beside_itself(place: Path, capsys: Capture) -> None:
    assert main(['inspect', str(place / 'good')]) == 0
    said = capsys.readouterr().out
    assert 'Fit to plan with.' in said
    index = place / 'good' / 'index.html'
    assert f'(all pages there: {index})' in said
    assert 'href="./inspect.html"' in index.read_text(encoding='utf-8')
    page = (place / 'good' / 'inspect.html').read_text(encoding='utf-8')
    assert 'src="data:image/png' in page
    for part in ('http', '<script', 'no data', 'nan'):
        assert part not in without_pictures(page)
    for part in ('Prediction', 'coloured by pose.pose.position.y', 'nonlinear probe', 'Loss'):
        assert part in page


def test_frames_without_a_measured_state_are_left_out_of_the_probes(
    place: Path, capsys: Capture
) -> None:
    dot_dataset(place / 'holes', episodes=40, unmeasured=slice(0, None, 3))
    words = [str(place / 'good'), '--data', str(place / 'holes'), '--out', str(place / 'h.html')]
    found = inspect(capsys, *words)
    for probe in found['probes'].values():
        assert probe['linear'] > 0.8
        assert probe['nonlinear'] > 0.8
    page = (place / 'h.html').read_text(encoding='utf-8')
    assert '<p>Without measured state: ' in page
    assert 'coloured by pose.pose.position.y' in page
    assert 'nan' not in without_pictures(page)
    dot_dataset(place / 'nowhere', unmeasured=slice(None))
    words = [str(place / 'good'), '--data', str(place / 'nowhere'), '--out', words[-1]]
    assert inspect(capsys, *words)['probes'] == {}
    page = (place / 'h.html').read_text(encoding='utf-8')
    assert 'the sampled frames have no measured state' in page


def test_a_run_without_the_inverse_loss_is_called_collapsed(
    tmp_path: Path, capsys: Capture
) -> None:
    data = dot_dataset(tmp_path / 'data', episodes=20, noise=0.1)
    run = learn(tmp_path, data, 'run', replace(MODEL, kind='forward_only'), lr=5e-2)
    found = inspect(capsys, run)
    assert found['verdict']['name'] == 'collapsed'
    assert 'model.kind smwm' in found['verdict']['advice'][0]
    assert found['measures']['outdone'] > 0.25


def test_a_run_from_too_little_data_is_called_overfitted(tmp_path: Path, capsys: Capture) -> None:
    data = dot_dataset(tmp_path / 'data', episodes=3, length=8, noise=0.3)
    found = inspect(capsys, learn(tmp_path, data, 'run'))
    assert found['verdict']['name'] == 'overfitted'
    assert 'it was trained on 2 episodes' in found['verdict']['advice'][0]
    page = Path(found['page']).read_text(encoding='utf-8')
    words = '<li>Not fit to plan with: overfitted.'
    assert page.index('class="warnings"') < page.index(words) < page.index('class="tiles"')


def test_a_run_on_images_that_never_change_is_called_blind(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.full((worlds.SIZE, worlds.SIZE, 3), 127, np.uint8)
    monkeypatch.setattr(worlds, 'draw_dot', lambda place: grey)
    data = dot_dataset(tmp_path / 'data', episodes=6)
    found = inspect(capsys, learn(tmp_path, data, 'run', steps=20))
    assert found['verdict']['name'] == 'blind'
    assert 'camera' in found['verdict']['advice'][0]


def test_training_stores_the_verdict_that_the_plan_node_asks_for(
    tmp_path: Path, capsys: Capture
) -> None:
    dot_dataset(tmp_path / 'data', episodes=6)
    knobs = ['model.kind=forward_only', 'model.hidden=16', 'train.steps=20', 'train.device=cpu']
    words = ['train', str(tmp_path / 'data'), '--out', str(tmp_path / 'run'), *knobs]
    for _ in range(2):  # a finished run is kept, and so is its verdict
        assert main(words) == 0
        assert 'Not fit to plan with: collapsed.' in capsys.readouterr().out
    for folder in (tmp_path / 'run', tmp_path / 'run/best'):
        with pytest.raises(CheckpointError, match=r'collapsed.*node\.unfit:=accept'):
            require_fit(load(folder).info, 'run', accept=False)
        assert require_fit(load(folder).info, 'run', accept=True).endswith('by node.unfit')


def test_a_best_model_that_is_the_last_one_is_judged_once_and_another_one_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = list[Path | None]()

    def count(checkpoint: Checkpoint, *words: Any) -> Examination:
        judged.append(checkpoint.folder)
        return examine(checkpoint, *words)

    monkeypatch.setattr('smwm_ros.evaluation.examine.examine', count)
    dot_dataset(tmp_path / 'data', episodes=6)
    run, best = tmp_path / 'run', tmp_path / 'run' / 'best'
    words = ['train', str(tmp_path / 'data'), '--out', str(run), 'train.device=cpu']
    words += ['model.latent=4', 'model.hidden=16', 'train.batch=8', 'train.steps=2']
    assert main(words) == 0
    assert judged == [run]
    assert load(best).info.verdict == load(run).info.verdict
    for folder in (run, best):
        meta = json.loads((folder / META).read_text())
        del meta['info']['verdict']
        meta['planner']['horizon'] += folder == best
        (folder / META).write_text(json.dumps(meta))
    assert main(words) == 0
    assert judged == [run, run, best]


def test_inspection_stores_the_verdict_on_own_data_alone(place: Path, capsys: Capture) -> None:
    add_info(place / 'good', verdict={'name': 'lost', 'why': 'a test says so', 'advice': []})
    dot_dataset(place / 'others', episodes=10, noise=0.01)
    out = place / 'others.html'
    inspect(capsys, place / 'good', '--data', place / 'others', '--out', out, '--samples', '100')
    with pytest.raises(CheckpointError, match=r'\(lost\): a test says so; to use it'):
        require_fit(load(place / 'good').info, 'run', accept=False)
    inspect(capsys, place / 'good', '--samples', '100')
    assert require_fit(load(place / 'good').info, 'run', accept=False) == ''


def test_a_run_that_cannot_be_written_is_inspected_all_the_same(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_info(place / 'good', verdict={'name': 'lost', 'why': 'a test says so', 'advice': []})
    monkeypatch.setattr(Path, 'replace', refuse_to_replace)
    page = place / 'elsewhere' / 'page.html'
    page.parent.mkdir()
    assert main(['inspect', str(place / 'good'), '--out', str(page), '--samples', '100']) == 0
    said = capsys.readouterr().out
    assert 'Fit to plan with.' in said
    assert 'the verdict is not stored for the plan node: ' in said


def refuse_to_replace(part: Path, path: Path, real: Any = Path.replace) -> Any:
    """Rename a file, unless it is the meta.json of a checkpoint."""
    if path.name == 'meta.json':
        raise PermissionError(13, 'Permission denied')
    return real(part, path)


@pytest.mark.parametrize('damaged', [None, 'fit', {'name': 'fit'}, {'advice': 3}])
def test_a_damaged_verdict_is_one_line(damaged: Any) -> None:
    with pytest.raises(
        CheckpointError, match=r'run: the stored verdict is damaged .* smwm inspect'
    ):
        require_fit(Info(verdict=damaged), 'run', accept=True)


def test_a_model_without_a_verdict_is_accepted_with_a_warning() -> None:
    assert 'smwm inspect' in require_fit(Info(), 'run', accept=False)


def test_a_run_can_be_examined_on_other_drives_which_are_named(
    place: Path, capsys: Capture
) -> None:
    dot_dataset(place / 'later', episodes=10, noise=0.01)
    out = place / 'later.html'
    found = inspect(capsys, place / 'good', '--data', place / 'later', '--out', out)
    assert found['verdict']['fit']
    assert not found['trained_on_it']
    assert out.is_file()


def test_drives_seen_by_another_camera_are_called_unlike_and_not_collapsed(
    place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, rng = worlds.draw_dot, np.random.default_rng(0)
    monkeypatch.setattr(
        worlds,
        'draw_dot',
        lambda dot: (255 - 0.6 * draw(dot) - rng.uniform(0, 30, draw(dot).shape)).astype(np.uint8),
    )
    dot_dataset(place / 'negative', episodes=10)
    words = ('--data', place / 'negative', '--out', place / 'negative.html')
    found = inspect(capsys, place / 'good', *words)
    assert found['measures']['nonlinear_r2'] > 0.25, 'the dot is there to be seen'
    assert found['verdict']['name'] == 'unlike'
    assert 'a probe fitted to them reads' in found['verdict']['why']
    assert 'randomise' in ' '.join(found['verdict']['advice'])
    assert 'lambda' not in ' '.join(found['verdict']['advice'])


def test_the_shipped_model_looks_at_another_renderer_and_says_so(
    tmp_path: Path, capsys: Capture
) -> None:
    looks = ['light=[0.4,0.4]', 'colour=[-0.3,-0.3]']
    bags, data = str(tmp_path / 'bags'), str(tmp_path / 'data')
    few = ['--episodes', '8', '--jobs', '1', '--out', bags, 'arena.image_size=64']
    assert main(['collect', 'two_room', *few, *(f'randomise.{look}' for look in looks)]) == 0
    assert main(['convert', bags, '--out', data, '--config', 'two_room']) == 0
    capsys.readouterr()
    found = inspect(capsys, SHIPPED, '--data', data, '--out', tmp_path / 'page.html')
    assert found['measures']['forward_over_copy'] > 2
    assert found['verdict']['name'] == 'unlike'


def test_one_recording_is_cut_in_two_to_judge_a_model_by(place: Path, capsys: Capture) -> None:
    dot_dataset(place / 'one', episodes=1, length=300, val_share=0.0)
    words = (place / 'good', '--data', place / 'one', '--out', place / 'one.html')
    found = inspect(capsys, *words)
    assert found['verdict']['fit'], found['verdict']
    assert 'the only one was cut' in found['note']
    page = (place / 'one.html').read_text(encoding='utf-8')
    note = f'N{found["note"][1:]}.'
    assert page.index(f'<li>{note}</li>') < page.index('class="tiles"'), 'warnings come first'
    main(['inspect', *map(str, words)])
    assert found['note'] in capsys.readouterr().out


@pytest.mark.parametrize('episodes', [1, 3])
def test_the_parts_of_a_cut_dataset_show_no_moment_twice(tmp_path: Path, episodes: int) -> None:
    data = dot_dataset(tmp_path / 'data', episodes=episodes, length=30, val_share=0.0)
    halves, note = with_held_out(data)
    assert ('the only one' if episodes == 1 else f'each of {episodes}') in note
    block = data.info.action_block
    for first, second in pairwise(halves.episodes):
        assert first.stop <= second.start
        if first.split == 'train':
            assert second.start - first.stop > block, 'a model step joins the two'
    for split in ('train', 'val'):
        assert len(halves.starts(split))
    assert {one.split for one in data.episodes} == {'train'}, 'the dataset itself stays whole'
    whole, nothing = with_held_out(dot_dataset(tmp_path / 'split', episodes=4))
    assert not nothing
    assert {one.split for one in whole.episodes} == {'train', 'val'}


def test_a_recording_too_short_to_cut_is_refused(tmp_path: Path) -> None:
    data = dot_dataset(tmp_path / 'data', episodes=1, length=6)
    with pytest.raises(DatasetError, match=r'the longest has 6 ticks; expected .* at least 14'):
        with_held_out(data)


def test_the_best_checkpoint_of_a_run_finds_the_dataset_too(place: Path, capsys: Capture) -> None:
    found = inspect(capsys, place / 'good' / 'best', '--samples', '100')
    assert found['kind'] == 'run'
    assert Path(found['data']) == place / 'data'


def test_a_run_whose_dataset_is_gone_is_still_described(
    place: Path, tmp_path: Path, capsys: Capture
) -> None:
    (place / 'good').rename(tmp_path / 'moved')
    try:
        assert inspect(capsys, tmp_path / 'moved')['kind'] == 'checkpoint'
        main(['inspect', str(tmp_path / 'moved')])
        assert '--data DATASET' in capsys.readouterr().out
    finally:
        (tmp_path / 'moved').rename(place / 'good')


def test_a_dataset_for_another_robot_is_refused(
    place: Path, tmp_path: Path, capsys: Capture
) -> None:
    other = dot_dataset(tmp_path / 'other', episodes=4)
    index = json.loads((other.folder / 'dataset.json').read_text())
    index['robot']['dt'] = 0.5
    (other.folder / 'dataset.json').write_text(json.dumps(index))
    assert main(['inspect', str(place / 'good'), '--data', str(other.folder)]) == 2
    assert 'control period [s] is 0.5' in capsys.readouterr().err


SOUND = {
    'pixel_std': 40.0, 'train_transitions': 900.0, 'train_episodes': 9.0, 'motion': 0.1,
    'train_inverse_r2': 0.8, 'inverse_r2': 0.7, 'command_r2': 0.8, 'latent_std': 0.5,
    'train_forward_over_copy': 0.1, 'forward_over_copy': 0.2, 'outdone': 0.02,
    'rollout_over_copy': 0.1, 'command_range': 0.9,
}  # fmt: skip


ERRORS = ('forward_over_copy', 'train_forward_over_copy')
FOREIGN = {  # seen by another camera
    'trained_on_it': 0.0, 'inverse_r2': -3.0, 'train_inverse_r2': -3.0, 'command_r2': -2.0,
    'command_echo': 0.1, **dict.fromkeys(ERRORS, 4.0),
}  # fmt: skip


@pytest.mark.parametrize(
    ('changes', 'name', 'words'),
    [
        ({}, 'fit', ''),
        ({'command_range': 0.1}, 'fit', 'vary them more'),
        ({'motion': 0.001}, 'fit', 'raise dataset.action_block'),
        ({'motion': 0.9}, 'fit', 'lower dataset.action_block'),
        ({'linear_r2': 0.5, 'nonlinear_r2': 0.9}, 'fit', 'not linearly'),
        ({'rollout_over_copy': 0.9}, 'short-sighted', 'train.unroll=3'),
        ({'forward_over_copy': 0.8, 'train_forward_over_copy': 0.8}, 'lost', 'train longer'),
        ({'outdone': 0.45}, 'lost', 'inverse_weight'),
        ({'command_r2': 0.05, 'train_inverse_r2': 0.1}, 'collapsed', 'inverse_target'),
        ({'forward_over_copy': 1.5}, 'overfitted', 'record more'),
        ({'pixel_std': 1.0, 'outdone': 0.5}, 'blind', 'camera'),
        ({**FOREIGN, 'nonlinear_r2': 0.8}, 'unlike', 'this camera'),
        ({**FOREIGN, 'nonlinear_r2': 0.0}, 'collapsed', 'inverse_target'),
        ({**FOREIGN, 'nonlinear_r2': 0.8, 'trained_on_it': 1.0}, 'collapsed', 'inverse_target'),
        ({**FOREIGN, 'nonlinear_r2': 0.8, 'command_echo': 0.9}, 'collapsed', 'command_delay'),
        ({**FOREIGN, **dict.fromkeys(ERRORS, 50.0)}, 'unlike', 'this camera'),
    ],
)
def test_the_first_thing_that_is_wrong_counts(
    changes: dict[str, float], name: str, words: str
) -> None:
    verdict = verdict_of({**SOUND, **changes}, MODEL, 5)
    assert verdict.name == name
    assert words in ' '.join(verdict.advice)
    assert bool(words) == bool(verdict.advice)


def test_probes_read_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((1500, 6))
    seen = np.stack([z @ rng.standard_normal(6), z[:, 0] ** 2, rng.standard_normal(1500)], axis=1)
    for probe, squared in ((linear, (-0.2, 0.2)), (nonlinear, (0.8, 1.0))):
        line, square, noise = r2(probe(z[:1000], seen[:1000])(z[1000:]), seen[1000:])
        assert line > 0.95
        assert squared[0] < square < squared[1]
        assert noise < 0.2


def test_the_spectrum_of_a_plane_has_two_directions() -> None:
    rng = np.random.default_rng(0)
    shares = spectrum(rng.standard_normal((100, 2)) @ rng.standard_normal((2, 8)) + 5)
    assert shares[:2].sum() == pytest.approx(1)
    assert spectrum(np.ones((10, 3))).sum() == 0
