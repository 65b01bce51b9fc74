# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of the arenas: which outcomes they pool, and that every row is explained."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
import io
import json
from pathlib import Path
import re
import runpy
from typing import Any

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.cli import main as smwm
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import Attempt, Move
from smwm_ros.evaluation.closed_loop import Outcome
from smwm_ros.evaluation.fit_to_images import CommandFit
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.evaluation.preflight import Check
from smwm_ros.evaluation.statistics import wilson
from smwm_ros.interfaces import Frame
from smwm_ros.load import load_config
from worlds import tiny_checkpoint

BENCH = Path(__file__).resolve().parents[1] / 'bench'
KINDS = ('forward_only', 'sigreg')
GOOD, BAD, SOLVED = Outcome(True, False, 9), Outcome(False, False, 50), Outcome(True, True, 0)


class StillAgent:
    """Stays where it is."""

    def begin(self, attempts: Sequence[Attempt]) -> None:
        """Need nothing."""

    def act(self, lanes: Sequence[int], frames: Sequence[Frame]) -> list[Move]:
        """Do nothing."""
        return [Move(np.zeros(2)) for _ in lanes]


def apart(outcomes: list[Outcome]) -> list[Outcome]:
    """Let every outcome come from an episode of its own."""
    return [one._replace(episode=number) for number, one in enumerate(outcomes)]


def found(*more: str) -> dict[str, list[list[Outcome]]]:
    """Return the outcomes of all methods, with one seed."""
    names = ('ours', 'paper', *more, *KINDS, 'random', 'expert')
    return {name: [apart([GOOD, BAD, SOLVED, SOLVED])] for name in names}


def test_a_row_pools_the_pairs_of_all_seeds_and_has_their_interval(bench: Any) -> None:
    pooled: dict[str, list[list[Outcome]]] = {}
    for _ in range(3):
        bench.success.note(pooled, 'ours', apart([GOOD] * 9 + [BAD]))
        bench.success.note(pooled, 'random', [GOOD] + [BAD] * 3)
    row = bench.success.row('a', pooled, 'ours', 'random')
    assert (row.value, row.peer_value, row.peer) == (0.9, 0.25, 'random policy')
    assert row.ratio == pytest.approx(3.6)
    assert row.interval == pytest.approx(wilson(27, 30))
    said = bench.common.describe(row)
    assert '0.9 of the goals (95 %: 0.744 to 0.965); random policy: 0.25' in said


def test_a_peer_that_never_reaches_a_goal_has_no_ratio(bench: Any) -> None:
    row = bench.success.row('a', {'ours': [[GOOD]], 'random': [[BAD]]}, 'ours', 'random')
    assert row.ratio is None
    assert 'ratio' not in bench.common.describe(row)


def test_success_is_also_reported_without_pairs_that_are_solved_at_the_start(bench: Any) -> None:
    rows = {row.measure: row for row in bench.success.rows('x', found(), KINDS)}
    assert rows['x.success'].value == 3 / 4
    assert rows['x.success_without_solved'].value == 1 / 2
    assert rows['x.success_without_solved'].interval == wilson(1, 2)


def test_the_gain_of_a_policy_is_also_reported_without_pairs_solved_at_the_start(
    bench: Any,
) -> None:
    tried = {'ours': [apart([GOOD, BAD, BAD])]}
    tried |= {name: [apart([GOOD, BAD, SOLVED])] for name in bench.cube.HELPED}
    rows = {row.measure: row for row in bench.cube.rows(tried)}
    assert set(rows) <= set(bench.common.TARGETS)
    for name in ('proposals', 'amortised'):
        assert rows[f'cube.success_{name}'].value == pytest.approx(2 / 3)
        assert rows[f'cube.success_{name}'].peer_value == pytest.approx(1 / 3)
        assert rows[f'cube.success_{name}_without_solved'].value == 1 / 2


def test_the_worst_seed_is_that_of_the_recipe(bench: Any) -> None:
    tried = found()
    tried['ours'] += [[GOOD, BAD, BAD, BAD], [GOOD]]
    (row,) = (r for r in bench.success.rows('x', tried, KINDS) if r.measure.endswith('_seed'))
    assert row.value == 1 / 4


def test_kinds_are_compared_with_smwm_where_the_recipe_trains_on_more_than_images(
    bench: Any,
) -> None:
    tried = found('smwm', 'smwm paper')
    tried |= {'smwm': [[GOOD]], 'images': [[GOOD, BAD]]}
    rows = list(bench.success.rows('x', tried, KINDS))
    assert rows[0].measure == 'x.success_smwm', 'the method of the paper comes first'
    named = {row.measure: row for row in rows}
    for kind in KINDS:
        assert named[f'x.success_{kind}'].peer == 'smwm from images and actions'
        assert named[f'x.success_{kind}'].peer_value == 1
    assert named['x.success'].value == 3 / 4
    images = named['x.success_images']
    assert (images.value, images.peer_value) == (1 / 2, 1)


