# SPDX-License-Identifier: Apache-2.0
"""`make check`, the hooks of pre-commit and the linters of ament agree."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
OURS = ['smwm_ros', 'launch', 'bench', 'test', 'tools', 'setup.py']
TYPED = ['smwm_ros', 'bench', 'tools', 'test']


@pytest.fixture(scope='module')
def settings() -> dict[str, Any]:
    """Return the tool settings of pyproject.toml."""
    tomllib = pytest.importorskip('tomllib', reason='Python 3.10 has no parser for TOML')
    found: dict[str, Any] = tomllib.loads((ROOT / 'pyproject.toml').read_text())['tool']
    return found


@pytest.mark.parametrize('linter', ['ament_pep257', 'ament_xmllint'])
def test_ament_reports_no_errors(linter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(linter) is None:
        pytest.skip(f'{linter} comes with a ROS installation, and there is none')
    monkeypatch.chdir(ROOT)
    words = ['package.xml'] if linter == 'ament_xmllint' else OURS
    assert import_module(f'{linter}.main').main(argv=words) == 0


def test_make_check_and_pre_commit_run_the_same_tools_on_the_whole_tree() -> None:
    makefile = (ROOT / 'Makefile').read_text()
    recipe = makefile.split('\ncheck:')[1].split('\n\n')[0].splitlines()[1:]
    assert [line.strip() for line in recipe] == [
        '.venv/bin/ruff format --check .',
        '.venv/bin/ruff check .',
        '.venv/bin/mypy',
    ]
    (repository,) = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
    assert [hook['entry'] for hook in repository['hooks']] == [
        '.venv/bin/ruff format',
        '.venv/bin/ruff check --fix',
        '.venv/bin/mypy',
    ]
    assert repository['hooks'][-1]['pass_filenames'] is False


def test_ruff_checks_every_folder_by_the_same_rules(settings: dict[str, Any]) -> None:
    assert settings['ruff'].keys() == {'line-length', 'target-version', 'format', 'lint'}
    assert settings['ruff']['lint']['per-file-ignores'] == {'test/**': ['D1']}, 'docstrings'


def test_mypy_checks_every_folder_and_is_strict_outside_the_tests(
    settings: dict[str, Any],
) -> None:
    mypy = settings['mypy']
    assert mypy['strict']
    assert mypy['files'] == TYPED
    assert mypy['exclude'] == '^test/ros/conftest.py$'
    strict, unchecked = mypy['overrides']
    assert {key for key, value in mypy.items() if value is False} == strict.keys() - {'module'}
    assert all(value is True for key, value in strict.items() if key != 'module')
    folders = ('bench', 'bench/gpu', 'bench/peers', 'tools')
    scripts = {path.stem for folder in folders for path in (ROOT / folder).glob('*.py')}
    assert set(strict['module']) == {'smwm_ros.*', 'parts.*', *scripts}
    assert unchecked['ignore_missing_imports']
    for name in unchecked['module']:
        assert not (ROOT / name.removesuffix('.*')).exists(), f'{name} is part of this project'
