# SPDX-License-Identifier: Apache-2.0
"""
Keep the outcomes of attempts in files, so that an interrupted benchmark can continue.

The name of a file is a hash of everything that decides: code, model, settings and pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
import hashlib
import json
from pathlib import Path

from parts.fingerprint import fingerprint
from safetensors.torch import save
from smwm_ros.evaluation.closed_loop import Outcome
from smwm_ros.evaluation.pairs import Pair
from smwm_ros.files import write_atomic
from smwm_ros.model.checkpoint import Checkpoint

_WITH = ('.json', '.safetensors')
_code = cache(fingerprint)


def kept(folder: Path, name: str, attempt: Callable[[], list[Outcome]]) -> list[Outcome]:
    """Return the outcomes of an attempt, from its file if it exists, else by running it."""
    file = folder / f'{name}.json'
    if not file.exists():
        rows = [one._asdict() for one in attempt()]
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(rows).encode())
    return [Outcome(**one) for one in json.loads(file.read_bytes())]


def named(script: Path, checkpoint: Checkpoint, pairs: Sequence[Pair], *settings: object) -> str:
    """Return the file name of an attempt of a checkpoint with the code of a script."""
    digest = hashlib.sha256(_code(script).encode())
    digest.update(repr(settings).encode())
    for pair in pairs:
        digest.update(pair.start_state.tobytes() + pair.goal_state.tobytes())
    for content in _contents(checkpoint):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def _contents(checkpoint: Checkpoint) -> Iterator[bytes]:
    """Yield the contents that a checkpoint plans with: its model and the files beside it."""
    yield save(checkpoint.model.state_dict())
    mean, std = (part.tolist() for part in checkpoint.scaler)
    yield repr((checkpoint.planner, mean, std)).encode()
    beside = checkpoint.folder.iterdir() if checkpoint.folder else ()
    yield from (path.read_bytes() for path in sorted(beside) if path.suffix in _WITH)
