# SPDX-License-Identifier: Apache-2.0
"""
What is made of a model for planning, and lies beside it: NAME.safetensors and NAME.json.

It is worth nothing with other weights, so it names those it was made for.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from smwm_ros.core.checkpoint import read_meta
from smwm_ros.errors import CheckpointError
from smwm_ros.files import write_together
from torch import Tensor

FORMAT = 1


def save(folder: Path, name: str, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write tensors beside the checkpoint of a folder; the JSON file comes last."""
    content = format_tensors({key: tensor.contiguous() for key, tensor in tensors.items()})
    meta = {
        'format': FORMAT,
        'kind': name,
        'model_sha256': read_meta(folder)['weights_sha256'],
        'sha256': hashlib.sha256(content).hexdigest(),
        **info,
    }
    text = json.dumps(meta, indent=1).encode()
    write_together({folder / f'{name}.safetensors': content, folder / f'{name}.json': text})


def load(folder: Path | None, name: str, needed_by: str) -> tuple[dict[str, Tensor], Any]:
    """Read what lies beside a checkpoint, or say how to make it."""
    if folder is None:
        raise CheckpointError(
            f'{needed_by}: needs the {name} beside a checkpoint, and this one comes from no folder'
        )
    path = folder / f'{name}.json'
    make = f'make it: smwm prepare {folder} --data DATASET'
    if not path.is_file():
        raise CheckpointError(f'{needed_by}: {folder} has no {name} yet; {make}')
    try:
        meta = json.loads(path.read_text(encoding='utf-8'))
        content = path.with_suffix('.safetensors').read_bytes()
        tensors: dict[str, Tensor] = parse_tensors(content)
        version, digest, model = meta['format'], meta['sha256'], meta['model_sha256']
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f'{path}: damaged: {error}; {make}') from None
    if version != FORMAT:
        raise CheckpointError(f'{path}: format {version}, expected {FORMAT}; {make}')
    if hashlib.sha256(content).hexdigest() != digest:
        raise CheckpointError(f'{path}: does not belong to the tensors beside it; {make}')
    if read_meta(folder)['weights_sha256'] != model:
        raise CheckpointError(f'{path}: was made for other weights than those in {folder}; {make}')
    return tensors, meta
