# SPDX-License-Identifier: Apache-2.0
"""Read safetensors files, and check that their numbers are finite."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
from pathlib import Path

from safetensors.torch import load as parse_tensors
from smwm_ros.data.stored import Kind
from smwm_ros.errors import one_line
from torch import Tensor


def read_tensors(path: Path, kind: Kind) -> tuple[dict[str, Tensor], str]:
    """Read a safetensors file of finite tensors; return them and the SHA-256 of the file."""
    try:
        content = path.read_bytes()
        tensors: dict[str, Tensor] = parse_tensors(content)
    except OSError as error:
        raise kind.error(f'{path}: cannot be read: {error.strerror}; {kind.remedy}') from None
    except Exception as error:  # safetensors does not document what it raises
        reason = f'{path}: not a safetensors file: {one_line(error)}; {kind.remedy}'
        raise kind.error(reason) from None
    require_finite(tensors, path, kind)
    return tensors, hashlib.sha256(content).hexdigest()


def require_finite(tensors: Mapping[str, Tensor], path: Path, kind: Kind) -> None:
    """Raise the error of `kind` if a tensor holds NaN or infinity."""
    bad = [name for name, part in tensors.items() if not bool(part.isfinite().all())]
    if bad:
        more = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
        raise kind.damaged(path, f'{bad[0]}{more} hold numbers that are not finite')
