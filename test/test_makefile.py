# SPDX-License-Identifier: Apache-2.0
"""
On a bare machine make either builds .venv or says in one line what is missing.

The machine is a folder of few tools with a fake Python, so nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import re
import runpy
import shutil
import subprocess
from types import ModuleType
from typing import Any

import pytest
import setuptools

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ('sh', 'make', 'awk', 'cat', 'cp', 'dirname', 'mkdir', 'rm', 'touch', 'chmod')

# A Python that answers the queries of tools/venv.sh, and logs what it should install.
# It has no venv module with NO_VENV, and pip fails with NO_PIP.
FAKE = """\
#!{sh}
case "$*" in
    *version_info*) echo {minor} ;;
    *ensurepip*) [ -z "$NO_VENV" ] ;;
    *Python.h*) [ -n "$HEADERS" ] ;;
    --version) echo "Python 3.{minor}.0" ;;
    '-m venv --clear '*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    '-m pip --version') : ;;
    '-m pip install '*)
        echo "3.{minor} $*" >>"$ASKED"
        [ -z "$NO_PIP" ] || {{ echo 'ERROR: no route' >&2; exit 1; }}
        case "$*" in *' uv') cp "$UV" "${{0%/*}}/uv" ;; esac ;;
    '-m pytest'*) echo "ran pytest $3 $4 $HYPOTHESIS_PROFILE" ;;
    *) echo "fake python: $*" >&2; exit 99 ;;
esac
"""
FAKE_UV = """\
#!{sh}
case "$*" in
    'python install '*) [ -z "$NO_UV" ] ;;
    'python find '*) echo "$FETCHED" ;;
