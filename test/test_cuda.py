# SPDX-License-Identifier: Apache-2.0
"""
What is special on a GPU: all that is recorded is what it was, and nothing waits.

Where there is no CUDA device, the processor takes the same ways (bench/parts/launches.py). This
file needs neither ROS nor the fixtures of the other tests, and runs on a bare machine with a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
import importlib.util
from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.model.any_model import make_model
from smwm_ros.model.recorded import Recorded
from smwm_ros.planning.guides import Guides
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.planner import make_planner, SearchPlanner
from smwm_ros.planning.policy import Policy
from smwm_ros.training.batches import Batches, Shuffle
from smwm_ros.training.feed import open_feed
from smwm_ros.training.learner import Learner
import torch
from torch import Tensor
from worlds import dot_dataset, draw_dot, PointMass, tiny_checkpoint

LAUNCHES = Path(__file__).parents[1] / 'bench' / 'parts' / 'launches.py'
SEARCH = config.Planner(samples=24, elites=6, iterations=3, horizon=3)
KINDS = {
    'recipe': SEARCH,
    'paper': replace(SEARCH, cost='last', smooth=0.0, warm_start=False, min_std=0.0),
    'icem': replace(SEARCH, kind='icem', noise_beta=1.0),
    'mppi': replace(SEARCH, kind='mppi'),
    'sampling': replace(SEARCH, kind='sampling'),
    'careful': replace(SEARCH, effort_weight=0.1, change_weight=0.1),
}


def launches() -> Any:
    """Return the stand-in for a GPU, which belongs to the benchmarks."""
    if 'launches' not in sys.modules:
        spec = importlib.util.spec_from_file_location('launches', LAUNCHES)
        assert spec
        assert spec.loader
        sys.modules['launches'] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules['launches'])
    return sys.modules['launches']


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """Return a GPU, or the processor in its place."""
    if torch.cuda.is_available():
        yield torch.device('cuda')
        return
    with launches().as_if_gpu():
        yield torch.device('cpu')


@contextmanager
def no_waiting() -> Iterator[None]:
    """Refuse to wait for a GPU; in its place, what is recorded is refused by itself."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


