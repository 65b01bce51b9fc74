# SPDX-License-Identifier: Apache-2.0
"""
Read the tensors of a file that torch.save wrote, and nothing else.

Such a file is a pickle, and a pickle is a program. torch reads those that hold only numbers
without running anything; all others are refused here, with the names of what they would call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from smwm_ros.errors import CheckpointError
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

_SHOWN = 5  # names told one by one


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return a state dict by name, which may lie among what Lightning saves with it."""
    data = _load(path)
    if isinstance(data, Mapping) and isinstance(data.get('state_dict'), Mapping):
        data = data['state_dict']
    if not isinstance(data, Mapping):
        raise CheckpointError(f'{path}: holds a {type(data).__name__}, expected named tensors')
    tensors = {str(name): item for name, item in data.items() if isinstance(item, Tensor)}
    if not tensors:
        names = ', '.join(sorted(map(str, data))[:_SHOWN]) or 'nothing'
        raise CheckpointError(f'{path}: holds {names}, and no tensors; expected a state dict')
    return tensors


def _load(path: Path) -> Any:
    """Load what is data alone, or say what else it is."""
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from None
    except UnpicklingError as error:
        names = _foreign(path)
        if not names:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f'{path}: not a whole file of torch.save: {reason}') from None
        raise CheckpointError(
            f'{path}: refused: loading it would run code ({", ".join(names)}). Where you trust '
            'it, write its numbers alone in the environment that made it: '
            "torch.save(model.state_dict(), 'weights.pt')"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f'{path}: not a whole file of torch.save: {reason}') from None


def _foreign(path: Path) -> list[str]:
    """Return what a file would call, beyond what makes tensors."""
    try:
        names = sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except (RuntimeError, ValueError, UnpicklingError):  # older than the zip files of torch 1.6
        return ['an old format that hides what it calls']
    more = [f'and {len(names) - _SHOWN} more'] if len(names) > _SHOWN else []
    return names[:_SHOWN] + more
