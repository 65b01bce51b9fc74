# SPDX-License-Identifier: Apache-2.0
"""The linters of ament that agree with `make check`, where a ROS installation has them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ['smwm_ros', 'launch', 'bench', 'test', 'tools', 'setup.py']


@pytest.mark.parametrize('linter', ['ament_pep257', 'ament_xmllint'])
def test_ament_finds_nothing_to_complain_of(linter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(linter) is None:
        pytest.skip(f'{linter} comes with a ROS installation, and there is none')
    monkeypatch.chdir(ROOT)
    words = ['package.xml'] if linter == 'ament_xmllint' else OURS
    assert import_module(f'{linter}.main').main(argv=words) == 0