class Adder(PointMass):
    """A model whose rollouts are not recorded by themselves."""

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Add up the raw actions."""
        raw = actions.unflatten(-1, (-1, 2)).sum(dim=-2)
        return z.unsqueeze(-2) + torch.tanh(raw.cumsum(dim=-2))

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """Go one step."""
        return self.rollout(z, action.unsqueeze(-2)).squeeze(-2)


def planner_on(device: torch.device, settings: config.Planner, **more: Any) -> SearchPlanner:
    """Make a planner of a robot with rate limits."""
    high = torch.full((4,), 1.0, device=device)
    step = torch.full((2,), 0.7, device=device)
    made = make_planner(Adder(), settings, -high, high, 2, step, **more)
    assert isinstance(made, SearchPlanner)
    return made


def drive(planner: SearchPlanner, device: torch.device) -> list[Tensor]:
    """Plan as a robot does: from nothing, from the last plan, with and without what was sent."""
    plans = []
    for number in range(5):
        z = torch.tensor([[0.1 * number, -0.2]]).to(device)
        goal = torch.tensor([[0.9, 0.4]]).to(device)
        past = torch.full((1, 1, 2), 0.1 * number).to(device) if number > 2 else None
        with no_waiting() if number == 4 else contextmanager(lambda: iter([None]))():
            plans.append(planner.plan_many(z, goal, past))
        planner.shift(1)
    return [part for found in plans for part in (found.actions, found.cost, found.spread)]


@pytest.mark.parametrize('kind', KINDS)
def test_a_plan_that_is_recorded_is_the_plan_that_was_searched_for(
    gpu: torch.device, kind: str
) -> None:
    recorded = planner_on(gpu, KINDS[kind])
    assert recorded._recorded is not None
    found = drive(recorded, gpu)
    plain = planner_on(gpu, KINDS[kind])
    plain._recorded = None
    for one, other in zip(found, drive(plain, gpu), strict=True):
        assert torch.allclose(one, other, atol=1e-5), kind
    recorded.reset()
    again = drive(recorded, gpu)
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


def test_proposals_take_part_in_what_is_recorded(gpu: torch.device) -> None:
    torch.manual_seed(0)
    guides = Guides(policy=Policy(2, 4).eval().requires_grad_(False))
    recorded, plain = (planner_on(gpu, SEARCH, guides=guides) for _ in range(2))
    plain._recorded = None
    for one, other in zip(drive(recorded, gpu), drive(plain, gpu), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize('knobs', [{'budget_ms': 50.0}, {'refine': 1}])
def test_neither_a_clock_nor_a_gradient_is_recorded(
    gpu: torch.device, knobs: dict[str, Any]
) -> None:
    assert planner_on(gpu, replace(SEARCH, **knobs))._recorded is None


def test_many_problems_are_planned_as_each_alone(gpu: torch.device) -> None:
    planner = planner_on(gpu, KINDS['paper'])
    z, goal = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1)).to(gpu)
    together = planner.plan_many(z, goal).actions
    for number in range(3):
        planner.reset()
        alone = planner.plan_many(z[[number]], goal[[number]]).actions
        assert torch.allclose(together[[number]], alone, atol=1e-4)


@pytest.mark.parametrize('preset', ['nano', 'toy', 'tiny'])
def test_rollouts_on_a_gpu_are_those_of_the_model(gpu: torch.device, preset: str) -> None:
    from test_fast_rollout import fast, question, random_model

    model = random_model(preset)
    z, actions = question(model, 2, 33)
    wanted = model.rollout(z, actions)
    quick = fast(model.to(gpu))
    z, actions = z.to(gpu), actions.to(gpu)
    quick.rollout(z, actions)  # compiles and records
    with no_waiting():
        first, second = quick.rollout(z, actions), quick.rollout(-z, actions)
    assert (first.cpu() - wanted).abs().max() < 1e-4
    assert (second - first).abs().max() > 1e-3


def test_a_pilot_plans_from_images_to_actions_and_is_warm_for_what_was_sent(
    gpu: torch.device,
) -> None:
    here, there = draw_dot(np.array([-0.5, 0.0])), draw_dot(np.array([0.5, 0.2]))
    made = tiny_checkpoint()
    wanted = Pilot(made, replace(made.planner, device='cpu'))
    pilot = Pilot(made, replace(made.planner, device=gpu.type))
    pilot.warm_up()
    with no_recording():
        pilot.set_goal(there)
        plans = [pilot.plan(here, 1), pilot.plan(there, 1), pilot.plan(here, 1)]
        sent = np.zeros((pilot.action_block, pilot.spec.size))
        plans.append(pilot.plan(here, 1, sent))
    for plan in plans:
        assert np.isfinite(plan.cost)
        assert np.array_equal(plan.actions, pilot.spec.clip(plan.actions))
    wanted.set_goal(there)
    assert np.allclose(wanted.encode(here[None]), pilot.encode(here[None]), atol=1e-4)


@contextmanager
def no_recording() -> Iterator[None]:
    """Refuse to record anything: a robot would stand still for as long."""

    def refuse(*_: object) -> None:
        raise AssertionError('recorded while the robot drives')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorded, '_record', refuse)
        yield


@pytest.mark.parametrize(
    'look',
    [
        lambda x: x + float(x.sum()),
        lambda x: x + x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x[torch.nonzero(x)],
        lambda x: x + x.cpu().to(x.device),
        lambda x: x if (x > 0).all() else -x,
        lambda x: x + torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.to('cpu').to(x.device),
        lambda x: x * x.tolist()[0],
    ],
)
def test_what_waits_for_a_gpu_cannot_be_recorded(
    gpu: torch.device, look: Callable[[Tensor], Tensor]
) -> None:
    if gpu.type == 'cuda':
        pytest.skip('CUDA refuses that itself, and the process is of little use after it')
    with pytest.raises(launches().WaitError, match='so it cannot be recorded'):
        Recorded(look)(torch.ones(2))


def test_what_was_recorded_follows_its_inputs_and_its_chance(gpu: torch.device) -> None:
    chance = torch.Generator(gpu).manual_seed(3)

    def run(x: Tensor, y: Tensor | None) -> dict[str, tuple[Tensor, Tensor]]:
        noise = torch.randn(2, generator=chance, device=x.device)
        return {'both': (x * 2 if y is None else x + y, noise)}

    recorded = Recorded(run, chance)
    one, two = torch.ones(2, device=gpu), torch.full((2,), 5.0, device=gpu)
    found = [recorded(one, None), recorded(two, None), recorded(one, two), recorded(two, two)]
    sums = [float(part['both'][0][0].cpu()) for part in found]
    assert sums == [2.0, 10.0, 6.0, 10.0]
    chance.manual_seed(3)
    for part in found:
        noise = torch.randn(2, generator=chance, device=gpu)
        assert torch.equal(part['both'][1], noise)


def test_a_step_of_training_on_a_gpu_is_that_of_the_processor(
    gpu: torch.device, tmp_path: Path
) -> None:
    dataset = dot_dataset(tmp_path / 'data', episodes=6)
    settings = config.Train(batch=8, precision='fp32', steps=100)
    terms = []
    for device in (torch.device('cpu'), gpu):
        torch.manual_seed(0)
        model = make_model(config.Model(latent=4, hidden=16), 16, 4).to(device)
        batches = Batches(dataset, dataset.action_scaler(), device)
        learner = Learner(model, settings, device)
        deal = Shuffle(batches.starts('train'), 8, 0)
        losses = []
        for feed in ('resident', 'prefetch', 'direct'):
            with open_feed(feed, batches, deal, slice(None), range(1, 3)) as give:
                batch = give(1)
            with no_waiting():
                losses.append(learner.step(1, batch))
        terms.append([float(sum(one.values())) for one in losses])
    assert terms[0] == pytest.approx(terms[1], rel=1e-2)


def test_a_world_without_a_fast_form_is_planned_in_as_well(gpu: torch.device) -> None:
    high = torch.ones(2, device=gpu)
    planner = make_planner(PointMass(), SEARCH, -high, high)
    z, goal = torch.zeros(1, 2, device=gpu), torch.full((1, 2), 1.5, device=gpu)
    actions = planner.plan_many(z, goal).actions
    assert torch.allclose(actions.sum(dim=1), goal, atol=1.0)
