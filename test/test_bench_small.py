# SPDX-License-Identifier: Apache-2.0
"""
A small run of an arena's whole benchmark: all methods are compared under the same conditions.

The real functions run, and their arguments are recorded. Then only the sizes are reduced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from smwm_ros.arenas.two_room import TwoRoom
from smwm_ros.config import Config, Model, Planner, Train
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.agents import Agent, ExpertAgent, PlannerAgent, RandomAgent
from smwm_ros.evaluation.closed_loop import Outcome
from smwm_ros.evaluation.methods import PAPER_PLANNER
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.load import load_config
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning.pilot import Pilot
from smwm_ros.reporting import ShowProgress

pytestmark = pytest.mark.usefixtures('one_thread')
ARENA, SEEDS = 'two_room', (0, 3)  # with these, a pair is solved at the start
# That of the recipe, that of the paper, that without a measured state, another.
KINDS = ('state_align', 'smwm', 'smwm+sigreg', 'sigreg')
PAIRS, STEPS = 4, 4  # training steps here, whatever is requested
IMAGES = ['arena.image_size=16', 'dataset.image_size=16']
KNOBS = [*IMAGES, f'evaluate.pairs={PAIRS}', 'model.latent=4', 'model.hidden=16']
# As in the arenas whose recipe learns from the measured state as well.
KNOBS += ['model.kind=state_align', 'planner.focus=[pose.pose.position.x]']
WORDS = {'collect': [IMAGES[0], 'arena.episodes=4', 'arena.length=60'], 'convert': IMAGES[1:]}


class Trained(NamedTuple):
    """A requested training."""

    dataset: TransitionDataset
    model: Model
    settings: Train


class Driven(NamedTuple):
    """Pairs that an agent attempted."""

    pairs: Sequence[Pair]
    agent: Agent
    checkpoint: Checkpoint  # that it plans with
    planner: Planner  # and how
    budget: int
    repeats: int
    outcomes: list[Outcome]

    @property
    def kind(self) -> str:
        """Return the kind of the model."""
        return self.checkpoint.model_config.kind

    @property
    def search(self) -> str:
        """Return the name of the planner settings."""
        if self.planner.samples == 300:
            return 'paper'
        return 'no focus' if self.kind == KINDS[0] and not self.planner.focus else 'recipe'


class Requests:
    """Everything that was requested with one seed."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.trained: list[Trained] = []
        self.driven: list[Driven] = []
        self.noise: list[np.ndarray] = []  # what the random policy did
        self.episodes: list[np.ndarray] = []  # that its pairs come from

    def by(self, kind: type) -> list[Driven]:
        """Return what agents of a class attempted."""
        return [one for one in self.driven if isinstance(one.agent, kind)]

    def planned(self, kind: str, search: str = 'recipe') -> Driven:
        """Return what a kind of model tried: as the recipe plans, as the paper, without focus."""
        (found,) = (
            one for one in self.by(PlannerAgent) if (one.kind, one.search) == (kind, search)
        )
        return found


def record_requests(
    success: ModuleType, patch: pytest.MonkeyPatch, folder: Path
) -> list[Requests]:
    """Record the requests of a benchmark, and run them with smaller sizes."""
    seeds: list[Requests] = []
    pilots: dict[int, tuple[Checkpoint, Planner]] = {}
    train, run_pairs, smwm, prepared, fresh = (
        getattr(success, name)
        for name in ('train', 'run_pairs', 'smwm', 'prepared', 'fresh_episodes')
    )
    act = RandomAgent.act

    def noted_prepared(name: str, where: Path, number: int, knobs: Any) -> Any:
        seeds.append(Requests(number))
        return prepared(name, where, number, knobs)

    def noted_fresh(*words: Any) -> Any:
        seeds[-1].episodes = fresh(*words)
        return seeds[-1].episodes

    def noted_train(
        dataset: TransitionDataset,
        where: Path,
        model: Model,
        settings: Train,
        planner: Planner,
        progress: ShowProgress,
    ) -> Checkpoint:
        seeds[-1].trained.append(Trained(dataset, model, settings))
        brief = replace(settings, steps=STEPS, batch=8)
        made: Checkpoint = train(dataset, where, model, brief, planner, progress=progress)
        return made

    def noted_pilot(checkpoint: Checkpoint, planner: Planner | None = None) -> Pilot:
        pilot = Pilot(checkpoint, planner)
        pilots[id(pilot)] = checkpoint, planner or checkpoint.planner
        return pilot

    def noted_pairs(
        arenas: Any,
        pairs: Any,
        agent: Agent,
        budget: int,
        name: str,
        repeats: int,
        progress: ShowProgress,
    ) -> list[Outcome]:
        outcomes: list[Outcome] = run_pairs(arenas, pairs, agent, budget, name, repeats, progress)
        with_what: Any = pilots.get(id(getattr(agent, 'pilot', None)), (None, None))
        checkpoint, planner = with_what
        seeds[-1].driven.append(
            Driven(pairs, agent, checkpoint, planner, budget, repeats, outcomes)
        )
        return outcomes

    def noted_act(self: RandomAgent, *words: Any) -> Any:
        moves = act(self, *words)
        seeds[-1].noise += [move.action for move in moves]
        return moves

    patch.setattr(RandomAgent, 'act', noted_act)
    for name, part in {
        'KEPT': folder,
        'prepared': noted_prepared,
        'fresh_episodes': noted_fresh,
        'train': noted_train,
        'Pilot': noted_pilot,
        'run_pairs': noted_pairs,
        'smwm': lambda words: smwm([*words, *WORDS[words[0]]]),
        'load_config': lambda name, words: load_config(name, [*words, *KNOBS]),
    }.items():
        patch.setattr(success, name, part)
    return seeds


