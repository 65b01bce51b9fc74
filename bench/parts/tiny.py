# SPDX-License-Identifier: Apache-2.0
"""
Measure how long the model of the paper plans with the paper's settings, from images to actions.

The peers are the platform that the model comes from, with the same weights, images and noise,
which finds the same plan; and the arithmetic that every exact rollout needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
import sys
import time
from typing import Any

from common import interleaved, paired_ratio, Row
import numpy as np
from parts.launches import as_if_gpu
from parts.peer import NAME, Peer, peer
from smwm_ros import config
from smwm_ros.evaluation.methods import PAPER_PLANNER
from smwm_ros.exchange.tensor_names import theirs
from smwm_ros.interfaces import ActionScaler
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.model.kernels import PackedLinear
from smwm_ros.model.vit import MEAN, Predictor, SIDE, STD
from smwm_ros.model.world_model import Smwm
from smwm_ros.planning.pilot import Pilot
import torch
from torch import nn, Tensor

BLOCK, FIELDS = 5, 2
ROBOT = config.Robot(command=config.Command(low=(-1e6, -1e6), high=(1e6, 1e6)))  # no limits
PAPER = replace(PAPER_PLANNER, seed=1234)
SHARED = ('samples', 'iterations', 'elites', 'horizon', 'seed')  # settings that the peer also has
SOLVER = f'{NAME}, CEMSolver and LeWM'
SAME = 1e-4  # largest difference of equal plans [standard deviations of the data]
RATED = ((300, 192, 2048), (300, 2048, 192), (1024, 1024, 1024))  # rows, inputs, outputs


def rows(quick: bool) -> Iterator[Row]:
    """Measure the processor, and a GPU where there is one."""
    checkpoint = random_tiny(replace(PAPER, iterations=3) if quick else PAPER)
    yield from on_processor(checkpoint, 1 if quick else 5)
    yield from launches(checkpoint)
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        for found in (on_gpu, beside_platform):
            yield from (
                one._replace(machine=name) for one in found(checkpoint, 3 if quick else 20)
            )
    else:
        print('left out: planner.cuda; there is no CUDA device here', file=sys.stderr)


def on_processor(checkpoint: Checkpoint, rounds: int) -> Iterator[Row]:
    """Time one thread in processor time."""
    ours = Ours(checkpoint, 'cpu')
    parts = {'ours': ours.seconds, 'floor': floor(checkpoint)}
    with beside(checkpoint, 'cpu') as other:
        if other:
            check(ours.plan(), other, SAME)
            parts['other'] = partial(other.seconds, 'plan')
            half = checkpoint._replace(planner=replace(checkpoint.planner, precision='bf16'))
            parts['half'] = Ours(half, 'cpu').seconds
        seconds = interleaved(parts, rounds)
    if other:
        yield row('planner.tiny', seconds, 'other', SOLVER)
        yield row('planner.tiny_bf16', {**seconds, 'ours': seconds['half']}, 'other', SOLVER)
    yield row('planner.tiny_floor', seconds, 'floor', 'its matrix products alone')
    yield Row('planner.tiny_ranking', ranking(checkpoint.smwm), 'rank correlation')


def on_gpu(checkpoint: Checkpoint, rounds: int, device: str = 'cuda') -> Iterator[Row]:
    """Time a GPU in bf16, beside fp32 and beside the official computation."""
    half = checkpoint._replace(planner=replace(checkpoint.planner, precision='bf16'))
    # Compiling may take minutes, so it comes last.
    plain, ours = Plain(checkpoint, device), Ours(half, device)
    parts = {'ours': ours.seconds, 'plain': plain.seconds}
    seconds = interleaved(parts, max(rounds // 4, 1))
    yield row('planner.cuda_plain', seconds, 'plain', 'the official computation, plain and eager')
    yield Row('planner.cuda_ranking', ranking(checkpoint.smwm), 'rank correlation')
    exact = Ours(checkpoint, device)
    seconds = interleaved({'ours': ours.seconds, 'exact': exact.seconds}, rounds)
    yield row('planner.cuda', seconds, 'exact', 'the same in fp32')
    require_same(exact.plan(), plain.plan(), 100 * SAME)  # sums are in another order


def beside_platform(checkpoint: Checkpoint, rounds: int, device: str = 'cuda') -> Iterator[Row]:
    """Time a GPU beside the platform of the paper, if that is installed."""
    with beside(checkpoint, device) as other:
        if other:
            check(Ours(checkpoint, device).plan(), other, 100 * SAME)
            half = replace(checkpoint.planner, precision='bf16')
            ours = Ours(checkpoint._replace(planner=half), device)
            parts: dict[str, Callable[[], float]] = {'ours': ours.seconds}
            parts['other'] = partial(other.seconds, 'plan')
            yield row('planner.cuda_peer', interleaved(parts, rounds), 'other', SOLVER)


def launches(checkpoint: Checkpoint) -> Iterator[Row]:
    """Count the kernels of a plan on a GPU; their number is the same for any number of samples."""
    few = replace(checkpoint.planner, samples=4, elites=2, precision='bf16')
    with as_if_gpu() as tapes:
        Ours(checkpoint._replace(planner=few), 'cpu')
    asked, joined = (
        float(sum(getattr(tape, what) for tape in tapes)) for what in ('launches', 'joined')
    )
    name = 'the same, where all between two products is joined'
    yield Row('planner.launches', asked, 'operations', '', name, joined, asked / joined)


def row(measure: str, seconds: dict[str, list[float]], peer: str, name: str) -> Row:
    """Return our time beside that of the peer."""
    ours, other = (1e3 * float(np.median(seconds[key])) for key in ('ours', peer))
    ratio = paired_ratio(seconds[peer], seconds['ours'])
    return Row(measure, ours, 'ms', peer=name, peer_value=other, ratio=ratio)


class Ours:
    """Our computation from two images to a plan."""

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self._pilot = Pilot(checkpoint, replace(checkpoint.planner, device=device))
        self._clock = time.process_time if device == 'cpu' else time.perf_counter
        self.plan()  # on a GPU, this compiles and records

    def plan(self) -> Tensor:
        """Return the mean after the last iteration, (T, K*A)."""
        start, goal = images()
        self._pilot.set_goal(goal)
        actions = self._pilot.plan(start, 0).actions
        return torch.from_numpy(actions).reshape(-1, BLOCK * FIELDS)

    def seconds(self) -> float:
        """Return the duration of a plan, its copy to the processor included [s]."""
        begun = self._clock()
        self.plan()
        return self._clock() - begun


def kernels(checkpoint: Checkpoint, device: str = 'cuda') -> Iterator[Row]:
    """Profile a plan on a GPU, and print what takes longest."""
    half = replace(checkpoint.planner, precision='bf16')
    ours = Ours(checkpoint._replace(planner=half), device)
    kind = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kind.CPU] + [kind.CUDA] * (device == 'cuda')) as seen:
        ours.plan()
    key = 'self_cpu_time_total' if device == 'cpu' else 'self_device_time_total'
    events = [one for one in seen.events() if one.device_type.name.lower() == device]
    busy = sum(one.time_range.elapsed_us() for one in events) / 1e3
    yield Row('planner.cuda_kernels', float(len(events)), 'kernels and copies')
    yield Row('planner.cuda_busy', busy, 'ms of them, added up')
    print(seen.key_averages().table(sort_by=key, row_limit=40), file=sys.stderr)


class Plain:
    """
    A plain implementation of the official computation, launched kernel by kernel.

    Like the original, it encodes both images again in every iteration and caches nothing. The
    original also copies both images for each sample, which is left out here.
    """

    def __init__(self, checkpoint: Checkpoint, device: str) -> None:
        self._model, self._settings = checkpoint.on(torch.device(device)).model, checkpoint.planner
        self._device = device
        self._clock = time.process_time if device == 'cpu' else time.perf_counter

    @torch.inference_mode()
    def plan(self) -> Tensor:
        """Return the mean after the last iteration, (T, K*A)."""
        settings, device = self._settings, self._device
        start, goal = (
            torch.tensor(image[None], device=device).permute(0, 3, 1, 2) for image in images()
        )
        generator = torch.Generator(device).manual_seed(settings.seed)
        shape = (settings.samples, settings.horizon, BLOCK * FIELDS)
        mean = torch.zeros(shape[1:], device=device)
        std = torch.full_like(mean, settings.init_std)
        for _ in range(settings.iterations):
            z, wanted = self._model.encode(start), self._model.encode(goal)
            noise = torch.randn(shape, generator=generator, device=device)
            noise[0] = 0
            actions = mean + std * noise
            z = z.expand(len(actions), -1)
            for step in range(settings.horizon):
                z = self._model.predict(z, actions[:, step])
            cost = (z - wanted).square().sum(dim=1)
            elites = actions[cost.topk(settings.elites, largest=False).indices]
            mean, std = elites.mean(dim=0), elites.std(dim=0)
        return mean.cpu()

    def seconds(self) -> float:
        """Return the duration of a plan [s]."""
        begun = self._clock()
        self.plan()
        return self._clock() - begun


def random_tiny(planner: config.Planner) -> Checkpoint:
    """Make a checkpoint with random weights, also where a new model has zeros."""
    torch.manual_seed(0)
    settings = config.Model(preset='tiny')
    model = make_model(settings, SIDE, BLOCK * FIELDS).eval().requires_grad_(False)
    for name, weight in model.forward_model.named_parameters():
        if 'modulation' in name:
            weight.normal_(0.0, 0.1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0.0, 0.1)
            layer.running_var.uniform_(0.2, 0.5)
    dataset = config.Dataset(image_size=SIDE, action_block=BLOCK)
    scaler = ActionScaler(np.zeros(FIELDS), np.ones(FIELDS))
    return Checkpoint(model, ROBOT, dataset, settings, planner, scaler)


def images() -> Any:
    """Draw the images of start and goal, (2, S, S, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


def beside(checkpoint: Checkpoint, device: str) -> AbstractContextManager[Peer | None]:
    """Start the planner of the peer."""
    known = task(checkpoint, device)
    return peer('lewm.py', lambda path: torch.save(known, path), {'OMP_NUM_THREADS': '1'})


def task(checkpoint: Checkpoint, device: str) -> dict[str, Any]:
    """Return the task of the peer, with normalised images."""
    pixels = torch.from_numpy(images()).float() / 255
    start, goal = ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    settings: dict[str, int] = {name: getattr(checkpoint.planner, name) for name in SHARED}
    return {
        'device': device,
        'weights': {
            theirs(name): value.cpu()
            for name, value in checkpoint.model.state_dict().items()
            if not name.startswith('inverse_model')
        },
        'pixels': start[None, None],
        'goal': goal[None, None],
        'action': torch.zeros(1, 1, BLOCK * FIELDS),
        'settings': {**settings, 'block': BLOCK, 'fields': FIELDS},
    }


def check(ours: Tensor, other: Peer, most: float) -> None:
    """Check that the peer finds the same plan."""
    require_same(ours, torch.tensor(other.ask('plan')['mean']), most)


def require_same(ours: Tensor, theirs: Tensor, most: float) -> None:
    """Check that two plans are equal."""
    difference = float((ours - theirs).abs().max())
    assert difference < most, f'plans differ by {difference}, expected less than {most}'


def floor(checkpoint: Checkpoint) -> Callable[[], float]:
    """Return the duration of the arithmetic at the best rate of the processor [s]."""
    work = arithmetic(checkpoint.smwm, checkpoint.planner)
    cases = [
        (torch.randn(n, i), PackedLinear(torch.randn(o, i), torch.randn(o))) for n, i, o in RATED
    ]

    def seconds(x: Tensor, product: PackedLinear, times: int = 20) -> float:
        begun = time.process_time()
        for _ in range(times):
            y = product(x)
        done = 2 * times * y.numel() * x.shape[1]
        return (time.process_time() - begun) * work / done

    return lambda: min(seconds(*case) for case in cases)


def arithmetic(model: Smwm, settings: config.Planner) -> float:
    """Count the multiplications and additions of a plan with all products merged [FLOP]."""
    predictor = model.forward_model
    assert isinstance(predictor, Predictor)
    weights = {
        name: layer.weight.numel()
        for name, layer in predictor.named_modules()
        if isinstance(layer, nn.Linear)
    }
    # In the attention, values and outputs merge into one product; the rest is negligible.
    kept = sum(size for name, size in weights.items() if not name.endswith(('qkv', 'out')))
    kept += len(predictor.layers) * model.latent**2
    return 2.0 * kept * settings.samples * settings.horizon * settings.iterations


@torch.no_grad()
def ranking(model: Smwm) -> float:
    """Return the rank correlation of the costs of action sequences in bf16 and fp32."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, model.latent, generator=generator).to(device)
    shape = (PAPER.samples + 1, PAPER.horizon, BLOCK * FIELDS)
    actions = torch.randn(shape, generator=generator).to(device)
    half = accelerate(model, half=True)
    assert half is not None
    ranks = []
    for imagine in (model.rollout, half.rollout):
        last = imagine(z.expand(len(actions), -1), actions)[:, -1]
        cost = (last[1:] - last[0]).square().sum(dim=1)  # the goal is where the first one leads
        ranks.append(cost.argsort().argsort().double())
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])
