# SPDX-License-Identifier: Apache-2.0
"""`smwm evaluate`: methods beside each other, longer horizons, shifts, and a page to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recordings import without_pictures
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.closed_loop import Outcome
from smwm_ros.evaluation.methods import possible_kinds
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.scores import Round
from smwm_ros.model.checkpoint import META, save
from smwm_ros.training.train import train
from worlds import dot_dataset, TINY, tiny_checkpoint

SMALL = ['evaluate.pairs=3', 'evaluate.budget=4', 'evaluate.repeats=2', 'planner.samples=8']
SMALL += ['planner.elites=4', 'evaluate.offset=5']


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TransitionDataset]:
    """Return a run that was trained for three steps, and its dataset."""
    folder = tmp_path_factory.mktemp('trained')
    dots = dot_dataset(folder / 'dots', val_share=0.2)
    planner = tiny_checkpoint().planner
    train(dots, folder / 'run', TINY, config.Train(steps=3, batch=8), planner)
    return folder / 'run', dots


def reported(path: Path) -> Any:
    return json.loads(path.read_text(encoding='utf-8'))


def test_the_verb_prints_a_table_and_writes_every_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dots = dot_dataset(tmp_path / 'dots', val_share=0.2)
    save(tmp_path / 'run', tiny_checkpoint())
    assert main(['evaluate', str(tmp_path / 'run'), '--data', str(dots.folder), *SMALL]) == 0
    said = capsys.readouterr().out
    assert 'not the dataset that the checkpoint was trained on' in said
    for name in ('smwm', 'random', 'expert'):
        assert f'\n{name} ' in said
    assert 'of 3 pairs.' in said
    assert 'p99' in said
    written = reported(tmp_path / 'run' / 'evaluate.json')
    assert written['methods']['smwm']['planner']['samples'] == 8
    (only,) = written['rounds']
    assert (only['offset'], only['budget'], only['shift']) == (5, 4, '')
    assert len(only['results']['random']['outcomes']) == 6
    assert set(only['compared']) == {'random', 'expert'}
    page = (tmp_path / 'run' / 'evaluate.html').read_text(encoding='utf-8')
    assert 'src="data:image/png' in page
    assert 'http' not in without_pictures(page), 'the page needs something beside itself'
    if hasattr(cv2, 'imwriteanimation'):  # OpenCV 4.12 or newer
        assert (tmp_path / 'run' / 'evaluate.gif').read_bytes().startswith(b'GIF8')


def test_fresh_episodes_stand_in_for_a_dataset_and_the_budget_grows_with_the_offset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / 'run', tiny_checkpoint())
    words = ['--horizons', '5,10,120', '--out', str(tmp_path / 'found.json')]
    assert main(['evaluate', str(tmp_path / 'run'), *words, *SMALL, 'evaluate.pairs=2']) == 0
    rounds = reported(tmp_path / 'found.json')['rounds']
    assert [(one['offset'], one['budget']) for one in rounds] == [(5, 4), (10, 8), (120, 96)]
    said = capsys.readouterr().out
    assert 'goals 120 raw steps away, 96 to get there' in said
    assert said.count('\n     5        4') + said.count('\n   120       96') == 2
    starts = [[pair['start'] for pair in one['pairs']] for one in rounds]
    assert all(len(set(some)) == 2 for some in starts)


def test_methods_are_trained_beside_the_run_and_reused(
    trained: tuple[Path, TransitionDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    run, dots = trained
    words = ['evaluate', str(run), '--data', str(dots.folder), *SMALL]
    words += ['--methods', f'smwm,forward_only,paper,random,{run.parent / "run_forward_only"}']
    assert main([*words[:-1], 'smwm,forward_only,paper,random']) == 0
    blind = run.with_name('run_forward_only')
    assert reported(blind / META)['model']['kind'] == 'forward_only'
    assert reported(blind / META)['info']['train'] == reported(run / META)['info']['train']
    written = (blind / META).stat().st_mtime_ns
    capsys.readouterr()
    assert main(words) == 0  # trains nothing: what is there is reused, by name or by folder
    assert (blind / META).stat().st_mtime_ns == written
    found = reported(run / 'evaluate.json')
    names = ['smwm', 'forward_only', 'paper', str(blind)]
    assert list(found['methods']) == names
    (only,) = found['rounds']
    assert list(only['results']) == [*names, 'random', 'expert']
    outcomes = {name: only['results'][name]['outcomes'] for name in names}
    assert outcomes['forward_only'] == outcomes[str(blind)]
    assert only['compared']['forward_only'].keys() >= {'difference', 'interval', 'p'}
    paper = found['methods']['paper']
    assert (paper['execute'], paper['planner']['cost']) == (10, 'last')  # 5 blocks of 2
    assert (paper['planner']['samples'], paper['planner']['iterations']) == (300, 30)


def test_every_kind_is_judged_strictly_too_and_those_with_the_state_are_marked(
    trained: tuple[Path, TransitionDataset], capsys: pytest.CaptureFixture[str]
) -> None:
    run, dots = trained
    words = ['evaluate', str(run), '--data', str(dots.folder), '--strict', '--fresh']
    words += ['--methods', 'all', '--horizons', '5,10', *SMALL, 'evaluate.repeats=1']
    assert main(words) == 0
    found = reported(run / 'evaluate.json')
    names = ['smwm', 'forward_only', 'sigreg', 'state_align', 'smwm+sigreg', 'state_align+sigreg']
    assert list(found['methods']) == names
    marked = [name for name in names if found['methods'][name]['state_trained']]
    assert marked == ['state_align', 'state_align+sigreg']
    assert found['dataset'] == 'fresh episodes'
    for one in found['rounds']:
        assert one['state_trained'] == marked
        assert (one['strict']['pairs'], one['pairs_of_the_usual_protocol']) == (3, 3)
        assert one['strict']['compared'].keys() == {*names[1:], 'random', 'expert'}
        assert one['strict']['compared']['sigreg'].keys() >= {'difference', 'interval', 'p'}
        for name, result in one['strict']['results'].items():
            assert result['solved_at_start'] == 0
            tried = one['results'][name]['outcomes']
            good = sum(attempt['strict_steps'] is not None for attempt in tried)
            assert result['success'] == pytest.approx(good / 3)
    page = (run / 'evaluate.html').read_text(encoding='utf-8')
    for text in ('Strict judgement', 'state_align+sigreg*', 'trained with the measured state'):
        assert text in page
    said = capsys.readouterr().out
    for text in ('strict judgement:', '\nstate_align* ', '* trained with the measured state'):
        assert text in said


def test_only_kinds_that_the_dataset_allows_are_all(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots', val_share=0.2)
    assert possible_kinds(dots) == [kind for kind in config.KINDS if kind != 'latent_action']
    blind = dot_dataset(tmp_path / 'blind', val_share=0.2, state=config.State(topic=''))
    assert possible_kinds(blind) == ['smwm', 'forward_only', 'sigreg', 'smwm+sigreg']


def test_pairs_that_are_all_solved_are_an_error_before_anything_is_trained(
    trained: tuple[Path, TransitionDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, dots = trained
    words = ['evaluate', str(run), '--data', str(dots.folder), '--fresh', '--strict']
    words += ['--out', str(tmp_path / 'found.json'), *SMALL, 'evaluate.offset=1']
    assert main([*words, '--methods', 'smwm+sigreg']) == 2
    said = capsys.readouterr().err
    assert '0 of 101 pairs 1 raw step apart are not solved at the start, expected 3' in said
    assert 'raise evaluate.offset or --horizons' in said
    assert not (tmp_path / 'found.json').exists()


def test_shifts_stand_beside_the_arena_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / 'run', tiny_checkpoint())
    assert main(['evaluate', str(tmp_path / 'run'), '--shift', 'camera', *SMALL]) == 0
    rounds = reported(tmp_path / 'run' / 'evaluate.json')['rounds']
    assert [one['shift'] for one in rounds] == ['', 'camera']
    assert rounds[0]['pairs'] == rounds[1]['pairs']
    expert = [one['results']['expert']['success'] for one in rounds]
    assert expert[0] == expert[1], 'the expert does not look through the camera'
    said = capsys.readouterr().out
    assert 'camera shifted' in said
    assert said.count('camera') >= 2


def test_methods_are_compared_pair_by_pair_also_where_one_tried_again() -> None:
    pairs = [Pair(np.zeros(1), np.ones(1), row, row + 25, row) for row in range(2)]
    good, bad = Outcome(True, False, 9), Outcome(False, False, 50)
    outcomes = {'smwm': [good, bad], 'random': [good, bad, good, good]}
    found = Round(25, 50, '', pairs, outcomes).usual().compared()['random']
    assert (found['only_first'], found['only_second'], found['difference']) == (0, 0, 0.0)


REFUSED = {
    "did you mean 'two_room'": ['--arena', 'tworoom'],
    "did you mean 'sigreg'": ['--methods', 'smwm,sigred'],
    "did you mean 'camera'": ['--shift', 'camra'],
    "'friction': this shift changes nothing in this arena": ['--shift', 'friction'],
    'forward_only: is trained from --data, which is missing': ['--methods', 'forward_only'],
    'all: is trained from --data, which is missing': ['--methods', 'all'],
    'expected numbers like 25,50': ['--horizons', '25,fifty'],
    '--horizons: 0 is out of range': ['--horizons', '25,0'],
    'planner.horizon': ['planner.horizon=0'],
    'elites: 9 is more than the 8 samples': ['planner.samples=8', 'planner.elites=9'],
    'exceed the 6 raw steps of a plan': ['evaluate.execute=7'],
}


@pytest.mark.parametrize('message', REFUSED)
def test_nonsense_is_refused_in_one_line(
    message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / 'run', tiny_checkpoint())
    words = ['evaluate', str(tmp_path / 'run'), *SMALL, *REFUSED[message]]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert message in said
    assert not (tmp_path / 'run' / 'evaluate.json').exists()


def test_only_kinds_that_learn_from_the_same_data_are_compared(
    trained: tuple[Path, TransitionDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained
    other = dot_dataset(tmp_path / 'other', noise=0.1)
    words = ['evaluate', str(run), '--data', str(other.folder), '--methods', 'sigreg', *SMALL]
    assert main(words) == 2
    assert 'methods are compared on one dataset' in capsys.readouterr().err


def test_the_verb_refuses_a_dataset_of_another_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tiny_checkpoint()
    save(tmp_path / 'run', checkpoint)
    meta = tmp_path / 'dots' / 'dataset.json'
    dot_dataset(tmp_path / 'dots')
    index = json.loads(meta.read_text())
    index['robot']['dt'] = 0.05
    meta.write_text(json.dumps(index))
    assert main(['evaluate', str(tmp_path / 'run'), '--data', str(tmp_path / 'dots')]) == 2
    assert 'control period [s] is 0.05 in' in capsys.readouterr().err
