# SPDX-License-Identifier: Apache-2.0
"""
Read the tensors of a file that torch.save wrote, without running code.

Such a file is a pickle, and loading a pickle may call any function. torch can load files that
contain only numbers without calling anything else. Other files are refused, with the names of the
functions that they would call.
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

_SHOWN = 5  # names listed in an error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name; it may be part of a Lightning checkpoint."""
    data = _load(path)
    if isinstance(data, Mapping) and isinstance(data.get('state_dict'), Mapping):
        data = data['state_dict']
    if not isinstance(data, Mapping):
        raise CheckpointError(f'{path}: contains a {type(data).__name__}, expected a state dict')
    tensors = {str(name): item for name, item in data.items() if isinstance(item, Tensor)}
    if not tensors:
        names = ', '.join(sorted(map(str, data))[:_SHOWN]) or 'nothing'
        raise CheckpointError(f'{path}: contains {names} and no tensors, expected a state dict')
    return tensors


def _load(path: Path) -> Any:
    """Load a file of numbers, or raise an error that says what else it contains."""
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror}') from None
    except UnpicklingError as error:
        names = _called_functions(path)
        if not names:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f'{path}: not a complete torch.save file: {reason}') from None
        raise CheckpointError(
            f'{path}: refused: loading it would run code ({", ".join(names)}). If you trust the '
            'file, load it in the environment that wrote it, and save only its numbers: '
            "torch.save(model.state_dict(), 'weights.pt')"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f'{path}: not a complete torch.save file: {reason}') from None


def _called_functions(path: Path) -> list[str]:
    """Return the functions and classes that loading a file would call, except for tensors."""
    try:
        names = sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except (RuntimeError, ValueError, UnpicklingError):  # older than the zip files of torch 1.6
        return ['unknown functions, because the file has an old format']
    more = [f'and {len(names) - _SHOWN} more'] if len(names) > _SHOWN else []
    return names[:_SHOWN] + more
