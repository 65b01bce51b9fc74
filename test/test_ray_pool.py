# SPDX-License-Identifier: Apache-2.0
"""A Ray cluster converts bags into the same dataset as one process does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
import sys
from typing import Any

import pytest
from recordings import MakeBag
from smwm_ros.bags.converting.convert import convert
from smwm_ros.cli import main
from smwm_ros.errors import BagError
from smwm_ros.load import load_config

CONFIG = load_config(None, ['dataset.image_size=16'])


@pytest.fixture(scope='module')
def cluster() -> Iterator[Any]:
    """Start a Ray cluster of two workers on this machine."""
    ray = pytest.importorskip('ray', reason='ray is not installed')
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='WARNING')
    yield ray
    ray.shutdown()


def contents(folder: Path) -> Mapping[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_ray_makes_the_same_bytes(
    tmp_path: Path, tiny_bag: MakeBag, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        tiny_bag(f'bag{number}', offset=10 * number)
    alone = convert([tmp_path / 'bags'], tmp_path / 'alone', CONFIG)
    monkeypatch.chdir(tmp_path)  # where no worker is
    spread = convert([Path('bags')], Path('spread'), CONFIG, runner='ray')
    assert spread.converted == alone.converted == 4
    assert contents(tmp_path / 'spread') == contents(tmp_path / 'alone')
    again = convert([Path('bags')], Path('spread'), CONFIG, runner='ray')
    assert (again.converted, again.kept) == (0, 4)


def test_an_error_on_a_worker_is_reported_as_a_local_one(
    tmp_path: Path, tiny_bag: MakeBag, cluster: Any
) -> None:
    tiny_bag('good')
    (tmp_path / 'bags' / 'zbad.mcap').write_bytes(b'nothing of the kind')
    with pytest.raises(BagError, match=r'zbad\.mcap'):
        convert([tmp_path / 'bags'], tmp_path / 'out', CONFIG, runner='ray')
    assert [path.name for path in (tmp_path / 'out' / 'shards').iterdir()] == ['good']


def test_without_ray_the_extra_is_named(
    tmp_path: Path,
    tiny_bag: MakeBag,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    monkeypatch.delitem(sys.modules, 'smwm_ros.bags.converting.ray_pool', raising=False)
    words = ['convert', str(tiny_bag()), '--out', str(tmp_path / 'out'), '--runner', 'ray']
    assert main(words) == 2
    assert (
        "the extra 'ray' of this package, which is not installed: pip install ray"
        in capsys.readouterr().err
    )
