# SPDX-License-Identifier: Apache-2.0
"""
Measure how long a plan takes, beside a plain implementation of CEM and beside its arithmetic.

The plain CEM has no bounds on its mean, no handling of NaN and no warm start. It plans with the
same weights, settings and noise, and returns the same plan. The arithmetic is the matrix products
of the rollouts and nothing else. One thread, random weights (which take as long as trained ones),
processor time, so that load from other programs does not distort the ratio. The model of the paper
is measured in parts/tiny.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
import time

from common import interleaved, main, paired_ratio, Row
import numpy as np
from parts import tiny
from parts.paper import SEARCH
from smwm_ros.config import Config, Planner
from smwm_ros.interfaces import ActionScaler, Array
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.model.kernels import PackedLinear
from smwm_ros.model.world_model import Smwm
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.planner import make_planner, SearchPlanner
import torch
from torch import nn, Tensor

LIMIT = 1.5  # of the actions [standard deviations of the data]


def measure(quick: bool) -> Iterator[Row]:
    """Time the planner alone, then encoding and planning together."""
    from smwm_ros.load import load_config  # needs YAML, which the rest does without

    torch.set_num_threads(1)
    rounds = 50 if quick else 400
    config = load_config('two_room')
    checkpoint = random_checkpoint(config)
    model, settings = checkpoint.smwm, config.planner
    bound = torch.full((checkpoint.spec.size * checkpoint.action_block,), LIMIT)
    z, goal = torch.randn(2, config.model.latent)
    quick_model = accelerate(model) or model
    planner = make_planner(quick_model, settings, -bound, bound, checkpoint.action_block)
    assert isinstance(planner, SearchPlanner)

    def ours() -> Tensor:
        planner.reset()
        return planner.plan(z, goal).actions

    def plain() -> Tensor:
        return plain_cem(model, settings, bound, checkpoint.spec.size, z, goal)

    difference = float((ours() - plain()).abs().max())
    assert difference < 1e-3, f'plans differ by {difference}, expected less than 1e-3'
    products = arithmetic(model, settings)
    parts = {'ours': ours, 'plain': plain, 'arithmetic': products}
    figures = interleaved({name: timed(part) for name, part in parts.items()}, rounds)
    value = 1e3 * float(np.median(figures['ours']))
    about = {
        'plain': 'plain CEM with the same plan',
        'arithmetic': 'its matrix products alone',
    }
    for name, measure_name in (('plain', 'planner.plan'), ('arithmetic', 'planner.overhead')):
        yield Row(
            measure_name,
            value,
            'ms',
            peer=about[name],
            peer_value=1e3 * float(np.median(figures[name])),
            ratio=paired_ratio(figures[name], figures['ours']),
        )
    yield from from_image(checkpoint, rounds)
    yield from tiny.rows(quick)
    if torch.cuda.is_available():
        paper = tiny.random_tiny(tiny.PAPER)
        for found in (nano_on_gpu(rounds // 10), many_on_gpu(paper, (1, 16, 100), 5)):
            yield from (row._replace(machine=torch.cuda.get_device_name()) for row in found)


def nano_on_gpu(rounds: int, device: str = 'cuda') -> Iterator[Row]:
    """Time the small model on a GPU, beside one processor thread."""
    torch.set_num_threads(1)
    checkpoint = random_checkpoint(Config())
    image = draw(1, checkpoint.image_size)
    parts: dict[str, Callable[[], float]] = {}
    for name, where in (('gpu', device), ('processor', 'cpu')):
        pilot = Pilot(random_checkpoint(Config()), replace(checkpoint.planner, device=where))
        pilot.set_goal(image[0, ::-1].copy())
        pilot.plan(image[0], 1)
        parts[name] = timed(partial(pilot.plan, image[0], 1), time.perf_counter)
    seconds = interleaved(parts, rounds)
    ours, theirs = (1e3 * float(np.median(seconds[name])) for name in parts)
    ratio = paired_ratio(seconds['processor'], seconds['gpu'])
    yield Row('planner.cuda_nano', ours, 'ms', '', 'one thread of the processor', theirs, ratio)


def many_on_gpu(
    checkpoint: Checkpoint, counts: Sequence[int], rounds: int, device: str = 'cuda'
) -> Iterator[Row]:
    """Time a GPU that plans for many problems at once with the model of the paper, in bf16."""
    pilot = Pilot(checkpoint, replace(checkpoint.planner, device=device, precision='bf16'))
    alone: float | None = None
    for count in counts:
        images = draw(count, checkpoint.image_size)
        pilot.set_goals(images[:, ::-1].copy())

        def plan(images: Array = images) -> None:
            pilot.reset()
            pilot.plan_many(images, 0)

        plan()  # compiles and records
        rate = count / float(
            np.median(interleaved({'ours': timed(plan, time.perf_counter)}, rounds)['ours'])
        )
        row = Row(f'planner.cuda_batch_{count}', rate, 'plans/s')
        if alone:
            peer = 'one after the other'
            row = row._replace(peer=peer, peer_value=alone, ratio=rate / alone)
        alone = alone or rate
        yield row


def draw(count: int, size: int) -> Array:
    """Return images of noise (count, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def from_image(checkpoint: Checkpoint, rounds: int) -> Iterator[Row]:
    """Time encoding and planning, with our settings and with those of the paper."""
    size = checkpoint.image_size
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    pilots = {
        'ours': Pilot(checkpoint),
        'paper': Pilot(checkpoint, replace(checkpoint.planner, **SEARCH)),
    }
    for pilot in pilots.values():
        pilot.set_goal(image[::-1].copy())
        pilot.plan(image, 1)
    parts = {name: timed(partial(pilot.plan, image, 1)) for name, pilot in pilots.items()}
    figures = interleaved(parts, max(rounds // 10, 5))
    yield Row(
        'planner.image_to_actions',
        1e3 * float(np.median(figures['ours'])),
        'ms',
        peer='the same with 300 samples and 30 iterations',
        peer_value=1e3 * float(np.median(figures['paper'])),
        ratio=paired_ratio(figures['paper'], figures['ours']),
    )


def timed(
    part: Callable[[], object], clock: Callable[[], float] = time.process_time
) -> Callable[[], float]:
    """Return a part that returns its own duration by a clock [s]."""

    def run() -> float:
        begun = clock()
        part()
        return clock() - begun

    return run


def random_checkpoint(config: Config) -> Checkpoint:
    """Make a checkpoint of the shipped sizes with random weights."""
    torch.manual_seed(0)
    size = len(config.robot.command.low)
    model = make_model(config.model, config.dataset.image_size, size * config.dataset.action_block)
    return Checkpoint(
        model.eval().requires_grad_(False),
        config.robot,
        config.dataset,
        config.model,
        config.planner,
        ActionScaler(np.zeros(size), np.full(size, 0.5 / LIMIT)),
    )


@torch.inference_mode()
def plain_cem(
    model: Smwm, settings: Planner, bound: Tensor, raw: int, z: Tensor, goal: Tensor
) -> Tensor:
    """Plan with a plain implementation of CEM."""
    generator = torch.Generator().manual_seed(settings.seed)
    mean = torch.zeros(settings.horizon, len(bound))
    std = torch.full_like(mean, settings.init_std)
    for _ in range(settings.iterations):
        noise = torch.randn(settings.samples, *mean.shape, generator=generator)
        held = torch.randn(settings.samples, settings.horizon, 1, raw, generator=generator)
        held = held.repeat(1, 1, mean.shape[1] // raw, 1).reshape(noise.shape)
        noise = (1 - settings.smooth) ** 0.5 * noise + settings.smooth**0.5 * held
        noise[0] = 0
        actions = (mean + std * noise).clamp(-bound, bound)
        place, away = z.repeat(settings.samples, 1), []
        for t in range(settings.horizon):
            place = model.predict(place, actions[:, t])
            away.append((place - goal).norm(dim=1))
        cost = torch.stack(away).amin(dim=0) + settings.time_weight * torch.stack(away).sum(dim=0)
        elites = actions[cost.argsort()[: settings.elites]]
        mean, std = elites.mean(dim=0), elites.std(dim=0).clamp(min=settings.min_std)
    return mean


def arithmetic(model: Smwm, settings: Planner) -> Callable[[], None]:
    """Return the matrix products of a plan."""
    layers = [layer for layer in model.forward_model.modules() if isinstance(layer, nn.Linear)]
    inputs = [torch.randn(settings.samples, layer.in_features) for layer in layers]
    products = [PackedLinear(layer.weight, layer.bias) for layer in layers]

    def run() -> None:
        for _ in range(settings.iterations * settings.horizon):
            for x, product in zip(inputs, products, strict=True):
                product(x)

    return run


if __name__ == '__main__':
    main(measure, __doc__)
