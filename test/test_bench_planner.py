# SPDX-License-Identifier: Apache-2.0
"""Each peer of our planner does the work it is timed for, and finds the same plan."""

from __future__ import annotations

from dataclasses import replace
import importlib.util
import io
from itertools import pairwise
import json
from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from smwm_ros.evaluation.methods import PAPER_PLANNER
from smwm_ros.load import load_config
from smwm_ros.model.fast_rollout import accelerate
from smwm_ros.planning.planner import make_planner
import torch
from torch import nn, Tensor

pytestmark = pytest.mark.usefixtures('one_thread')
PEERS = Path(__file__).resolve().parents[1] / 'bench' / 'peers'
PAPER = {'samples': 300, 'iterations': 30, 'elites': 30, 'horizon': 5}


def test_the_plain_cem_finds_our_plan_with_the_same_number_of_iterations(
    bench: SimpleNamespace,
) -> None:
    config = load_config('two_room', ['model.latent=4', 'model.hidden=16', 'planner.samples=32'])
    checkpoint = bench.planner.random_checkpoint(config)
    bound = torch.full((10,), bench.planner.LIMIT)
    model = accelerate(checkpoint.model) or checkpoint.model
    torch.manual_seed(1)
    z, goal = torch.randn(2, 4)
    plans = []
    for iterations in (1, 2, 4):
        settings = replace(config.planner, iterations=iterations)
        planner = make_planner(model, settings, -bound, bound, 5)
        ours = planner.plan_many(z[None], goal[None]).actions[0]
        plain = bench.planner.plain_cem(checkpoint.model, settings, bound, 2, z, goal)
        assert torch.allclose(ours, plain, atol=1e-3)
        plans.append(plain)
    for one, other in pairwise(plans):
        assert float((one - other).abs().max()) > 0.05, 'iterations make no difference'


