# SPDX-License-Identifier: Apache-2.0
"""Of two ways to compute the same, the faster one is kept, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
import logging
from pathlib import Path

import pytest
from smwm_ros.model import fastest as forms
from smwm_ros.model import kernels, vit
from smwm_ros.model.fastest import chosen, fastest, MARGIN, ROUNDS
from smwm_ros.model.kernels import AFTER, can_pack, PackedLinear
from smwm_ros.model.vit import LATENT, TokenLinear
from smwm_ros.training.run_folder import Run, RunProgress
import torch
from torch import Tensor

needs_onednn = pytest.mark.skipif(not can_pack(torch.float32), reason='one form only here')


class Bench:
    """Forms of a task that take a configured time, on a clock of their own."""

    def __init__(self, **seconds: float | list[float]) -> None:
        self.now, self.calls = 0.0, 0
        self.forms = {name: partial(self._go, found) for name, found in seconds.items()}

    def _go(self, seconds: float | list[float]) -> None:
        self.calls += 1
        self.now += seconds if isinstance(seconds, float) else seconds[self.calls % len(seconds)]

    def fastest(self, task: str = 'a task') -> str:
        return fastest(task, self.forms, lambda: self.now)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, '_chosen', {})


@pytest.fixture(params=['usual', 'other'])
def faster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make the usual form, or the other one, faster by a clock that knows who runs."""

    def race(task: str, given: Mapping[str, Callable[[], object]]) -> str:
        bench = Bench(**dict(zip(given, (1.0, 2.0) if usual else (2.0, 1.0), strict=True)))
        both = {
            name: partial(lambda form, clock: (form(), clock()), form, bench.forms[name])
            for name, form in given.items()
        }
        return fastest(task, both, lambda: bench.now)

    usual = request.param == 'usual'
    monkeypatch.setattr(kernels, 'fastest', race)
    monkeypatch.setattr(vit, 'fastest', race)
    return request.param


@pytest.mark.parametrize(
    ('usual', 'other', 'taken'),
    [
        (2.0, 1.0, 'other'),
        (1.0, 2.0, 'usual'),
        (1.0, 1.0, 'usual'),
        (1.0, 1.0 / (MARGIN - 0.01), 'usual'),
        (1.0, 1.0 / (MARGIN + 0.01), 'other'),
    ],
)
def test_the_faster_form_is_taken_if_it_is_clearly_faster(
    usual: float, other: float, taken: str
) -> None:
    assert Bench(usual=usual, other=other).fastest() == taken


def test_a_machine_that_is_busy_for_less_than_half_of_the_rounds_decides_nothing() -> None:
    stalls = [1.0] * 11 + [50.0] * 4  # whoever runs then waits
    assert Bench(usual=stalls, other=stalls).fastest() == 'usual'
    assert Bench(usual=[3 * x for x in stalls], other=stalls).fastest('another') == 'other'


def test_a_task_is_timed_once_in_a_process(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, forms.__name__)
    bench = Bench(usual=2.0, other=1.0)
    for _ in range(3):
        assert bench.fastest('300 x 192') == 'other'
    assert bench.calls == 2 * (ROUNDS + 1)
    assert chosen() == {'300 x 192': 'other'}
    assert [r.getMessage() for r in caplog.records] == [
        '300 x 192: other 2.00 times as fast as usual; took other'
    ]
    assert bench.fastest('300 x 193') == 'other'
    assert bench.calls == 4 * (ROUNDS + 1)


@needs_onednn
def test_products_of_one_shape_share_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noted(task: str, given: Mapping[str, Callable[[], object]]) -> str:
        asked.append(task)
        return fastest(task, given)

    monkeypatch.setattr(kernels, 'fastest', noted)
    for _ in range(2):
        PackedLinear(torch.randn(24, 16), torch.randn(24), 'relu', rows=7)
    PackedLinear(torch.randn(24, 16), torch.randn(24), 'relu', rows=8)
    assert len(asked) == 3
    assert len(chosen()) == 2


@needs_onednn
@pytest.mark.parametrize('after', AFTER)
def test_a_product_keeps_the_faster_layout_and_its_numbers(faster: str, after: str) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(40, 32), torch.randn(40), torch.randn(5, 32)
    product = PackedLinear(weight, bias, after, rows=5)
    task = f'5 x 32 -> 40 {after} torch.float32, {torch.get_num_threads()} threads'
    assert chosen() == {task: 'plain' if faster == 'usual' else 'packed'}
    assert (product._packed is None) == (faster == 'usual')
    wanted = AFTER[after](x.double() @ weight.double().T + bias)
    assert (product(x) - wanted).abs().max() < 1e-5
    assert torch.equal(product(x), product(x)), 'an argument was written over'


@needs_onednn
@pytest.mark.parametrize('learns', [False, True])
def test_tokens_go_the_faster_way_with_the_same_numbers(
    faster: str, learns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, tokens = TokenLinear(LATENT, 31).requires_grad_(learns), torch.randn(3, 7, LATENT)
    wanted = torch.nn.functional.linear(
        tokens.double(), layer.weight.double(), layer.bias.double()
    )
    ways = []
    convolve = TokenLinear._convolve

    def noted(self: TokenLinear, x: Tensor) -> Tensor:
        ways.append(len(x))
        return convolve(self, x)

    monkeypatch.setattr(TokenLinear, '_convolve', noted)
    assert (layer(tokens) - wanted).abs().max() < 1e-5
    assert (3 in ways) == (faster == 'usual')
    assert vit.TIMED in ways, 'timed with some of the images'
    assert all(weight.grad is None for weight in layer.parameters())
    (task,) = chosen()
    assert ('with gradients' in task) == learns


def test_a_run_that_goes_on_computes_as_it_did_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Linear(2, 2)
    run, optimiser = Run(tmp_path, {}), torch.optim.AdamW(model.parameters())
    bench = Bench(usual=2.0, other=1.0)
    assert bench.fastest() == 'other'
    run.save_state(
        model, optimiser, RunProgress(1, [{'step': 1.0, 'seconds': 1.0, 'misfit': 1.0}])
    )
    monkeypatch.setattr(forms, '_chosen', {})  # as in a new process
    assert run.resume(model, optimiser).step == 1
    bench = Bench(usual=1.0, other=2.0)
    assert bench.fastest() == 'other'
    assert not bench.calls