class Benchmark(NamedTuple):
    """Requests and rows of a benchmark."""

    seeds: list[Requests]
    rows: dict[str, Any]


@pytest.fixture(scope='module')
def benchmark(
    bench: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Benchmark]:
    """Run the benchmark of an arena."""
    with pytest.MonkeyPatch.context() as patch:
        seeds = record_requests(bench.success, patch, tmp_path_factory.mktemp('bench'))
        rows = list(bench.success.measure(ARENA, False, kinds=KINDS[3:], seeds=SEEDS))
        yield Benchmark(seeds, {row.measure.partition('.')[2]: row for row in rows})


def recipe(number: int) -> Config:
    """Return the settings that all methods share in this arena."""
    return load_config(ARENA, [*KNOBS, f'train.seed={number}', f'planner.seed={number}'])


def test_every_kind_trains_on_the_same_data_for_the_steps_of_the_recipe(
    benchmark: Benchmark,
) -> None:
    assert [seed.number for seed in benchmark.seeds] == list(SEEDS)
    for seed in benchmark.seeds:
        assert [one.model.kind for one in seed.trained] == list(KINDS)
        wanted = recipe(seed.number)
        for one in seed.trained:
            assert one.settings == wanted.train
            assert one.settings.steps == 3000
            assert one.model == replace(wanted.model, kind=one.model.kind, history=1)
        assert len({one.dataset.fingerprint for one in seed.trained}) == 1
    every = {one.dataset.fingerprint for seed in benchmark.seeds for one in seed.trained}
    assert len(every) == len(SEEDS), 'each seed has data of its own'


def test_no_start_or_goal_of_a_pair_is_in_the_training_data(benchmark: Benchmark) -> None:
    for seed in benchmark.seeds:
        data = seed.trained[0].dataset
        known = {state.tobytes() for state in data.states(np.arange(len(data)))}
        assert len(known) > 0.9 * len(data), 'the robot stands still'
        for pair in seed.driven[0].pairs:
            assert pair.start_state.tobytes() not in known
            assert pair.goal_state.tobytes() not in known


def test_goals_are_25_raw_steps_away_and_the_budget_is_50(benchmark: Benchmark) -> None:
    for one in (one for seed in benchmark.seeds for one in seed.driven):
        assert one.budget == 50
        assert {pair.goal_row - pair.start_row for pair in one.pairs} == {25}
        assert max(outcome.steps for outcome in one.outcomes) <= 50
    missed = [o for seed in benchmark.seeds for o in seed.by(RandomAgent)[0].outcomes]
    assert {len(o.path) for o in missed if not o.success} == {51}, 'stopped early'


