# SPDX-License-Identifier: Apache-2.0
"""The time to go knows walls, is tested on held-out drives, and leads a planner round walls."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest
from smwm_ros.cli import main as smwm
from smwm_ros.errors import CheckpointError, ConfigError, DatasetError
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.planning import time_to_go
from smwm_ros.planning.bounds import Bounds
from smwm_ros.planning.costs import Costs
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.planner import make_planner
from smwm_ros.planning.time_to_go import judge, learn, Ranks, TimeToGo
from test_prepare import (  # noqa: F401 - fixtures
    bare,
    data,
    HERE,
    prepared,
    run,
    THERE,
    trained,
)
from test_roadmap import drives, FAST, LEFT, RIGHT, SETTINGS, Walled
import torch
from torch import Tensor
from worlds import PointMass

STEP = 0.7  # length of a recorded step


@pytest.fixture(scope='module')
def walked() -> RecordedDrives:
    return drives(Walled())


@pytest.fixture(scope='module')
def head(walked: RecordedDrives) -> TimeToGo:
    return learn(walked, Walled(), steps=1500, seed=0)


def time(head: TimeToGo, start: tuple[float, float], goal: tuple[float, float]) -> float:
    with torch.no_grad():
        return float(head(torch.tensor(start), torch.tensor(goal)))


def test_the_way_through_the_door_takes_longer_than_a_straight_one(head: TimeToGo) -> None:
    # As far apart in a straight line: 3 units. By way of the door: 5.
    across = [time(head, (-1.5, y), (1.5, y)) for y in (3.0, -3.0)]
    beside = [time(head, (x, -1.5), (x, 1.5)) for x in (-2.5, 2.5)]
    assert min(across) > 1.3 * max(beside)
    assert 0.6 * 3 / STEP < min(beside) < max(beside) < 1.8 * 3 / STEP


def test_a_place_is_no_time_away_from_itself_and_neighbours_are_about_a_step_away(
    head: TimeToGo, walked: RecordedDrives
) -> None:
    places = walked.latents[::97]
    with torch.no_grad():
        stay = float(head(places, places).median())
        rows = walked.windows(1)[::97]
        step = float(head(walked.latents[rows], walked.latents[rows + 1]).median())
    assert stay < 0.7 * step
    assert 0.5 < step < 1.5


def test_ways_of_several_drives_are_joined(head: TimeToGo) -> None:
    """Every drive stays in one half of a corridor; the time of the whole way is that of both."""
    steps, count = 20, 40
    from_left = torch.linspace(-4, 0.4, steps).repeat(count)
    from_middle = torch.linspace(-0.4, 4, steps).repeat(count)
    places = torch.cat([from_left, from_middle])
    latents = torch.stack([places, torch.zeros_like(places)], dim=1)
    left = torch.arange(steps - 1, -1, -1).repeat(2 * count)
    moves = torch.zeros(len(places), 2)
    moves[:, 0] = 4.4 / (steps - 1)
    found = learn(RecordedDrives(latents, moves, left, block=1), PointMass(), 2000, seed=0)
    whole = time(found, (-4.0, 0.0), (4.0, 0.0))
    assert whole == pytest.approx(8 / (4.4 / (steps - 1)), rel=0.2)


def test_it_orders_held_out_frames_better_than_latent_distance(head: TimeToGo) -> None:
    held_out = drives(Walled(), count=30)
    ranks = judge(head, held_out)
    assert ranks.better
    torch.manual_seed(0)
    untrained = judge(TimeToGo(2), held_out)
    assert not untrained.better
    assert untrained.latent == ranks.latent


def test_ranks_are_those_of_the_order() -> None:
    """The rank correlation of a monotonic function is 1, that of its negative -1."""

    class Far(TimeToGo):
        def forward(self, z: Tensor, goal: Tensor) -> Tensor:
            return sign * (goal - z).norm(dim=-1) ** 3

    line = torch.arange(50.0)
    latents = torch.stack([line, torch.zeros(50)], dim=1)
    straight = RecordedDrives(latents, torch.zeros(50, 2), torch.arange(49, -1, -1), block=1)
    for sign in (1, -1):
        ranks = judge(Far(2), straight)
        assert ranks.time == pytest.approx(sign)
        assert ranks.latent == pytest.approx(1)


def test_a_planner_drives_round_a_wall_without_subgoals(head: TimeToGo) -> None:
    settings = replace(SETTINGS, cost='time')
    made = make_planner(Walled(), settings, -FAST, FAST, guides=Guides(time=head))
    z = LEFT
    for _ in range(30):
        z = Walled().predict(z, made.plan_many(z, RIGHT).actions[:, 0])
        made.shift(1)
    assert torch.dist(z, RIGHT) < 0.5


def test_a_pilot_reads_seconds_without_encoding_anything_more(
    run: Path,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ranks, 'better', True)
    made = Pilot(checkpoints.load(run))  # whatever its cost
    encoded: list[int] = []
    encode = made._model.encode

    def counted(images: Tensor) -> Tensor:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(made._model, 'encode', counted)
    made.set_goal(THERE)
    plan = made.plan(HERE, 0)
    assert encoded == [1, 1], 'the goal and the image'
    there = made.encode(THERE[None])
    found, _ = time_to_go.load(run, 'this test')
    assert plan.latent is not None
    z, goal = torch.from_numpy(plan.latent)[None], torch.from_numpy(there)
    steps = max(float(found(z, goal) - found(goal, goal)), 0.0)
    seconds = steps * made.action_block * made.spec.dt
    assert plan.seconds_to_go == pytest.approx(seconds, abs=1e-6)
    both = made.seconds_to(plan.latent, np.concatenate([there, plan.latent[None]]))
    assert both == pytest.approx(np.array([seconds, 0.0]), abs=1e-6)


def test_a_time_that_failed_its_test_or_is_missing_gives_no_seconds(
    run: Path,  # noqa: F811 - a fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seconds() -> float | None:
        made = Pilot(checkpoints.load(run))
        made.set_goal(THERE)
        size = made.latent_size
        assert made.seconds_to(np.zeros(size), np.zeros((2, size))) is None
        return made.plan(HERE, 0).seconds_to_go

    monkeypatch.setattr(Ranks, 'better', False)
    assert seconds() is None
    monkeypatch.setattr(Ranks, 'better', True)
    (run / 'time_to_go.json').unlink()
    assert seconds() is None


def test_a_plan_costs_the_time_of_all_its_steps() -> None:
    costs = Costs(
        PointMass(),
        replace(SETTINGS, cost='time'),
        Bounds(-FAST, FAST),
        time=lambda z, goal: (goal - z).abs().sum(dim=-1),
    )
    moves = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]], [[0.0, 0.5]] * 3])
    found = costs(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), moves[None])
    assert found.tolist() == [[1.0 + 0.0 + 0.0, 2.5 + 3.0 + 3.5]]


def test_drives_without_known_actions_show_times_too(walked: RecordedDrives) -> None:
    unknown = walked._replace(actions=torch.full_like(walked.actions, torch.nan))
    found = learn(unknown, Walled(), steps=300, seed=0)
    assert time(found, (2.0, -3.0), (2.0, 3.0)) > 2 * time(found, (2.0, 0.0), (2.0, 1.0))


def test_drives_that_are_too_short_are_refused() -> None:
    short = RecordedDrives(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(4).long(), block=1)
    with pytest.raises(DatasetError, match='no drive is longer than a model step'):
        learn(short, PointMass(), steps=2, seed=0)


def plan(folder: Path, cost: str) -> np.ndarray:
    checkpoint = checkpoints.load(folder)
    pilot = Pilot(checkpoint, replace(checkpoint.planner, cost=cost))
    pilot.set_goal(THERE)
    return pilot.plan(HERE, 0).actions


def test_where_latent_distance_is_better_it_is_used(run: Path) -> None:  # noqa: F811
    head, _ = time_to_go.load(run, 'a test')
    time_to_go.save(run, head, Ranks(time=0.6, latent=0.5), {})
    by_time = plan(run, 'time')
    time_to_go.save(run, head, Ranks(time=0.5, latent=0.6), {})
    assert np.array_equal(plan(run, 'time'), plan(run, 'sum'))
    assert not np.array_equal(by_time, plan(run, 'sum'))


def test_focus_needs_a_latent_distance(head: TimeToGo) -> None:
    settings = replace(SETTINGS, cost='time', focus=('x',))
    with pytest.raises(ConfigError, match=r'planner\.focus: needs a latent distance'):
        make_planner(Walled(), settings, -FAST, FAST, guides=Guides(time=head))


def test_a_time_that_is_damaged_is_refused(run: Path) -> None:  # noqa: F811
    path = run / 'time_to_go.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'sha256': '0'}))
    with pytest.raises(CheckpointError, match=r'does not match time_to_go\.safetensors'):
        plan(run, 'time')


def test_training_with_this_cost_makes_the_time(
    tmp_path: Path,
    data: object,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ['train.steps=4', 'train.batch=8', 'prepare.steps=4', 'planner.samples=16']
    words += ['planner.elites=4', 'model.latent=4', 'model.hidden=8']
    command = ['train', str(data.folder), '--out', str(tmp_path / 'made')]  # type: ignore[attr-defined]
    assert smwm([*command, *words, 'planner.cost=time']) == 0
    assert 'Time to go: rank correlation of' in capsys.readouterr().out
    first = (tmp_path / 'made/time_to_go.safetensors').read_bytes()
    plan(tmp_path / 'made', 'time')
    assert smwm([*command, *words, 'planner.cost=time']) == 0  # a finished one is kept
    assert 'Time to go' not in capsys.readouterr().out
    assert (tmp_path / 'made/time_to_go.safetensors').read_bytes() == first
    assert smwm([*command[:3], str(tmp_path / 'other'), *words]) == 0
    assert not (tmp_path / 'other/time_to_go.safetensors').exists()
