# SPDX-License-Identifier: Apache-2.0
"""What nobody can read any more ends no run: closed and full streams, and `| head`."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest
from recordings import MakeBag

SMWM = f'{sys.executable} -m smwm_ros.cli'


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ['bash', '-o', 'pipefail', '-c', command], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ('ends', 'code', 'reported'),
    [
        ('>&-', 0, ''),
        ('2>&-', 0, ''),
        ('<&- >&- 2>&-', 0, ''),
        ('2>/dev/full', 0, ''),
        ('>/dev/full', 2, 'smwm convert: stdout: cannot be written: No space left on device'),
        ('2>&1 | head -c1 >/dev/null', 0, ''),
        ('2>&1 | true', 0, ''),
    ],
)
def test_the_work_is_done_though_nobody_reads_of_it(
    ends: str, code: int, reported: str, tiny_bag: MakeBag, tmp_path: Path
) -> None:
    words = f'{tiny_bag()} --out={tmp_path / "out"} dataset.image_size=16'
    done = shell(f'PYTHONUNBUFFERED=1 {SMWM} convert {words} {ends}')
    assert done.returncode == code, done.stderr
    assert reported in done.stderr
    assert 'Traceback' not in done.stderr + done.stdout
    assert 'Exception ignored' not in done.stderr
    assert (tmp_path / 'out' / 'dataset.json').is_file()
    shard = tmp_path / 'out' / 'shards' / 'bag'
    assert all(b'converting' not in path.read_bytes() for path in shard.iterdir())


def test_a_user_error_keeps_its_exit_code_where_it_cannot_be_printed(tmp_path: Path) -> None:
    done = shell(f'{SMWM} view {tmp_path / "none"} 2>&-')
    assert (done.returncode, done.stdout, done.stderr) == (2, '', '')