def test_the_benchmark_gives_the_plain_cem_the_settings_of_the_recipe(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, searched = list[Any](), list[Any]()
    plain_cem, pilot = bench.planner.plain_cem, bench.planner.Pilot

    def noted(model: Any, settings: Any, *words: Any) -> Tensor:
        asked.append(settings)
        plan: Tensor = plain_cem(model, settings, *words)
        return plan

    def noted_pilot(checkpoint: Any, planner: Any = None) -> Any:
        searched.append(planner or checkpoint.planner)
        return pilot(checkpoint, planner)

    once = bench.common.interleaved
    monkeypatch.setattr(bench.planner, 'plain_cem', noted)
    monkeypatch.setattr(bench.planner, 'Pilot', noted_pilot)
    monkeypatch.setattr(bench.planner, 'interleaved', lambda parts, _: once(parts, 1))
    monkeypatch.setattr(bench.planner.tiny, 'rows', lambda quick: iter(()))  # takes long
    rows = {row.measure: row for row in bench.planner.measure(True)}
    recipe = load_config('two_room', []).planner
    assert len(asked) == 2, 'once to compare the plans, once to be timed'
    assert all(settings == recipe for settings in asked)
    assert [tuple(getattr(one, name) for name in PAPER) for one in searched] == [
        tuple(getattr(recipe, name) for name in PAPER),
        tuple(PAPER.values()),
    ]
    assert set(rows) == {'planner.plan', 'planner.overhead', 'planner.image_to_actions'}
    assert all(row.ratio and row.peer_value for row in rows.values())


def test_the_model_of_the_paper_and_its_peer_plan_with_the_settings_of_the_paper(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, asked = bench.tiny, list[Any]()

    def begun(checkpoint: Any, rounds: int) -> Any:
        asked.append(checkpoint)
        return iter(())

    monkeypatch.setattr(tiny, 'on_processor', begun)
    monkeypatch.setattr(tiny, 'on_gpu', begun)
    for name in ('beside_platform', 'launches'):
        monkeypatch.setattr(tiny, name, lambda *_: iter(()))
    assert list(tiny.rows(False)) == []
    (checkpoint, *_) = asked
    assert checkpoint.planner == replace(PAPER_PLANNER, seed=tiny.PAPER.seed)
    known = tiny.task(checkpoint, 'cpu')
    assert known['settings'] == {**PAPER, 'seed': tiny.PAPER.seed, 'block': 5, 'fields': 2}
    assert known['pixels'].shape == known['goal'].shape == (1, 1, 3, 224, 224)
    assert known['weights'].keys() == {
        tiny.theirs(name)
        for name in checkpoint.model.state_dict()
        if not name.startswith('inverse_model')
    }


def test_a_peer_with_a_different_plan_is_an_error(bench: SimpleNamespace) -> None:
    class Other:
        def ask(self, word: str) -> dict[str, Any]:
            return {'mean': torch.full((5, 10), 0.3).tolist()}

    bench.tiny.check(torch.full((5, 10), 0.30005), Other(), bench.tiny.SAME)
    with pytest.raises(AssertionError, match='plans differ by'):
        bench.tiny.check(torch.full((5, 10), 0.3005), Other(), bench.tiny.SAME)


def stub(monkeypatch: pytest.MonkeyPatch, name: str, **parts: Any) -> None:
    """Install a stand-in for a package that is missing here."""
    module = ModuleType(name)
    vars(module).update(parts)
    monkeypatch.setitem(sys.modules, name, module)


def test_the_peer_passes_its_settings_to_its_solver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    class Solver:
        def __init__(self, model: nn.Module, **words: Any) -> None:
            asked.update(words)
            self.torch_gen = torch.Generator()

        def configure(self, **words: Any) -> None:
            asked.update(words)

        def solve(self, info: dict[str, Tensor]) -> dict[str, Tensor]:
            asked['info'] = sorted(info)
            return {'actions': torch.zeros(1, 5, 10)}

    plain = SimpleNamespace
    stub(monkeypatch, 'gymnasium.spaces', Box=lambda *words: words)
    stub(monkeypatch, 'stable_worldmodel.policy', PlanConfig=lambda *h, **k: (*h, k))
    stub(monkeypatch, 'stable_worldmodel.solver', CEMSolver=Solver)
    stub(monkeypatch, 'stable_worldmodel.wm.lewm', LeWM=plain, module=plain)
    stub(monkeypatch, 'transformers', ViTConfig=plain, ViTModel=plain)
    for name in ('gymnasium', 'stable_worldmodel', 'stable_worldmodel.wm'):
        stub(monkeypatch, name)
    spec = importlib.util.spec_from_file_location('peer_lewm', PEERS / 'lewm.py')
    assert spec
    assert spec.loader
    lewm = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lewm)
    monkeypatch.setattr(lewm, 'lewm', lambda width: nn.Linear(width, 1))
    task = {
        'device': 'cpu',
        'weights': nn.Linear(10, 1).state_dict(),
        'settings': {**PAPER, 'seed': 7, 'block': 5, 'fields': 2},
        **{name: torch.zeros(1) for name in ('pixels', 'goal', 'action')},
    }
    torch.save(task, tmp_path / 'task')
    monkeypatch.setattr(sys, 'argv', ['lewm.py', str(tmp_path / 'task')])
    monkeypatch.setattr(sys, 'stdin', io.StringIO('plan\n'))
    lewm.main()
    numbers = {name: asked[name] for name in ('num_samples', 'n_steps', 'topk', 'seed')}
    assert numbers == {'num_samples': 300, 'n_steps': 30, 'topk': 30, 'seed': 7}
    assert asked['config'] == (5, 5, {'action_block': 5})
    assert asked['info'] == ['action', 'goal', 'pixels']
    ready, answer = capsys.readouterr().out.splitlines()
    assert json.loads(ready) == {}
    assert json.loads(answer).keys() == {'seconds', 'mean'}


def test_a_plan_launches_a_bounded_number_of_kernels(bench: SimpleNamespace) -> None:
    paper, found = bench.tiny.PAPER, []
    for iterations in (1, 2):
        with bench.steps.rehearsal():  # one layer of six; the others are alike
            checkpoint = bench.tiny.random_tiny(replace(paper, iterations=iterations))
            (row,) = bench.tiny.launches(checkpoint)
        assert row.measure in bench.common.TARGETS
        found.append((row.value, row.peer_value))
    (once, once_joined), (twice, twice_joined) = found
    # A step: 18 for its layer, and 9 around it; the rest of an iteration is the search.
    assert paper.horizon * (18 + 9) < twice - once < paper.horizon * (18 + 9) + 55
    assert paper.horizon * 10 < twice_joined - once_joined < paper.horizon * 10 + 15


def test_a_plan_that_reads_its_numbers_on_the_processor_is_not_recorded(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smwm_ros.planning import solvers

    def curious(elites: Any, last: Any, settings: Any) -> Any:
        if elites.cost.min() < 0:
            raise ValueError
        return solvers.cem(elites, last, settings)

    few = replace(bench.tiny.PAPER, samples=4, elites=2, iterations=1)
    with bench.steps.rehearsal():
        checkpoint = bench.tiny.random_tiny(few)
        monkeypatch.setitem(solvers.SOLVERS, 'cem', curious)
        with pytest.raises(bench.launches.WaitError, match='a GPU waits for this'):
            bench.tiny.Ours(checkpoint, 'cpu')
