# SPDX-License-Identifier: Apache-2.0
"""Import pybullet without its banner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
import sys
from typing import Any

from smwm_ros.errors import ArenaError


def import_pybullet() -> Any:
    """Import pybullet without the banner that its C code prints."""
    try:
        with _silent_stderr():
            import pybullet
    except ImportError:
        raise ArenaError("arenas need pybullet: pip install 'smwm_ros[sim]'") from None
    return pybullet


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what this process writes to standard error, C code included."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
