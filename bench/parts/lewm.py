# SPDX-License-Identifier: Apache-2.0
"""The other planner: bench/peers/lewm.py, in a process and an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

import torch
from torch import Tensor

SCRIPT = Path(__file__).parents[1] / 'peers' / 'lewm.py'
PYTHON = 'STABLE_WORLDMODEL_PYTHON'  # environment variable: an interpreter that has it
NAME = 'stable-worldmodel 0.1.1, CEMSolver and LeWM'


class Lewm:
    """A planner that waits to be asked."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process, self._errors = process, errors
        self._read()  # that it is ready

    def plan(self) -> Tensor:
        """Return the mean that its search ends with, (T, K*A)."""
        return torch.tensor(self._ask()['mean'])

    def seconds(self) -> float:
        """Return how long a plan takes by its own clock, which is of the kind that ours is."""
        return float(self._ask()['seconds'])

    def _ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        print('plan', file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._read())
        return answer

    def _read(self) -> str:
        """Return its next line, or say why there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f'{SCRIPT.name} broke off: {self._errors.read_text()[-2000:]}')
        return line


@contextmanager
def lewm(task: Mapping[str, Any]) -> Iterator[Lewm | None]:
    """Start the other planner; None, and a word about it, where it is not installed."""
    python = os.environ.get(PYTHON)
    if not python and find_spec('stable_worldmodel'):
        python = sys.executable
    if not python:
        print(
            f'left out: {NAME}; set {PYTHON} to the python of an environment with '
            '`pip install stable-worldmodel==0.1.1 transformers imageio`',
            file=sys.stderr,
        )
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path, errors = Path(folder) / 'task.pt', Path(folder) / 'errors'
        torch.save(dict(task), path)
        with (
            errors.open('w') as stderr,
            subprocess.Popen(
                [python, str(SCRIPT), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
            ) as process,
        ):
            yield Lewm(process, errors)
