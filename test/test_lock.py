# SPDX-License-Identifier: Apache-2.0
"""Two runs in one folder: the second one says which process is there, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import fcntl
import json
import os
from pathlib import Path
import shutil
from socket import gethostname
import subprocess
import sys
import time

import pytest
from recordings import contents
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import OutputError
from smwm_ros.lock import hold, NAME
from test_output import here, VERBS  # noqa: F401 - a fixture

HOLDER = """
import sys
from pathlib import Path
from smwm_ros import lock
with getattr(lock, sys.argv[1])(Path(sys.argv[2])):
    print('held', flush=True)
    sys.stdin.read()
"""
# Verbs whose single file is made in an instant wait for each other instead.
LONG = ['collect', 'convert', 'train', 'toy', 'import', 'export', 'export-model', 'evaluate']
LONG += ['goals', 'lam-report']
BESIDE = ('import', 'export', 'export-model', 'evaluate', 'lam-report')


@contextmanager
def holder(path: Path, verb: str = 'convert') -> Iterator[subprocess.Popen[str]]:
    """Hold a folder, or a name, in another process."""
    how = 'hold_name' if verb in BESIDE else 'hold'
    process = subprocess.Popen(
        [sys.executable, '-c', HOLDER, how, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == 'held\n'
        yield process
    finally:
        process.kill()
        process.communicate()


def run(verb: str, here: Path, out: Path) -> int:  # noqa: F811
    return main([word.format(here=here, out=out) for word in VERBS[verb].split()])


@pytest.mark.parametrize('verb', LONG)
def test_the_second_run_names_the_first_and_changes_nothing(
    verb: str,
    here: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'out'
    with holder(out, verb) as process:
        before = contents(tmp_path)
        assert run(verb, here, out) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f'smwm {verb}: {out}: is being written by process {process.pid} ')
        assert f'on {gethostname()} (-c hold' in said
        assert ' since 20' in said
        assert said.endswith('; wait until it ends, or choose another path')
        assert contents(tmp_path) == before
        process.kill()  # as kill -9: it cannot clean up
        process.wait()
        assert contents(tmp_path) == before, 'the lock file is still there'
    if verb in ('collect', 'convert', 'import', 'export', 'goals'):  # the others take a while
        assert run(verb, here, out) == 0
        assert not [path for path in tmp_path.rglob('*') if 'lock' in path.name]


def test_prepare_waits_for_no_other_run(
    here: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(here / 'run', tmp_path / 'run'))
    with holder(folder):
        assert main(['prepare', str(folder), f'--data={here / "data"}']) == 2
    assert 'run: is being written by process ' in capsys.readouterr().err


def test_figures_are_not_written_down_while_another_process_writes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('smwm_ros.verbs.bench.ROOT', tmp_path)
    (tmp_path / 'bench').mkdir()
    (tmp_path / 'bench' / 'one.py').write_text('print(\'{"measure": "one.x"}\')\n')
    results = tmp_path / 'docs' / 'results.json'
    with holder(results, 'evaluate') as process:
        assert main(['bench', 'one']) == 2
        said = capsys.readouterr()
        assert f'results.json: is being written by process {process.pid} ' in said.err
        assert 'one.py' not in said.out, 'nothing is measured that cannot be written down'
        assert main(['bench', '--quick', 'one']) == 0
    assert main(['bench', 'one']) == 0
    assert json.loads(results.read_text()) == {'one': [{'measure': 'one.x'}]}
    assert [path.name for path in results.parent.iterdir()] == ['results.json']


def test_two_conversions_at_once_give_one_dataset(here: Path, tmp_path: Path) -> None:  # noqa: F811
    out, words = tmp_path / 'out', ['--jobs=1', 'dataset.image_size=16']
    command = [sys.executable, '-m', 'smwm_ros.cli', 'convert', str(here / 'bag'), f'--out={out}']
    both = [
        subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes, errors
    for code, said in zip(codes, errors, strict=True):
        assert code in (0, 2)
        assert (code == 2) == ('is being written by process' in said), said
        assert 'Traceback' not in said
    TransitionDataset.open(out)
    assert sorted(path.name for path in out.iterdir()) == ['dataset.json', 'shards']


def test_a_dataset_and_a_run_are_read_while_they_are_written(
    here: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    for name in ('recorded', 'data', 'run'):
        shutil.copytree(here / name, tmp_path / name)
    recorded, data, trained = (str(tmp_path / name) for name in ('recorded', 'data', 'run'))
    with holder(Path(recorded)), holder(Path(data)), holder(Path(trained)):
        assert main(['inspect', recorded]) == 0
        assert main(['inspect', trained, f'--data={data}', '--samples=50']) == 0


def test_a_lock_leaves_no_trace_and_may_be_held_twice_by_one_process(tmp_path: Path) -> None:
    with hold(tmp_path / 'a' / 'b'), hold(tmp_path / 'a' / 'b'):
        reported = json.loads((tmp_path / 'a' / 'b' / NAME).read_text())
        assert reported['pid'] == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system have no locks."""

    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOTSUP, 'Operation not supported')

    monkeypatch.setattr(fcntl, 'flock', flock)
    monkeypatch.setattr(time, 'sleep', lambda _seconds: None)


@pytest.mark.usefixtures('lockless')
def test_without_locks_the_name_in_the_file_counts_while_its_process_lives(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        words = rf'by process {process.pid} .*; if it has ended already, remove .*{NAME}'
        with pytest.raises(OutputError, match=words), hold(tmp_path):
            pass
        process.kill()
        process.wait()
        with hold(tmp_path):
            assert json.loads((tmp_path / NAME).read_text())['pid'] == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures('lockless')
def test_without_locks_a_process_of_another_machine_is_taken_to_live(tmp_path: Path) -> None:
    other = {'pid': '1', 'host': 'far-away', 'since': '2026', 'command': 'smwm train\x1b[2J'}
    (tmp_path / NAME).write_text(json.dumps(other))
    words = r'on far-away \(smwm train\?\[2J\) since 2026'
    with pytest.raises(OutputError, match=words), hold(tmp_path):
        pass
    assert (tmp_path / NAME).is_file()