def test_the_recipe_from_images_alone_has_a_kind_of_its_own(bench: Any) -> None:
    config = load_config('push_t')
    model = bench.success.from_images(bench.success.Seed(config, Path(), [], [])).config.model
    assert model.kind == 'smwm+sigreg'
    assert not model.aligns_state
    assert model.inverse_weight == config.model.inverse_weight


def test_goals_in_the_other_room_may_take_ten_seconds(bench: Any) -> None:
    config = load_config('two_room', ['evaluate.pairs=5', 'arena.image_size=16'])
    arena = make_arena('two_room', 16)
    seed = bench.success.Seed(config, Path(), [arena], [])
    pairs = bench.roadmap.draw_across(seed)
    outcomes = seed.drive(StillAgent(), pairs[:1])
    arena.close()
    assert len(pairs) == 5
    for pair in pairs:
        assert pair.start_state[0] * pair.goal_state[0] < 0
    assert (outcomes[0].success, outcomes[0].steps) == (False, 100)


@pytest.mark.parametrize('arena', ['two_room', 'reacher', 'push_t', 'cube'])
def test_every_row_of_an_arena_is_explained(bench: Any, arena: str) -> None:
    more = ('smwm', 'smwm paper') if arena in ('push_t', 'cube') else ()
    named = {row.measure for row in bench.success.rows(arena, found(*more), KINDS)}
    assert named <= set(bench.common.TARGETS)
    assert (BENCH / f'{arena}.py').is_file()


def test_rows_of_a_robot_with_inertia_are_explained_and_have_their_peers(bench: Any) -> None:
    tried = {'timely': [[GOOD, GOOD]], 'random': [[BAD, BAD]]}
    for ticks in bench.inertia.LATE:
        tried |= {f'late {ticks} sent': [[GOOD, BAD]], f'late {ticks} nothing': [[BAD, BAD]]}
    rows = {row.measure.partition('_success')[2]: row for row in bench.inertia.rows(tried)}
    assert {f'two_room.inertia_success{name}' for name in rows} <= set(bench.common.TARGETS)
    assert (rows['_200_ms_late'].value, rows['_200_ms_late'].peer_value) == (1 / 2, 1)
    late = rows['_400_ms_late_uncompensated']
    assert (late.value, late.peer_value, late.peer) == (0, 1 / 2, 'compensated')


def test_rows_of_fine_tuning_are_explained_and_have_their_peers(bench: Any) -> None:
    tuning = bench.fine_tune
    tried, fits = {'home': [[GOOD, GOOD]], 'away': [[BAD, BAD]]}, dict[str, list[CommandFit]]()
    for minutes in tuning.MINUTES:
        tried |= {f'tuned {minutes}': [[GOOD, BAD]], f'scratch {minutes}': [[BAD, BAD]]}
        tried |= {f'home {minutes}': [[GOOD, BAD]]}
        fits |= {f'tuned {minutes}': [CommandFit(0.2, 0.8)]}
        fits |= {f'scratch {minutes}': [CommandFit(0.4, 0.5)]}
    rows = {row.measure.partition('.')[2]: row for row in tuning.rows(tried, fits)}
    assert {f'fine_tune.{name}' for name in rows} <= set(bench.common.TARGETS)
    assert (rows['success_1_min'].value, rows['success_1_min'].peer_value) == (1 / 2, 0)
    assert (rows['success_home_5_min'].value, rows['success_home_5_min'].peer_value) == (1 / 2, 1)
    assert (rows['inverse_r2_5_min'].value, rows['inverse_r2_5_min'].peer_value) == (0.8, 0.5)
    assert rows['forward_1_min'].ratio == pytest.approx(2)


def test_rows_of_the_check_count_right_verdicts_and_remedies(bench: Any) -> None:
    made = bench.check.Found
    go, no = Check('images', True, ''), Check('images', False, '', 'run smwm adapt RUN')
    pairs = [
        made('fit', 0.7, [go], 'smwm adapt'),
        made('fit, refused', 1.0, [go, no], 'smwm adapt'),
        made('unfit', 0.69, [go, no], 'smwm adapt'),
        made('unfit, another remedy', 0.0, [no], 'camera'),
        made('unfit, not noticed', 0.1, [go, go], 'smwm adapt'),
    ]
    rows = {row.measure: row for row in bench.check.rows(pairs)}
    assert set(rows) == {name for name in bench.common.TARGETS if name.startswith('check.')}
    assert [rows[f'check.{name}'].value for name in ('fit', 'go', 'no_go', 'right', 'remedy')] == [
        *(2, 1, 2, 3, 1)
    ]
    assert rows['check.remedy'].unit == 'of 2 no-goes of unfit pairs'


