# SPDX-License-Identifier: Apache-2.0
"""
What is made of a model for planning, and lies beside it: NAME.safetensors and NAME.json.

It is worth nothing with other weights, so it names those it was made for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save as format_tensors
from smwm_ros.data.stored import Kind, read_json, require
from smwm_ros.errors import CheckpointError
from smwm_ros.files import write_together
from smwm_ros.model.checkpoint import read_meta
from smwm_ros.model.tensors import read_tensors
from torch import Tensor

FORMAT = 1


def save(folder: Path, name: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors beside the checkpoint of a folder; the JSON file comes last."""
    content = format_tensors({key: tensor.contiguous() for key, tensor in tensors.items()})
    meta = {
        'format': FORMAT,
        'kind': name,
        'model_sha256': read_meta(folder).weights_sha256,
        'sha256': hashlib.sha256(content).hexdigest(),
        **info,
    }
    text = json.dumps(meta, indent=1).encode()
    write_together({folder / f'{name}.safetensors': content, folder / f'{name}.json': text})


def load(
    folder: Path | None,
    name: str,
    needed_by: str,
    sizes: Mapping[str, Sequence[int | str]],  # of each tensor; a letter is any size, but one
    info: Mapping[str, Any],  # the shape of what is kept with them, see stored.py
) -> tuple[dict[str, Tensor], Any]:
    """Read what lies beside a checkpoint, or say how to make it."""
    if folder is None:
        raise CheckpointError(
            f'{needed_by}: needs the {name} beside a checkpoint, and this one comes from no folder'
        )
    path = folder / f'{name}.json'
    make = f'make it: smwm prepare {folder} --data DATASET'
    if not path.is_file():
        raise CheckpointError(f'{needed_by}: {folder} has no {name} yet; {make}')
    kind = Kind(CheckpointError, make)
    meta = read_json(path, kind, FORMAT)
    require(meta, {'sha256': str, 'model_sha256': str, **info}, path, kind)
    tensors, digest = read_tensors(path.with_suffix('.safetensors'), kind)
    if digest != meta['sha256']:
        raise CheckpointError(f'{path}: does not belong to the tensors beside it; {make}')
    if read_meta(folder).weights_sha256 != meta['model_sha256']:
        raise CheckpointError(f'{path}: was made for other weights than those in {folder}; {make}')
    if not _fit(tensors, sizes):
        raise kind.damaged(path.with_suffix('.safetensors'), f'expected tensors {dict(sizes)}')
    return tensors, meta


def _fit(tensors: Mapping[str, Tensor], sizes: Mapping[str, Sequence[int | str]]) -> bool:
    """Tell whether tensors are there, and of the sizes expected."""
    known: dict[int | str, int] = {}
    for name, wanted in sizes.items():
        found = tensors[name].shape if name in tensors else ()
        if len(found) != len(wanted):
            return False
        for size, each in zip(found, wanted, strict=True):
            if size != (each if isinstance(each, int) else known.setdefault(each, size)):
                return False
    return True
