# SPDX-License-Identifier: Apache-2.0
"""The other training: bench/peers/lewm_train.py, in a process and an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile

SCRIPT = Path(__file__).parents[1] / 'peers' / 'lewm_train.py'
PYTHON = 'STABLE_WORLDMODEL_PYTHON'  # environment variable: an interpreter that has it


class Peer:
    """A training that waits to be asked."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process, self._errors = process, errors
        self._read()  # that it is ready

    def seconds(self, steps: int) -> float:
        """Take so many steps; return how long they took."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        return float(json.loads(self._read())['seconds'])

    def _read(self) -> str:
        """Return its next line, or say why there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f'{SCRIPT.name} broke off: {self._errors.read_text()[-2000:]}')
        return line


@contextmanager
def peer(task: Mapping[str, object]) -> Iterator[Peer | None]:
    """Start the other training; None, and a word about it, where it is not installed."""
    python = os.environ.get(PYTHON)
    if not python:
        print(
            f'left out: training in the form of stable-worldmodel; set {PYTHON} to the python of '
            'an environment with `pip install stable-worldmodel==0.1.1 transformers imageio h5py '
            'hdf5plugin`',
            file=sys.stderr,
        )
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path, errors = Path(folder) / 'task.json', Path(folder) / 'errors'
        path.write_text(json.dumps(dict(task)), encoding='utf-8')
        with (
            errors.open('w') as stderr,
            subprocess.Popen(
                [python, str(SCRIPT), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as process,
        ):
            yield Peer(process, errors)