def test_a_recording_can_hold_other_commands_for_the_same_motion(
    bench: Any, tmp_path: Path
) -> None:
    with redirect_stdout(io.StringIO()):
        made = bench.success.record('two_room', tmp_path, False, 1, 0, ['arena.length=20'])
        commands = np.array([[0.0, -1.0], [1.0, 0.0]])
        bench.check.rewrite(made, commands, tmp_path / 'bags')
        again = tmp_path / 'again'
        words = ['convert', str(tmp_path / 'bags'), '--out', str(again), '--config', 'two_room']
        assert smwm([*words, 'robot.state.topic=']) == 0
    other = TransitionDataset.open(again)
    rows = np.arange(19)
    assert np.array_equal(other.pixels(rows), made.pixels(rows))
    assert np.allclose(other.actions(rows), made.actions(rows) @ commands.T)


def test_a_robot_with_inertia_has_to_stay_at_its_goal_for_a_second(bench: Any) -> None:
    arena = bench.inertia.Staying(make_arena('two_room', 16))
    arena.set_goal_state([0.5, 0.0])
    arena.set_state([0.5, -0.2])
    for _ in range(20):  # it overshoots
        arena.step([0.0, 0.5])
        assert not arena.success()
    arena.set_state([0.5, 0.0])
    stayed = [arena.success() for _ in range(12) if arena.step([0.0, 0.0])]
    assert stayed == [False] * 9 + [True] * 3
    arena.set_state([0.5, 0.0])
    assert not arena.success(), 'the count starts again'
    arena.close()


def test_every_row_of_the_roadmap_is_explained_and_has_its_peer(bench: Any) -> None:
    tried = ['across', 'across cem', 'across time', 'across cem last', 'across amortised']
    tried += [
        'across time novel',
        'across retrieval',
        'across both',
        'across all',
        'across random',
        'across expert',
        'amortised',
        'few',
        'few proposed',
        'cold',
        'cold proposed',
    ]
    for offset in bench.roadmap.OFFSETS:
        tried += [f'offset {offset}', f'offset {offset} cem']
    outcomes = {name: [[GOOD, GOOD if name == 'across' else BAD]] for name in tried}
    rows = {row.measure: row for row in bench.roadmap.rows(outcomes)}
    explained = {name for name in bench.common.TARGETS if name.startswith('roadmap.')}
    assert set(rows) == explained
    assert (rows['roadmap.across'].value, rows['roadmap.across'].peer_value) == (1, 1 / 2)


def test_the_table_of_faults_has_a_row_for_each_fault() -> None:
    docs = runpy.run_path(str(BENCH.parent / 'tools' / 'docs.py'))
    rows = [
        {'measure': 'faults.a.detected', 'value': 120.4, 'unit': 'ms to STALE_IMAGE'},
        {'measure': 'faults.a.stopped', 'value': 130.0, 'unit': 'ms to a stop command'},
        {'measure': 'faults.a.recovered', 'value': 90.0, 'unit': 'ms to motion'},
        {'measure': 'faults.b.stopped', 'value': 500.0, 'unit': 'ms to a stop command'},
    ]
    where = {'machine': 'here', 'when': 'today', 'code': docs['fingerprint'](BENCH / 'faults.py')}
    text = docs['_faults']([{**row, **where} for row in rows], {})
    assert '| faults.a | `STALE_IMAGE` | 120 ms | 130 ms | 90 ms |' in text
    assert '| faults.b |  |  | 500 ms |  |' in text
    assert text.endswith('Measured on here (today).')


def test_every_fault_that_is_measured_is_explained() -> None:
    targets = json.loads((BENCH / 'targets.json').read_text(encoding='utf-8'))
    text = (BENCH / 'faults.py').read_text(encoding='utf-8')
    named = set(re.findall(r"(?:Fault|rows_of)\('(\w+)'", text))
    assert len(named) == 17
    assert named == {name.partition('.')[2] for name in targets if name.startswith('faults.')}