def test_every_method_tries_all_pairs_and_the_random_policy_five_times(
    benchmark: Benchmark,
) -> None:
    starts = []
    for seed in benchmark.seeds:
        first = [one.start_row for one in seed.driven[0].pairs]
        assert len(set(first)) == PAIRS
        starts.append([pair.start_state.tolist() for pair in seed.driven[0].pairs])
        for one in seed.driven:
            assert [pair.start_row for pair in one.pairs] == first
            assert one.repeats == (5 if isinstance(one.agent, RandomAgent) else 1)
            assert len(one.outcomes) == PAIRS * one.repeats
            began = [outcome.path[0] for outcome in one.outcomes]
            assert np.allclose(began, starts[-1] * one.repeats, atol=1e-6)
        tried = [seed.by(kind) for kind in (PlannerAgent, RandomAgent, ExpertAgent)]
        assert [len(some) for some in tried] == [7, 1, 1]
    assert starts[0] != starts[1], 'each seed has pairs of its own'
    drives = [seed.episodes for seed in benchmark.seeds]
    assert not np.array_equal(drives[0][0], drives[1][0]), 'from episodes of its own'


def test_the_random_policy_uses_the_whole_range_of_actions(benchmark: Benchmark) -> None:
    low, high = (np.array(limits) for limits in (TwoRoom.spec.low, TwoRoom.spec.high))
    for seed in benchmark.seeds:
        share = (np.array(seed.noise) - low) / (high - low)
        assert len(share) > 500
        assert share.min() >= 0
        assert share.max() <= 1
        # Deciles of what is drawn evenly.
        found = np.quantile(share, np.arange(0.1, 1.0, 0.1), axis=0)
        assert np.allclose(found, np.arange(0.1, 1.0, 0.1)[:, None], atol=0.06)


def test_models_plan_with_the_settings_of_the_recipe_and_those_of_the_paper(
    benchmark: Benchmark,
) -> None:
    for seed in benchmark.seeds:
        wanted = recipe(seed.number).planner
        assert seed.planned('state_align').planner == wanted
        plain = replace(wanted, focus=())
        for kind, search in (
            ('state_align', 'no focus'),
            ('smwm', 'recipe'),
            ('smwm+sigreg', 'recipe'),
            ('sigreg', 'recipe'),
        ):
            one = seed.planned(kind, search)
            assert one.planner == plain
            assert one.agent._execute == 1  # type: ignore[attr-defined]
        for kind in KINDS[:2]:
            paper = seed.planned(kind, 'paper')
            assert paper.checkpoint is seed.planned(kind).checkpoint
            assert paper.planner == replace(PAPER_PLANNER, seed=seed.number)
            assert paper.agent._execute == 25  # type: ignore[attr-defined]


def share(outcomes: Sequence[Outcome]) -> float:
    return sum(outcome.success for outcome in outcomes) / len(outcomes)


def test_rows_report_the_share_of_reached_goals_over_all_seeds(benchmark: Benchmark) -> None:
    def pooled(pick: Callable[[Requests], Driven]) -> list[Outcome]:
        return [outcome for seed in benchmark.seeds for outcome in pick(seed).outcomes]

    def planned(kind: str, search: str = 'recipe') -> list[Outcome]:
        return pooled(lambda seed: seed.planned(kind, search))

    def moved(some: list[Outcome]) -> list[Outcome]:
        return [one for one in some if len(one.path) > 1]

    ours, smwm, blunt = planned('state_align'), planned('smwm'), planned('state_align', 'no focus')
    random = pooled(lambda seed: seed.by(RandomAgent)[0])
    expert = pooled(lambda seed: seed.by(ExpertAgent)[0])
    assert len(moved(ours)) < len(ours), 'a pair that is solved at the start'
    for name, value, peer in (
        ('success_smwm', smwm, random),
        ('success_smwm_without_solved', moved(smwm), moved(random)),
        ('success_smwm_paper_planner', planned('smwm', 'paper'), smwm),
        ('success_images', planned('smwm+sigreg'), smwm),
        ('success_images_without_solved', moved(planned('smwm+sigreg')), moved(smwm)),
        ('success', ours, random),
        ('success_without_solved', moved(ours), moved(random)),
        ('success_paper_planner', planned('state_align', 'paper'), ours),
        ('success_no_focus', blunt, ours),
        ('success_no_focus_without_solved', moved(blunt), moved(ours)),
        ('success_sigreg', planned('sigreg'), smwm),
        ('success_expert', expert, ours),
    ):
        row = benchmark.rows[name]
        assert row.value == pytest.approx(share(value)), name
        assert row.peer_value == pytest.approx(share(peer)), name
    worst = min(share(seed.planned('state_align').outcomes) for seed in benchmark.seeds)
    assert benchmark.rows['success_worst_seed'].value == pytest.approx(worst)
