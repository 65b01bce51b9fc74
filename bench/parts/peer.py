# SPDX-License-Identifier: Apache-2.0
"""Run the scripts of bench/peers in an environment that has the stable-worldmodel platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

PEERS = Path(__file__).parents[1] / 'peers'
PYTHON = 'STABLE_WORLDMODEL_PYTHON'  # environment variable: an interpreter that has it
NAME = 'stable-worldmodel 0.1.1'
NEEDS = (  # with torch and torchvision of one build: see docs/results.md
    f'pip install {NAME.replace(" ", "==")} transformers imageio opencv-python-headless '
    'h5py hdf5plugin pylance'
)


class Peer:
    """A process that prints a line of JSON when it is ready and for each input line."""

    def __init__(self, process: subprocess.Popen[str], errors: Path, name: str) -> None:
        self._process, self._errors, self._name = process, errors, name
        self.ready: dict[str, Any] = json.loads(self._read())  # its first line

    def ask(self, line: object) -> dict[str, Any]:
        """Send a line; return the answer."""
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._read())
        return answer

    def seconds(self, line: object) -> float:
        """Send a line; return the duration by the clock of the process [s]."""
        return float(self.ask(line)['seconds'])

    def _read(self) -> str:
        """Return the next line, or raise with the end of its log."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f'{self._name} ended early: {self._errors.read_text()[-2000:]}')
        return line


def python_of_peer() -> str | None:
    """Return an interpreter that has the platform, or None."""
    found = os.environ.get(PYTHON)
    return found or (sys.executable if find_spec('stable_worldmodel') else None)


@contextmanager
def peer(
    script: str,
    write_task: Callable[[Path], object],  # writes the file that is the script's only argument
    variables: Mapping[str, str] | None = None,
) -> Iterator[Peer | None]:
    """Start a script; print why and yield None if the platform is not installed."""
    python = python_of_peer()
    if not python:
        print(
            f'left out: {NAME}; set {PYTHON} to the python of an environment with `{NEEDS}`',
            file=sys.stderr,
        )
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        task, errors = Path(folder) / 'task', Path(folder) / 'errors'
        write_task(task)
        with (
            errors.open('w') as stderr,
            subprocess.Popen(
                [python, str(PEERS / script), str(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **(variables or {})},
            ) as process,
        ):
            yield Peer(process, errors, script)