def test_a_target_that_changed_is_in_the_log_with_the_measured_figure() -> None:
    """Missed targets stay, so that the page does not show reached targets alone."""
    folder = BENCH.parent
    targets = json.loads((BENCH / 'targets.json').read_text(encoding='utf-8'))
    first = json.loads((folder / 'test/first_targets.json').read_text(encoding='utf-8'))
    log = (
        (folder / 'docs/log.md').read_text(encoding='utf-8').partition('## Targets that moved')[2]
    )
    entries = [' '.join(entry.split()) for entry in log.split('\n- ')]
    for measure, target in first.items():
        if targets.get(measure, {}).get('target') != target:
            (entry,) = (one for one in entries if f'`{measure}`' in one.partition(': ')[0])
            about = entry.partition(': ')[2]
            assert target in about, measure
            assert re.search(r'\d', about.replace(target, '')), f'{measure}: no figure'
    new = {name for name, entry in targets.items() if entry.get('target')} - set(first)
    assert not new, f'set a new target in test/first_targets.json, too: {sorted(new)}'


def test_the_results_page_has_the_command_that_installs_the_peer(bench: Any) -> None:
    from parts.peer import NEEDS

    page = ' '.join((BENCH.parent / 'docs/results.md').read_text(encoding='utf-8').split())
    assert f'`{NEEDS}`' in page


def test_outcomes_are_kept_for_the_same_model_settings_and_pairs_alone(
    bench: Any, tmp_path: Path
) -> None:
    outcomes, script = bench.outcomes, BENCH / 'parts' / 'success.py'
    checkpoint, pairs = tiny_checkpoint(), [Pair(np.zeros(2), np.ones(2), 0, 1, 0)]
    scaler = checkpoint.scaler
    name = outcomes.named(script, checkpoint, pairs, 'one')
    assert name == outcomes.named(script, tiny_checkpoint(), pairs, 'one')
    others = {
        outcomes.named(BENCH / 'toy.py', checkpoint, pairs, 'one'),
        outcomes.named(script, tiny_checkpoint(seed=1), pairs, 'one'),
        outcomes.named(
            script, checkpoint._replace(scaler=scaler._replace(std=scaler.std * 2)), pairs, 'one'
        ),
        outcomes.named(script, checkpoint, [pairs[0]._replace(goal_state=np.zeros(2))], 'one'),
        outcomes.named(script, checkpoint, pairs, 'other'),
    }
    assert len(others - {name}) == 5
    path: dict[str, Any] = {'path': [[0.5, 1.5]], 'distances': [1.0, None]}
    tried = apart([GOOD._replace(**path), BAD._replace(**path)])
    assert outcomes.kept(tmp_path / 'new', name, lambda: tried) == tried
    assert outcomes.kept(tmp_path / 'new', name, list) == tried
    assert outcomes.kept(tmp_path / 'new', 'other', list) == []


def test_rows_of_transfer_are_explained_and_compare_with_driving_at_home(bench: Any) -> None:
    good, half = [[GOOD, GOOD]], [[GOOD, BAD]]
    found = {'home': good, 'home_without': good, 'home_random': [[BAD, BAD]]}
    for place in ('', '_moved'):
        found |= {f'away{place}': half, f'adapted{place}': good, f'away_without{place}': half}
        found |= {f'away_expert{place}': good, f'away_random{place}': [[BAD, BAD]]}
    for arena in bench.transfer.ARENAS:
        rows = {row.measure: row for row in bench.transfer.rows(arena, found)}
        assert set(rows) <= set(bench.common.TARGETS)
        moved = rows[f'transfer.{arena}.as_it_is_moved']
        assert (moved.value, moved.peer_value, moved.ratio) == (0.5, 1.0, 0.5)


def test_rows_of_the_papers_environments_are_explained_and_stand_beside_the_paper(
    bench: Any,
) -> None:
    worlds, found = bench.paper_worlds, dict[str, Any]()
    for environment in worlds.ENVIRONMENTS.values():
        pairs = [{'episode': 0, 'solved_at_start': True}, {'episode': 1, 'solved_at_start': False}]
        tried = {'smwm': [True, True], 'paper': [True, False], 'runs/forward_only': [True, False]}
        tried |= {'runs/sigreg': [True, False], 'random': [True, False, True, False]}
        results = {name: {'successes': successes} for name, successes in tried.items()}
        seed = worlds.read({'pairs': pairs, 'results': results})
        rows = worlds.rows(environment, {name: [one, one] for name, one in seed.items()})
        found |= {row.measure: row for row in rows}
    explained = {name for name in bench.common.TARGETS if name.startswith('paper_worlds.')}
    assert set(found) == explained
    success = found['paper_worlds.reacher.success']
    assert (success.value, success.peer, success.peer_value) == (1.0, 'the paper', 0.714)
    random = found['paper_worlds.reacher.success_random']
    assert (random.value, random.peer_value) == (0.5, 0.136)
    assert worlds.rate([seed['random']], unsolved=True) == 0
    assert found['paper_worlds.cube.success_without_solved'].value == 1


