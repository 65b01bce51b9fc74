# SPDX-License-Identifier: Apache-2.0
"""Evaluation follows its protocol, the same for every driver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.arenas import make_arena
from smwm_ros.arenas.two_room import TwoRoom
from smwm_ros.cli import main
from smwm_ros.core.checkpoint import Checkpoint, save
from smwm_ros.core.evaluate import (
    draw_pairs,
    evaluate,
    ExpertDriver,
    Outcome,
    Pair,
    PilotDriver,
    random_floor,
    RandomDriver,
    run_pair,
    run_pairs,
    summarise,
    wilson,
)
from smwm_ros.core.interfaces import ActionSpec, Array, Frame
from smwm_ros.core.pilot import Pilot, PilotPlan
from smwm_ros.errors import ConfigError, DatasetError
from worlds import dot_dataset, tiny_checkpoint

SPEC = ActionSpec(('speed',), (-1.0,), (1.0,), 0.1)
NO_STATE = config.State(topic='')


class Line:
    """An arena on a line: one step moves by the action, and a goal closer than 0.5 is reached."""

    spec = SPEC

    def __init__(self) -> None:
        self.place, self.goal, self.actions = 0.0, 0.0, list[float]()

    def reset(self, seed: int) -> Frame:
        """Begin far away from anything."""
        self.place, self.goal = 99.0, -99.0
        return self._frame(self.place)

    def step(self, action: Array) -> Frame:
        """Move."""
        self.actions.append(float(action[0]))
        self.place += float(action[0])
        return self._frame(self.place)

    def set_state(self, state: Array) -> Frame:
        """Place the robot."""
        self.place = float(state[0])
        return self._frame(self.place)

    def set_goal(self, state: Array) -> Frame:
        """Place the goal."""
        self.goal = float(state[0])
        return self._frame(self.goal)

    def success(self) -> bool:
        """Say whether the robot is at the goal."""
        return abs(self.place - self.goal) < 0.5

    def expert(self) -> Array:
        """Go there at full speed."""
        return np.array([np.sign(self.goal - self.place)])

    def aim(self, state: Array) -> None:
        """Place the goal."""
        self.set_goal(state)

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a place."""
        return rng.uniform(-5, 5, 1)

    def render(self, size: int) -> Array:
        """Show nothing."""
        return np.zeros((size, size, 3), np.uint8)

    def close(self) -> None:
        """Hold nothing."""

    def _frame(self, place: float) -> Frame:
        return Frame(np.full((1, 1, 3), round(place) % 256, np.uint8), np.array([place]))


def pair(start: float, goal: float) -> Pair:
    return Pair(np.array([start]), np.array([goal]), 0, 25)


class Clock:
    """A pilot whose plans say when they were made and which of their actions this is."""

    spec = ActionSpec(('made', 'index'), (-99.0, -99.0), (99.0, 99.0), 0.1)
    horizon = 8

    def __init__(self) -> None:
        self.tick, self.elapsed, self.goals = 0, list[int](), list[Array]()

    def set_goal(self, pixels: Array) -> None:
        self.goals.append(pixels)

    def plan(self, pixels: Array, elapsed: int) -> PilotPlan:
        self.elapsed.append(elapsed)
        actions = np.array([[pixels[0, 0, 0], index] for index in range(self.horizon)], float)
        return PilotPlan(actions, 0.0, 0.0, 0.0)


def drive(execute: int, delay: int, ticks: int = 7) -> tuple[list[list[float]], Clock]:
    clock = Clock()
    driver = PilotDriver(clock, execute, delay)  # type: ignore[arg-type]
    frames = [Frame(np.full((1, 1, 3), tick, np.uint8), np.zeros(1)) for tick in range(ticks)]
    driver.begin(frames[0])
    return [driver.act(frame).tolist() for frame in frames], clock


def test_a_plan_is_acted_on_from_its_own_image_on() -> None:
    actions, clock = drive(execute=1, delay=0)
    assert actions == [[tick, 0] for tick in range(7)]
    assert clock.elapsed == [0, 1, 1, 1, 1, 1, 1]