esac
"""


class Machine:
    """A bare machine: few tools, the Pythons that a test puts there, and a copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.home = folder / 'bin', folder / 'smwm_ros'
        self.asked = folder / 'asked'
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f'this machine has no {tool}'
            (self.bin / tool).symlink_to(found)
        (self.home / 'tools').mkdir(parents=True)
        for name in ('Makefile', 'setup.py', 'setup.cfg', 'constraints.txt', 'tools/venv.sh'):
            shutil.copy(ROOT / name, self.home / name)
        self.env = {'PATH': str(self.bin), 'ASKED': str(self.asked)}

    def tool(self, name: str, text: str = '') -> Path:
        path = self.bin / name
        path.write_text(text.replace('{sh}', str(self.bin / 'sh')) or '#!/bin/sh\n')
        path.chmod(0o755)
        return path

    def python(self, name: str, minor: int) -> Path:
        text = FAKE.format(sh=self.bin / 'sh', minor=minor)
        return self.tool(name, text)

    def make(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / 'make', *words],
            cwd=self.home,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def refusal(self, *words: str, **env: str) -> str:
        """Return the one line that a failing make prints, besides make's own."""
        done = self.make(*words, **env)
        assert done.returncode != 0, done.stdout
        lines = [line for line in done.stderr.splitlines() if not line.startswith('make')]
        assert len(lines) == 1, lines
        return lines[0]

    def installs(self) -> list[str]:
        return self.asked.read_text().splitlines() if self.asked.exists() else []

    def left(self) -> set[str]:
        return {path.name for path in self.home.iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_make_without_a_target_lists_every_target(machine: Machine) -> None:
    text = (ROOT / 'Makefile').read_text(encoding='utf-8')
    phony = re.search(r'^\.PHONY: (.*)$', text, re.MULTILINE)
    assert phony is not None
    text = machine.make().stdout
    assert text == machine.make('help').stdout
    for target in phony[1].split():
        assert re.search(rf'^  make {target} +\w', text, re.MULTILINE), target


def test_without_the_venv_module_one_line_says_what_to_install(machine: Machine) -> None:
    machine.python('python3', 11)
    before = machine.left()
    line = machine.refusal('venv', NO_VENV='1')
    assert line.startswith('smwm_ros: python3 lacks the venv module;')
    assert line.endswith('sudo apt install python3-venv')
    assert machine.left() == before, 'something half-made is left'


def test_without_python_one_line_says_what_to_install(machine: Machine) -> None:
    assert machine.refusal('test').endswith('sudo apt install python3 python3-venv')


def test_a_python_that_is_too_old_is_named(machine: Machine) -> None:
    old = machine.python('python3.9', 9)
    line = machine.refusal('venv', PYTHON=str(old))
    assert line == f'smwm_ros: PYTHON={old}: expected Python 3.10 or newer'


@pytest.mark.parametrize(
    ('target', 'extras'),
    [('venv', 'sim,ros,dev'), ('test', 'sim,ros,dev'), ('.venv/ready-to-run', 'sim,ros')],
)
def test_a_target_installs_what_it_needs_once(target: str, extras: str, machine: Machine) -> None:
    machine.python('python3', 11)
    for _ in range(2):
        done = machine.make(target)
        assert done.returncode == 0, done.stderr
    (asked,) = machine.installs()
    assert asked.startswith('3.11 ')
    assert '--constraint constraints.txt' in asked
    assert asked.endswith(f'--editable .[{extras}]')


def test_changed_requirements_are_installed_and_nothing_else_is(machine: Machine) -> None:
    machine.python('python3', 11)
    machine.make('venv')
    for name in ('setup.py', 'setup.cfg', 'constraints.txt'):
        count = len(machine.installs())
        ready = (machine.home / '.venv/ready-to-develop').stat().st_mtime
        os.utime(machine.home / name, (ready + 5, ready + 5))
        machine.make('venv')
        assert len(machine.installs()) == count + 1
        past = ready - 5
        os.utime(machine.home / name, (past, past))
        machine.make('venv')
        assert len(machine.installs()) == count + 1


def test_a_failed_install_is_reported_and_continues_the_next_time(machine: Machine) -> None:
    machine.python('python3', 11)
    done = machine.make('test', NO_PIP='1')
    assert done.returncode != 0
    assert 'ERROR: no route' in done.stderr
    assert 'run the same command again to go on' in done.stderr
    assert 'ran pytest' not in done.stdout
    done = machine.make('test')
    assert done.returncode == 0, done.stderr
    assert 'ran pytest' in done.stdout
    assert 'Making .venv' not in done.stdout, 'a whole environment is kept'


def test_an_incomplete_environment_is_made_again(machine: Machine) -> None:
    machine.python('python3', 11)
    (machine.home / '.venv/bin').mkdir(parents=True)  # made, but no Python in it yet
    done = machine.make('venv')
    assert done.returncode == 0, done.stderr
    assert 'Making .venv with Python 3.11.0' in done.stdout


def test_arguments_are_passed_on(machine: Machine) -> None:
    machine.python('python3', 11)
    assert 'ran pytest -k' in machine.make('test', 'ARGS=-k planner').stdout


def test_exploration_runs_property_tests_alone_with_a_profile_of_their_own(
    machine: Machine,
) -> None:
    machine.python('python3', 11)
    assert 'ran pytest -m hypothesis explore' in machine.make('explore').stdout


@pytest.mark.parametrize('other', ['python3.11', 'python3.10'])
def test_a_python_with_ready_wheels_comes_before_a_newer_one(other: str, machine: Machine) -> None:
    machine.python('python3', 13)
    machine.python(other, int(other.split('.')[1]))
    machine.tool('g++')
    machine.make('venv', HEADERS='1')
    assert machine.installs()[0].startswith(f'{other.removeprefix("python")} ')


def test_a_newer_python_is_used_where_there_is_a_compiler(machine: Machine) -> None:
    machine.python('python3', 13)
    machine.tool('g++')
    done = machine.make('venv', HEADERS='1')
    assert 'Python 3.13 has no ready pybullet; pip will build it' in done.stdout
    assert machine.installs()[0].startswith('3.13 ')


def test_a_newer_python_without_a_compiler_fetches_one_that_fits(machine: Machine) -> None:
    machine.python('python3', 13)
    fetched = machine.python('fetched', 11)
    uv = machine.tool('uv-of-pip', FAKE_UV)
    done = machine.make('venv', UV=str(uv), FETCHED=str(fetched))
    assert done.returncode == 0, done.stderr
    assert 'fetching a Python 3.11 of its own with uv' in done.stdout
    first, second = machine.installs()
    assert first.endswith('--constraint constraints.txt uv')
    assert second.startswith('3.11 ')


def test_without_any_usable_python_one_line_says_what_to_install(machine: Machine) -> None:
    machine.python('python3', 13)
    uv = machine.tool('uv-of-pip', FAKE_UV)
    line = machine.refusal('venv', UV=str(uv), NO_UV='1')
    assert 'install python3.11 and python3.11-venv, or g++ and python3-dev' in line
    assert '.venv' not in machine.left()


@pytest.fixture(scope='module')
def constraints() -> ModuleType:
    """Return tools/constraints.py as a module."""
    spec = importlib.util.spec_from_file_location('constraints', ROOT / 'tools/constraints.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pins_that_differ_get_markers_that_cover_every_python(constraints: ModuleType) -> None:
    resolved: dict[Any, Any] = {
        (3, 10): {'same': '1', 'numpy': '2.2', 'cuda': '13.0'},
        (3, 11): {'same': '1', 'numpy': '2.4', 'early': '7'},
        (3, 12): {'same': '1', 'numpy': '2.5', 'cuda': '13.5'},
        (3, 13): {'same': '1', 'numpy': '2.5', 'cuda': '13.5'},
    }
    assert constraints.merge(resolved) == [
        "cuda==13.0 ; python_version <= '3.10'",
        "cuda==13.5 ; python_version > '3.10'",
        'early==7',
        "numpy==2.2 ; python_version <= '3.10'",
        "numpy==2.4 ; python_version > '3.10' and python_version <= '3.11'",
        "numpy==2.5 ; python_version > '3.11'",
        'same==1',
    ]


# They want an older torch and an older mujoco, so they cannot be pinned beside the rest.
ALONE = ('lerobot', 'swm')


def test_every_requirement_is_pinned_once_for_each_python(monkeypatch: pytest.MonkeyPatch) -> None:
    from packaging.requirements import Requirement

    words: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **given: words.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    wanted = [
        *words['install_requires'],
        *(x for name, e in words['extras_require'].items() if name not in ALONE for x in e),
    ]
    lines = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith('#')]
    assert [pin.name for pin in pins] == sorted(pin.name for pin in pins)
    for minor in (10, 11, 12, 13):
        python = {'python_version': f'3.{minor}'}
        chosen = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(python)]
        names = [pin.name for pin in chosen]
        assert len(names) == len(set(names)), 'two versions for one Python'
        assert all(str(pin.specifier).startswith('==') for pin in chosen)
        for line in wanted:
            requirement = Requirement(line)
            name = requirement.name.lower().replace('.', '-').replace('_', '-')
            (pin,) = (pin for pin in chosen if pin.name == name)
            assert requirement.specifier.contains(str(pin.specifier).removeprefix('=='))
