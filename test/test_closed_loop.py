# SPDX-License-Identifier: Apache-2.0
"""Evaluation follows its protocol, the same for every agent and however many pairs at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.two_room import TwoRoom
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation.agents import ExpertAgent, PlannerAgent, RandomAgent
from smwm_ros.evaluation.closed_loop import evaluate, Outcome, run_pairs, summarise
from smwm_ros.evaluation.pairs import draw_pairs, fresh_pairs, Pair
from smwm_ros.evaluation.statistics import wilson
from smwm_ros.planning.pilot import Pilot
from worlds import dot_dataset, Line, tiny_checkpoint

NO_STATE = config.State(topic='')


def pair(start: float, goal: float, row: int = 0) -> Pair:
    return Pair(np.array([start]), np.array([goal]), row, row + 25, row)


def by_expert(one: Pair, budget: int) -> tuple[Outcome, Line]:
    line = Line()
    return run_pairs([line], [one], ExpertAgent(), budget, 'expert')[0], line


def test_the_first_step_at_the_goal_counts() -> None:
    outcome, line = by_expert(pair(0, 3), budget=10)
    assert (outcome.success, outcome.solved_at_start, outcome.steps) == (True, False, 3)
    assert line.actions == [1.0, 1.0, 1.0]
    assert outcome.path == [[0.0], [1.0], [2.0], [3.0]]
    assert outcome.distances == [None] * 3
    late, _ = by_expert(pair(0, 3), budget=2)
    assert (late.success, late.solved_at_start, late.steps) == (False, False, 2)


def test_a_pair_that_is_solved_at_the_start_is_marked_and_nothing_is_done() -> None:
    outcome, line = by_expert(pair(1.0, 1.2), budget=10)
    assert outcome == Outcome(True, True, 0, [[1.0]], [])
    assert line.actions == []


@pytest.mark.parametrize('lanes', [1, 2, 3, 7])
def test_outcomes_come_in_the_order_of_the_pairs_whatever_is_tried_at_once(lanes: int) -> None:
    pairs = [pair(0, goal, row) for row, goal in enumerate((3, 0.2, 99, 1, 5))]
    arenas = [Line() for _ in range(lanes)]
    outcomes = run_pairs(arenas, pairs, ExpertAgent(), 6, 'expert')
    assert [outcome.steps for outcome in outcomes] == [3, 0, 6, 1, 5]
    assert [outcome.success for outcome in outcomes] == [True, True, False, True, True]
    chance = [
        run_pairs(some, pairs, RandomAgent(Line.spec, 1), 6, 'random', repeats=3)
        for some in (arenas, [Line()])
    ]
    assert chance[0] == chance[1]


def test_random_actions_attempt_every_pair_as_often_as_asked_and_never_alike() -> None:
    pairs = [pair(0, 0.1, 0), pair(0, 2, 1), pair(0, 90, 2)]
    outcomes = run_pairs([Line()], pairs, RandomAgent(Line.spec, 0), 20, 'random', repeats=4)
    assert [outcome.solved_at_start for outcome in outcomes] == [True, False, False] * 4
    assert not any(outcome.success for outcome in outcomes[2::3])
    ends = [outcome.path[-1][0] for outcome in outcomes[2::3]]
    assert len(set(ends)) == 4


def test_success_is_reported_with_and_without_what_was_solved_at_the_start() -> None:
    outcomes = [
        Outcome(True, True, 0, episode=0),
        Outcome(True, False, 4, episode=1),
        Outcome(True, False, 8, episode=2),
        Outcome(False, False, 50, episode=3),
    ]
    found = summarise(outcomes)
    assert found['success'] == 3 / 4
    assert found['success_without_solved'] == 2 / 3
    assert (found['attempts'], found['solved_at_start'], found['median_steps']) == (4, 1, 6.0)
    assert found['interval'] == pytest.approx(wilson(3, 4))
    assert found['interval_without_solved'] == pytest.approx(wilson(2, 3))
    nothing_left = summarise(outcomes[:1])
    assert nothing_left['success_without_solved'] is None
    assert nothing_left['median_steps'] is None


def test_repeated_attempts_at_the_same_pairs_narrow_no_interval() -> None:
    outcomes = [Outcome(True, False, 4, episode=0), Outcome(False, False, 50, episode=1)]
    once, often = summarise(outcomes), summarise(outcomes * 5, repeats=5)
    assert often['interval'] == once['interval']
    assert often['attempts'] == 10
    alike = [outcome._replace(episode=0) for outcome in outcomes]
    once, often = summarise(alike), summarise(alike * 5, repeats=5)
    assert often['interval'] == once['interval'], 'also where all pairs are of one episode'
    assert often['interval_without_solved'] == once['interval_without_solved']


def test_pairs_lie_in_held_out_episodes_the_offset_apart_and_none_comes_twice(
    tmp_path: Path,
) -> None:
    dots = dot_dataset(tmp_path, val_share=0.2)
    settings = config.Evaluate(pairs=40, offset=7)
    pairs = draw_pairs(dots, settings)
    assert pairs[0].start_row == draw_pairs(dots, settings)[0].start_row
    rows = [one.start_row for one in pairs]
    assert len(set(rows)) == 40
    held_out = [episode for episode in dots.episodes if episode.split == 'val']
    for one in pairs:
        assert one.goal_row == one.start_row + 7
        assert any(e.start <= one.start_row and one.goal_row < e.stop for e in held_out)
        episode = dots.episodes[one.episode]
        assert episode.start <= one.start_row < episode.stop
        assert np.array_equal(one.start_state, dots.states(np.array([one.start_row]))[0])
        assert np.array_equal(one.goal_state, dots.states(np.array([one.goal_row]))[0])
    other = draw_pairs(dots, config.Evaluate(pairs=40, offset=7, seed=1))
    assert rows != [one.start_row for one in other]


def test_pairs_begin_and_end_where_the_state_was_measured(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path, val_share=0.2, unmeasured=slice(0, None, 2))
    for one in draw_pairs(dots, config.Evaluate(pairs=40, offset=6)):
        assert np.isfinite([one.start_state, one.goal_state]).all()
    with pytest.raises(DatasetError, match=r'0 pairs of held-out frames .* 7 raw steps apart'):
        draw_pairs(dots, config.Evaluate(pairs=40, offset=7))


def test_fresh_pairs_lie_in_one_episode_and_every_pair_there_is_can_be_drawn() -> None:
    episodes = [np.array([[10 * number + step] for step in range(5)]) for number in range(3)]
    pairs = fresh_pairs(episodes, config.Evaluate(pairs=6, offset=3))
    found = sorted((float(one.start_state[0]), float(one.goal_state[0])) for one in pairs)
    assert found == [(0, 3), (1, 4), (10, 13), (11, 14), (20, 23), (21, 24)]
    assert len({one.start_row for one in pairs}) == 6
    assert all(one.start_state[0] // 10 == one.episode for one in pairs)


def test_pairs_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    with pytest.raises(DatasetError, match=r'10 pairs .* 25 raw steps apart, .* least 11 '):
        draw_pairs(dots, config.Evaluate(pairs=11))
    with pytest.raises(DatasetError, match=r'0 pairs .* longest held-out episode has 30 frames'):
        draw_pairs(dots, config.Evaluate(offset=30))
    with pytest.raises(DatasetError, match=r'fresh episodes: found 0 pairs .* has 5 frames'):
        fresh_pairs([np.zeros((5, 2))], config.Evaluate(offset=5))
    blind = dot_dataset(tmp_path / 'blind', state=NO_STATE)
    with pytest.raises(DatasetError, match='has no measured state'):
        draw_pairs(blind, config.Evaluate(pairs=1))


@pytest.fixture(scope='module')
def rooms() -> Iterator[list[TwoRoom]]:
    arenas = [make_arena('two_room', 16) for _ in range(3)]
    yield arenas  # type: ignore[misc]
    for arena in arenas:
        arena.close()


def test_all_agents_attempt_the_same_pairs(rooms: list[TwoRoom]) -> None:
    states = [np.array(place) for place in ((0.5, 0.5), (0.5, 0.0), (-0.5, 0.5), (-0.5, 0.45))]
    pairs = [Pair(states[0], states[1], 0, 25, 0), Pair(states[2], states[3], 5, 30, 1)]
    settings = config.Evaluate(budget=15, repeats=2)
    agent = PlannerAgent(Pilot(tiny_checkpoint()), execute=1, delay=0)
    outcomes = evaluate({'planner': agent}, rooms[:2], pairs, settings)
    assert list(outcomes) == ['planner', 'random', 'expert']
    results = {name: summarise(found) for name, found in outcomes.items()}
    assert [result['attempts'] for result in results.values()] == [2, 4, 2]
    assert [result['solved_at_start'] for result in results.values()] == [1, 2, 1]
    assert results['expert']['success'] == 1.0
    assert results['expert']['median_steps'] == 8  # 0.5 m less the radius at 0.05 m a step
    assert all(far is not None and far > 0 for far in outcomes['planner'][0].distances)
    again = evaluate({'planner': agent}, rooms[:2], pairs, settings)
    assert outcomes == again


def test_a_pair_ends_the_same_whatever_came_before(rooms: list[TwoRoom]) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        Pair(rooms[0].sample(rng), rooms[0].sample(rng), row, row + 25, row) for row in range(4)
    ]
    outcomes = []
    for order in (pairs, pairs[::-1]):
        agent = PlannerAgent(Pilot(tiny_checkpoint()), execute=1, delay=0)
        outcomes.append(run_pairs(rooms[:1], order, agent, 12, 'planner'))
    assert outcomes[0] == outcomes[1][::-1]


@pytest.mark.parametrize('execute', [1, 3])
def test_a_pair_ends_the_same_alone_and_in_parallel(rooms: list[TwoRoom], execute: int) -> None:
    rng = np.random.default_rng(2)
    here = [rooms[0].sample(rng) for _ in range(5)]
    # Goals at different distances, so that lanes end one after the other.
    far = (0.15, 0.2, 0.3, 0.8, 0.0)
    pairs = [
        Pair(start, (start * (1 - share)).astype(np.float32), row, row + 25, row)
        for row, (start, share) in enumerate(zip(here, far, strict=True))
    ]
    found = []
    for lanes in (1, 3):
        agent = PlannerAgent(Pilot(tiny_checkpoint()), execute, delay=0)
        found.append(run_pairs(rooms[:lanes], pairs, agent, 12, 'planner'))
    for alone, beside in zip(*found, strict=True):
        assert (alone.success, alone.steps) == (beside.success, beside.steps)
        assert np.allclose(alone.path, beside.path, atol=1e-4)
    assert {outcome.solved_at_start for outcome in found[0]} == {True, False}