def test_several_actions_of_a_plan_are_executed_before_the_next() -> None:
    actions, clock = drive(execute=3, delay=0)
    assert actions == [[0, 0], [0, 1], [0, 2], [3, 0], [3, 1], [3, 2], [6, 0]]
    assert clock.elapsed == [0, 3, 3]


@pytest.mark.parametrize('execute', [1, 2, 3])
@pytest.mark.parametrize('delay', [1, 2, 4])
def test_a_late_plan_skips_what_is_past(execute: int, delay: int) -> None:
    actions, _ = drive(execute, delay, ticks=20)
    assert actions[:delay] == [[0, 0]] * delay  # still, until the first plan is ready
    for tick, (made, index) in enumerate(actions[delay:], start=delay):
        assert made + index == tick, 'an action was executed at another tick than planned for'
        assert made % execute == 0
        assert delay <= index < delay + execute


def test_a_plan_must_be_long_enough() -> None:
    with pytest.raises(ConfigError, match=r'6 raw steps after a delay of 3 reach beyond the 8'):
        drive(execute=6, delay=3)


def test_the_first_step_at_the_goal_counts() -> None:
    line = Line()
    outcome = run_pair(line, pair(0, 3), ExpertDriver(line), budget=10)
    assert outcome == Outcome(success=True, solved_at_start=False, steps=3)
    assert line.actions == [1.0, 1.0, 1.0]
    short = run_pair(line, pair(0, 3), ExpertDriver(line), budget=2)
    assert short == Outcome(success=False, solved_at_start=False, steps=2)


def test_a_pair_that_is_solved_at_the_start_is_marked_and_nothing_is_done() -> None:
    line = Line()
    outcome = run_pair(line, pair(1.0, 1.2), ExpertDriver(line), budget=10)
    assert outcome == Outcome(success=True, solved_at_start=True, steps=0)
    assert line.actions == []


def test_success_is_told_with_and_without_what_was_solved_at_the_start() -> None:
    outcomes = [
        Outcome(True, True, 0),
        Outcome(True, False, 4),
        Outcome(True, False, 8),
        Outcome(False, False, 50),
    ]
    found = summarise(outcomes)
    assert found['success'] == 3 / 4
    assert found['success_without_solved'] == 2 / 3
    assert (found['attempts'], found['solved_at_start'], found['median_steps']) == (4, 1, 6.0)
    assert found['interval'] == wilson(3, 4)
    assert found['interval_without_solved'] == wilson(2, 3)
    nothing_left = summarise(outcomes[:1])
    assert nothing_left['success_without_solved'] is None
    assert nothing_left['median_steps'] is None


def test_wilson_intervals_are_those_of_the_tables() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_random_actions_fill_the_limits_and_follow_the_seed() -> None:
    frame = Line().reset(0)
    one, two = RandomDriver(SPEC, 3), RandomDriver(SPEC, 3)
    drawn = np.array([one.act(frame) for _ in range(500)])
    assert np.array_equal(drawn, [two.act(frame) for _ in range(500)])
    assert -1 <= drawn.min() < -0.9 < 0.9 < drawn.max() <= 1


def test_the_floor_tries_every_pair_as_often_as_asked() -> None:
    pairs = [pair(0, 0.1), pair(0, 2), pair(0, 90)]
    outcomes = random_floor(Line(), pairs, budget=200, repeats=4, seed=0)
    assert len(outcomes) == 12
    assert [outcome.solved_at_start for outcome in outcomes] == [True, False, False] * 4
    assert not any(outcome.success for outcome in outcomes[2::3])


def test_pairs_lie_in_held_out_episodes_the_offset_apart_and_none_comes_twice(
    tmp_path: Path,
) -> None:
    dots = dot_dataset(tmp_path, val_share=0.2)
    settings = config.Evaluate(pairs=40, offset=7)
    pairs = draw_pairs(dots, settings)
    assert pairs[0].start_row == draw_pairs(dots, settings)[0].start_row
    rows = [pair.start_row for pair in pairs]
    assert len(set(rows)) == 40
    held_out = [episode for episode in dots.episodes if episode.split == 'val']
    for one in pairs:
        assert one.goal_row == one.start_row + 7
        assert any(e.start <= one.start_row and one.goal_row < e.stop for e in held_out)
        assert np.array_equal(one.start_state, dots.states(np.array([one.start_row]))[0])
        assert np.array_equal(one.goal_state, dots.states(np.array([one.goal_row]))[0])
    other = draw_pairs(dots, config.Evaluate(pairs=40, offset=7, seed=1))
    assert rows != [pair.start_row for pair in other]


