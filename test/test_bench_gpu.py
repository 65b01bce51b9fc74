# SPDX-License-Identifier: Apache-2.0
"""bench/gpu.sh, rehearsed on a processor: a step that fails does not stop the others."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
import torch

pytestmark = pytest.mark.usefixtures('one_thread')
SCRIPT = Path(__file__).resolve().parents[1] / 'bench' / 'gpu.sh'
WORK = """
import json, sys, time
row = {'measure': 'planner.cuda', 'value': 1.0, 'unit': 'ms'}
print(json.dumps(row), flush=True)
match sys.argv[1]:
    case 'planner':
        raise ValueError('no kernel for this card')
    case 'plans':
        time.sleep(600)
    case 'train_tiny':
        print('no such card', file=sys.stderr)
        sys.exit(77)
"""
ROWS = {
    'planner': {'planner.cuda', 'planner.cuda_ranking', 'planner.cuda_plain'},
    'plans': {'planner.cuda_nano', 'planner.cuda_batch_1', 'planner.cuda_batch_16'},
    'train_tiny': {
        *('train.tiny.loading.cuda', 'train.tiny.arithmetic.cuda', 'train.tiny.cuda'),
        *('train.tiny.prefetch.cuda', 'train.tiny.prefetch_loading.cuda'),
    },
    'train_nano': {
        *('train.nano.loading.cuda', 'train.nano.cuda', 'train.nano.prefetch.cuda'),
        'train.nano.prefetch_loading.cuda',
    },
    'toy': {'train.toy.loss.cuda', 'train.toy.cuda', 'train.toy.read.cuda'},
    'platform_planner': set(),
    'kernels': {'planner.cuda_kernels', 'planner.cuda_busy'},
}


@pytest.mark.parametrize('name', ROWS)
def test_every_step_runs_and_its_rows_are_explained(
    bench: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv('STABLE_WORLDMODEL_PYTHON', raising=False)
    monkeypatch.setattr(bench.train, 'matrix_rate', lambda device: 1e12)  # takes seconds here
    if torch.cuda.is_available():
        pytest.skip('run bench/gpu.sh instead')
    with bench.steps.rehearsal():
        rows = {row.measure: row for row in bench.steps.STEPS[name](bench.steps.REHEARSED)}
    assert set(rows) == ROWS[name]
    assert set(rows) <= set(bench.common.TARGETS)
    assert all(row.value > 0 for row in rows.values() if row.measure != 'train.toy.read.cuda')
    assert all(row.ratio for row in rows.values() if row.peer)


def test_every_step_of_the_script_is_run(bench: SimpleNamespace) -> None:
    assert [step.name for step in bench.run.STEPS] == list(bench.steps.STEPS)
    assert bench.run.SKIPPED == bench.steps.SKIPPED
    assert bench.run.TOTAL < 9 * 60
    full = bench.steps.FULL
    search = full.search
    assert (search.samples, search.iterations, search.horizon) == (300, 30, 5)
    assert (full.tiny.side, full.tiny.batch, full.counts) == (224, 128, (1, 16, 100))


def drive(bench: SimpleNamespace, folder: Path, patch: pytest.MonkeyPatch, *words: str) -> Any:
    """Run the script with steps that fail; return how they ended, and the table."""
    work = folder / 'work.py'
    work.write_text(WORK, encoding='utf-8')
    run = bench.run
    patch.setattr(run, 'WORK', work)
    patch.setattr(sys, 'path', list(sys.path))
    limits = {'plans': 4.0}
    steps = [run.Step(one.name, limits.get(one.name, 60.0), ()) for one in run.STEPS[1:5]]
    steps.append(run.Step('toy', 60.0, ('a_missing_package',)))
    patch.setattr(run, 'STEPS', tuple(steps))
    status = run.main(['--out', str(folder / 'out'), *words])
    return status, (folder / 'out' / 'table.txt').read_text(encoding='utf-8')


def test_a_step_that_fails_keeps_its_rows_and_its_traceback_and_the_others_run(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, table = drive(bench, tmp_path, monkeypatch)
    assert status == 1
    log = (tmp_path / 'out' / 'planner.log').read_text(encoding='utf-8')
    assert 'Traceback (most recent call last)' in log
    assert log.strip().endswith('ValueError: no kernel for this card')
    words = {line.split()[0]: line.split()[1] for line in table.splitlines() if line[0] != ' '}
    assert words['planner'] == 'failed'
    assert words['plans'] == 'ended'
    assert words['train_tiny'] == words['toy'] == 'skipped'
    assert words['train_nano'] == 'done'
    assert 'ValueError: no kernel for this card' in table
    assert 'no such card' in table
    assert 'needs a_missing_package' in table
    for name in ('planner', 'plans', 'train_nano'):
        line = (tmp_path / 'out' / f'{name}.jsonl').read_text(encoding='utf-8')
        assert json.loads(line)['measure'] == 'planner.cuda'
    assert table.count('planner.cuda: 1 ms') == 4


def test_a_step_over_its_limit_is_ended_with_its_child_processes(
    bench: SimpleNamespace, tmp_path: Path
) -> None:
    pid = tmp_path / 'pid'
    code = 'import subprocess as s, sys, time; c = s.Popen(["sleep", "600"]); '
    code += 'open(sys.argv[1], "w").write(str(c.pid)); time.sleep(600)'
    found = bench.run.do('slow', [sys.executable, '-c', code, str(pid)], 4.0, tmp_path)
    assert (found.word, found.why) == ('ended', 'after its limit of 4 s')
    assert (tmp_path / 'slow.log').read_text(encoding='utf-8') == 'ended after 4 s\n'
    for _ in range(100):  # a busy machine may need a moment to end it
        if over(int(pid.read_text())):
            return
        time.sleep(0.1)
    raise AssertionError('a child process of the step still runs')


def over(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        return (Path('/proc') / str(pid) / 'stat').read_text().split()[2] == 'Z'
    except FileNotFoundError:
        return True


def test_no_step_starts_after_the_deadline(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.run, 'TOTAL', 1.0)
    status, table = drive(bench, tmp_path, monkeypatch)
    assert status == 1
    assert table.count('no time was left') == 4


def test_only_wheels_of_missing_packages_are_installed(
    bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheels, packages = tmp_path / 'wheels', tmp_path / 'packages'
    wheels.mkdir()
    for name in ('lacking_part', 'numpy'):
        with ZipFile(wheels / f'{name}-1.0-py3-none-any.whl', 'w') as wheel:
            about = f'{name}-1.0.dist-info'
            wheel.writestr(f'{name}.py', 'found = 1\n')
            wheel.writestr(
                f'{about}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n'
            )
            wheel.writestr(
                f'{about}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
            )
            wheel.writestr(f'{about}/RECORD', '')
    (wheels / 'broken-1.0-py3-none-any.whl').write_bytes(b'no wheel')
    bench.run.install(wheels, packages)
    assert (packages / 'lacking_part.py').is_file()
    assert not (packages / 'numpy.py').exists()
    assert 'not installed: broken-1.0-py3-none-any.whl' in capsys.readouterr().out


def test_one_command_rehearses_a_step(tmp_path: Path) -> None:
    command = [str(SCRIPT), '--rehearse', '--out', str(tmp_path), '--only', 'train_nano']
    env = {**os.environ, 'PYTHON': sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + (tmp_path / 'train_nano.log').read_text()
    rows = [json.loads(line) for line in (tmp_path / 'train_nano.jsonl').read_text().splitlines()]
    assert {row['measure'] for row in rows} == ROWS['train_nano']
    for row in rows:
        assert row['machine'].startswith('rehearsal on ')
        assert row['code']
        assert ', commit ' in row['when']
    assert 'train.nano.cuda: ' in done.stdout


@pytest.mark.parametrize(
    ('module', 'word'),
    [('a_missing_package.part', 'skipped'), ('smwm_ros.nothing', 'failed')],
)
def test_a_step_is_skipped_for_a_missing_package_and_fails_for_a_missing_module_of_ours(
    bench: SimpleNamespace, tmp_path: Path, module: str, word: str
) -> None:
    code = f'import sys; sys.path.insert(0, {str(SCRIPT.parents[1])!r}); import {module}'
    found = bench.run.do('one', [sys.executable, '-c', code], 60.0, tmp_path)
    assert found.word == word
    assert module.split('.')[0] in found.why
