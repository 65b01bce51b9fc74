# SPDX-License-Identifier: Apache-2.0
"""
Files that smwm prepare writes beside a checkpoint: NAME.safetensors and NAME.json.

They fit one set of weights only, so NAME.json holds the SHA-256 of these weights.
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
KEPT = Kind(CheckpointError, 'make it again: smwm prepare')


def save(folder: Path, name: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors beside the checkpoint in a folder; the JSON file is written last."""
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


def carry_over(source: Path, target: Path) -> list[str]:
    """Copy all such files to a run whose latents mean the same; return their names."""
    weights = [read_meta(folder).weights_sha256 for folder in (source, target)]
    names = []
    for path in sorted(source.glob('*.json')):
        content = path.with_suffix('.safetensors')
        meta = read_json(path, KEPT) if content.is_file() else None
        if not isinstance(meta, dict) or meta.get('model_sha256') != weights[0]:
            continue
        text = json.dumps({**meta, 'model_sha256': weights[1]}, indent=1).encode()
        write_together({target / content.name: content.read_bytes(), target / path.name: text})
        names.append(path.stem)
    return names


def load(
    folder: Path | None,
    name: str,
    needed_by: str,
    sizes: Mapping[
        str, Sequence[int | str]
    ],  # of each tensor; a letter stands for one size of any value
    info: Mapping[str, Any],  # form of the further keys in NAME.json, see data/stored.py
) -> tuple[dict[str, Tensor], Any]:
    """Read such files, or raise a CheckpointError that says how to make them."""
    if folder is None:
        raise CheckpointError(
            f'{needed_by}: needs the {name} beside a checkpoint, but this one was not loaded from '
            'a folder; save it, then run smwm prepare'
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
        raise CheckpointError(f'{path}: does not match {name}.safetensors beside it; {make}')
    if read_meta(folder).weights_sha256 != meta['model_sha256']:
        raise CheckpointError(
            f'{path}: was made for other weights than model.safetensors in {folder}; {make}'
        )
    if not _fit(tensors, sizes):
        raise kind.damaged(path.with_suffix('.safetensors'), f'expected tensors {dict(sizes)}')
    return tensors, meta


def _fit(tensors: Mapping[str, Tensor], sizes: Mapping[str, Sequence[int | str]]) -> bool:
    """Return whether all tensors are present and have the expected sizes."""
    known: dict[int | str, int] = {}
    for name, wanted in sizes.items():
        found = tensors[name].shape if name in tensors else ()
        if len(found) != len(wanted):
            return False
        for size, each in zip(found, wanted, strict=True):
            if size != (each if isinstance(each, int) else known.setdefault(each, size)):
                return False
    return True