def test_pairs_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    dots = dot_dataset(tmp_path / 'dots')
    with pytest.raises(DatasetError, match=r'10 pairs .* lie 25 raw steps apart, .* the 11 of'):
        draw_pairs(dots, config.Evaluate(pairs=11))
    blind = dot_dataset(tmp_path / 'blind', state=NO_STATE)
    with pytest.raises(DatasetError, match='has no measured state'):
        draw_pairs(blind, config.Evaluate(pairs=1))


@pytest.fixture(scope='module')
def room() -> Any:
    arena = make_arena('two_room', 16)
    yield arena
    arena.close()


def test_everyone_gets_the_same_pairs(room: TwoRoom) -> None:
    states = [np.array(place) for place in ((0.5, 0.5), (0.5, 0.0), (-0.5, 0.5), (-0.5, 0.45))]
    pairs = [Pair(states[0], states[1], 0, 25), Pair(states[2], states[3], 5, 30)]
    checkpoint: Checkpoint = tiny_checkpoint()
    settings = config.Evaluate(budget=15, repeats=2)
    results = evaluate(checkpoint, room, pairs, checkpoint.planner, settings)
    assert list(results) == ['planner', 'random', 'expert']
    assert [result['attempts'] for result in results.values()] == [2, 4, 2]
    assert [result['solved_at_start'] for result in results.values()] == [1, 2, 1]
    assert results['expert']['success'] == 1.0
    assert results['expert']['median_steps'] == 8  # 0.5 m less the radius at 0.05 m a step
    assert results['planner']['plan_ms']['p99'] >= results['planner']['plan_ms']['median'] > 0
    again = evaluate(checkpoint, room, pairs, checkpoint.planner, settings)
    for name, result in results.items():
        assert result['outcomes'] == again[name]['outcomes'], name


def test_a_pair_ends_the_same_whatever_came_before(room: TwoRoom) -> None:
    rng = np.random.default_rng(0)
    pairs = [Pair(room.sample(rng), room.sample(rng), row, row + 25) for row in range(4)]
    checkpoint = tiny_checkpoint()
    outcomes = []
    for order in (pairs, pairs[::-1]):
        arena = make_arena('two_room', 16)
        driver = PilotDriver(Pilot(checkpoint), execute=1, delay=0)
        outcomes.append(run_pairs(arena, order, driver, 12, 'planner'))
        arena.close()
    assert outcomes[0] == outcomes[1][::-1]


def test_the_verb_prints_a_table_and_writes_every_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dots = dot_dataset(tmp_path / 'dots', val_share=0.2)
    save(tmp_path / 'run', tiny_checkpoint())
    words = [str(tmp_path / 'run'), '--data', str(dots.folder)]
    knobs = ['evaluate.pairs=3', 'evaluate.budget=4', 'evaluate.repeats=2', 'planner.samples=8']
    assert main(['evaluate', *words, *knobs]) == 0
    told = capsys.readouterr().out
    assert 'trained on another dataset' in told
    for name in ('planner', 'random', 'expert'):
        assert f'\n{name} ' in told
    written = json.loads((tmp_path / 'run' / 'evaluate.json').read_text())
    assert written['planner']['samples'] == 8
    assert len(written['results']['random']['outcomes']) == 6
    assert main(['evaluate', *words, 'evaluate.pairs=999']) == 2
    assert 'expected at least the 999 of evaluate.pairs' in capsys.readouterr().err
    assert main(['evaluate', *words, '--arena', 'tworoom']) == 2
    assert "did you mean 'two_room'?" in capsys.readouterr().err


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
