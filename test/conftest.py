# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
import sys
from types import SimpleNamespace
from typing import Any

import properties  # noqa: F401 - chooses the profile of hypothesis
import pytest
from recordings import MakeBag, TinyBag
from rosbags.rosbag2 import StoragePlugin

BENCH = Path(__file__).parents[1] / 'bench'
BENCHES = (
    'actor',
    'check',
    'common',
    'cube',
    'fine_tune',
    'paper_worlds',
    'planner',
    'roadmap',
    'rooms',
    'history',
    'routes',
    'train',
    'transfer',
    'gpu.run',
    'gpu.steps',
)
PARTS = ('parts.inertia', 'parts.launches', 'parts.outcomes', 'parts.success', 'parts.tiny')


@pytest.fixture
def tiny_bag(tmp_path: Path) -> MakeBag:
    """Return a maker of bags in which every frame and every command encodes its tick."""

    def make(
        name: str = 'bag',
        ticks: Any = range(30),
        storage: StoragePlugin = StoragePlugin.MCAP,
        offset: int = 0,
    ) -> Path:
        (tmp_path / 'bags').mkdir(exist_ok=True)
        bag = TinyBag(tmp_path / 'bags' / name, storage)
        for tick in ticks:
            bag.frame(tick, value=(tick + offset) % 256)
            bag.command(tick + 0.5, value=float(tick + offset))
        return bag.close()

    return make


@pytest.fixture(scope='module')
def one_thread() -> Iterator[None]:
    """Let torch compute by one thread: the same sums everywhere, and small ones are quick."""
    import torch  # most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def bench() -> Iterator[SimpleNamespace]:
    """Return the modules of bench/, which is no package, each by the last part of its name."""
    path, modules = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(BENCH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TQDM_DISABLE', '')  # common.py sets it for its process
        found = {name.rpartition('.')[2]: import_module(name) for name in BENCHES + PARTS}
        yield SimpleNamespace(**found)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], '__file__', None) or '').startswith(str(BENCH)):
            del sys.modules[name]
