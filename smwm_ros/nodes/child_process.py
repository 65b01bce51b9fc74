# SPDX-License-Identifier: Apache-2.0
"""Run a node as a child process that logs to a file and ends with its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any

from smwm_ros.errors import SmwmError

_TIMEOUT = 15.0  # longest wait until a child has ended by itself [s]
_TAIL = 15  # last lines of the log that an error shows

# Linux ends the child with its parent, even one that was killed; exec keeps this setting.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit('the parent process has ended')
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class ChildProcess:
    """A node of this package; leaving the `with` block kills it if it still runs."""

    def __init__(
        self,
        module: str,
        parameters: Mapping[str, Any],
        folder: Path,
        environment: Mapping[str, str],
        ros_words: Sequence[str] = (),  # such as '-r', '__ns:=/left'
    ) -> None:
        self.name = module.rpartition('.')[2]
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f'{self.name}.log'
        knobs = folder / f'{self.name}.yaml'
        # JSON is valid YAML, and json.dumps quotes all values.
        knobs.write_text(json.dumps({'/**': {'ros__parameters': parameters}}, indent=1) + '\n')
        words = ['-m', module, '--ros-args', '--params-file', str(knobs), *ros_words]
        with self.log.open('wb') as log:
            self._process = subprocess.Popen(
                [sys.executable, '-c', _LAUNCHER, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C goes to the parent, which ends its children
            )

    def __enter__(self) -> ChildProcess:
        """Return the child process."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the child if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise if the child has ended."""
        code = self._process.poll()
        if code is not None:
            raise SmwmError(f'the {self.name} node ended with code {code}; {self.tail()}')

    def stop(self) -> None:
        """Interrupt the child, and raise unless it ends with code 0."""
        self.check()
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise SmwmError(
                f'the {self.name} node did not end within {_TIMEOUT:.0f} s; {self.tail()}'
            ) from None
        if code != 0:
            raise SmwmError(f'the {self.name} node ended with code {code}; {self.tail()}')

    def tail(self) -> str:
        """Return the last lines of the log, for an error message."""
        lines = self.log.read_text(encoding='utf-8', errors='replace').splitlines()
        shown = '\n'.join(lines[-_TAIL:]) or '(nothing)'
        return f'the last lines of {self.log}:\n{shown}'