def test_each_arena_is_measured_with_every_seed_in_folders_that_are_kept(bench: Any) -> None:
    success = bench.success

    def tried(one: str, quick: bool) -> dict[str, list[tuple[int, Path]]]:
        return {
            name: list(seeds) for name, seeds in success.in_arenas('far', ('a', 'b'), one, quick)
        }

    shared = success.KEPT / 'far'
    assert tried('', False) == {
        name: [(number, shared / name) for number in (0, 1, 2)] for name in ('a', 'b')
    }
    assert list(tried('c', False)) == ['c'], 'also one that is not measured by default'
    quick = tried('', True)
    assert [(name, number) for name in quick for number, _ in quick[name]] == [('a', 0)]
    assert shared not in quick['a'][0][1].parents
    ((_, seeds),) = success.in_arenas('far', ('a',), '', True)
    _, folder = next(seeds)
    assert folder.parent.is_dir()
    assert list(seeds) == []
    assert not folder.parent.exists()


def test_rows_of_inertia_are_explained_and_compare_with_one_image(bench: Any) -> None:
    found = {'history 1': [[GOOD, BAD]], 'history 3': [[GOOD, GOOD]]}
    found |= {'random': [[BAD, BAD]], 'expert': [[GOOD, GOOD]]}
    rows: dict[str, Any] = {}
    for name in bench.history.ROBOTS:
        rows |= {row.measure: row for row in bench.history.rows(name, found, {1: [0.4], 3: [0.1]})}
    explained = {name for name in bench.common.TARGETS if name.startswith('history.')}
    assert set(rows) == explained
    success = rows['history.reacher_torque.success']
    assert (success.value, success.peer_value, success.ratio) == (1.0, 0.5, 2.0)
    forward = rows['history.reacher_torque.forward']
    assert (forward.value, forward.peer_value, forward.ratio) == (0.1, 0.4, 4.0)


def test_rows_of_actors_are_explained_and_compare_with_a_search_alone(bench: Any) -> None:
    found = {'random': [[BAD, BAD]], 'expert': [[GOOD, GOOD]]}
    for trained in ('images', 'state'):
        found |= {f'{trained} {kind}': [[GOOD, GOOD]] for kind in ('direct', 'guarded')}
        found[f'{trained} cem'] = [[GOOD, BAD]]
    found |= {'state 50': [[GOOD, BAD]], 'state 100': [[BAD, BAD]]}
    rows: dict[str, Any] = {}
    for name in bench.actor.ARENAS:
        rows |= {row.measure: row for row in bench.actor.rows(name, found)}
    explained = {name for name in bench.common.TARGETS if name.startswith('actor.')}
    assert set(rows) == explained
    success = rows['actor.push_t.images_guarded']
    assert (success.value, success.peer, success.peer_value) == (1.0, 'cem', 0.5)
    assert (rows['actor.push_t.state_50'].value, rows['actor.push_t.state_100'].value) == (0.5, 0)


def test_rows_of_furnished_rooms_are_explained_and_have_their_peers(bench: Any) -> None:
    fit_of = bench.rooms.Fit
    tried = {'ours': [[GOOD, GOOD], [GOOD, BAD]], 'plain': [[GOOD, BAD]] * 2}
    tried |= {'roadmap': [[GOOD, BAD]] * 2, 'nearest': [[BAD, BAD]] * 2}
    tried |= {'random': [[BAD, BAD]] * 2, 'expert': [[GOOD, GOOD]] * 2}
    fits = {
        'ours': [fit_of(0.9, 1.0), fit_of(0.5, 0.8)],
        'plain': [fit_of(-1.0, 1.0)] * 2,
    }
    rows = {row.measure.partition('rooms.')[2]: row for row in bench.rooms.rows(tried, fits)}
    explained = {name for name in bench.common.TARGETS if name.startswith('rooms.')}
    assert {f'rooms.{name}' for name in rows} == explained
    assert (rows['success_roadmap'].value, rows['success_nearest'].value) == (0.5, 0)
    assert (rows['success'].value, rows['success'].peer_value) == (3 / 4, 0)
    assert (rows['success_plain'].value, rows['success_worst_room'].value) == (0.5,) * 2
    fit = rows['inverse_r2']
    assert (fit.value, fit.peer_value) == (pytest.approx(0.7), pytest.approx(0.9))
    assert rows['inverse_r2_worst_room'].value == 0.5
    assert rows['inverse_r2_plain'].value == -1.0
