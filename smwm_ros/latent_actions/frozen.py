# SPDX-License-Identifier: Apache-2.0
"""
Frozen encoders that others trained: a module in a file, or the convolutions of an SMWM.

A module maps images (B, 3, S, S), float from 0 to 1, to a map (B, C, h, h), or to tokens (B, N, C)
where N is a square.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import io
import math
from typing import Any, TypeAlias
import warnings

from smwm_ros.errors import ConfigError, missing_extra, one_line
import torch
from torch import nn, Tensor

MODULES = {'onnx': 'encoder.onnx', 'torch': 'encoder.pt'}  # their names in a run folder
PART = 64  # images encoded at once, since the networks of others may be large
LEAST = 4  # cells along a side of a map
DEAD = 1e-3  # share of the largest standard deviation below which a channel is not amplified

Shape: TypeAlias = tuple[int, int, int]  # C, h, w of a map


class ModuleFile:
    """A module that was exported to ONNX or TorchScript; opening it runs no Python code in it."""

    def __init__(self, kind: str, content: bytes) -> None:
        self.kind, self.content = kind, content
        self._call = _onnx(content) if kind == 'onnx' else _torchscript(content)

    def __call__(self, images: Tensor) -> Tensor:
        """Map images to a map or to tokens."""
        return self._call(images)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleFile:
        """Open the file again: a copy may be moved to another device."""
        return ModuleFile(self.kind, self.content)

    @property
    def name(self) -> str:
        """Return the name of the file in a run folder."""
        return MODULES[self.kind]

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()


class SmwmFeatures(nn.Module):
    """The convolutions of an SMWM of preset nano."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images to a map; an SMWM was trained on images from -1 to 1."""
        s: Tensor = self.layers(images.mul(2).sub_(1))
        return s


class FrozenEncoder(nn.Module):
    """Pixels (B, 3, S, S) uint8 -> map (B, C, h, h), with mean 0 and std 1 in each channel."""

    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)

    def __init__(self, network: ModuleFile | SmwmFeatures, image_size: int) -> None:
        super().__init__()
        self.network = network
        self.shape = shape_of(network, image_size)
        self.register_buffer('mean', torch.zeros(self.shape[0], 1, 1))
        self.register_buffer('std', torch.ones(self.shape[0], 1, 1))

    def fit(self, pixels: Tensor) -> None:
        """Fit mean and standard deviation to images (n, 3, S, S)."""
        s = self._encode(pixels)
        self.mean.copy_(s.mean(dim=(0, 2, 3))[:, None, None])
        std = s.std(dim=(0, 2, 3))
        self.std.copy_(std.clamp(min=max(DEAD * float(std.max()), 1e-6))[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images."""
        return (self._encode(pixels) - self.mean) / self.std

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        """Return maps as the network computes them."""
        parts = (part.float().div(255) for part in torch.split(pixels, PART))
        return torch.cat([as_map(self.network(part)) for part in parts])


def shape_of(network: ModuleFile | SmwmFeatures, image_size: int) -> Shape:
    """Return the shape of a map, or raise a ConfigError where a network does not make maps."""
    # A model may be built on the device 'meta', to learn its shapes; a file is opened on the CPU.
    if isinstance(network, ModuleFile):
        device = torch.device('cpu')
    else:
        device = next(network.parameters()).device
    with torch.no_grad(), device:
        images = torch.zeros(2, 3, image_size, image_size)
        try:
            s = as_map(network(images))
        except ConfigError:
            raise
        except Exception as error:  # torch and onnxruntime do not document what they raise
            raise ConfigError(
                f'fails on images {tuple(images.shape)}: {one_line(error)}; expected a module for '
                'this image size and any number of images, float from 0 to 1'
            ) from None
    _, channels, height, width = s.shape
    if len(s) != 2 or height != width or height < LEAST:
        raise ConfigError(
            f'returns {tuple(s.shape)} for 2 images, expected a square map (2, C, h, h) of at '
            f'least {LEAST} x {LEAST} cells; take an earlier layer, or larger images'
        )
    if not s.is_meta and not bool(s.isfinite().all()):
        raise ConfigError('returns numbers that are not finite for a black image')
    return channels, height, width


def as_map(found: Tensor) -> Tensor:
    """Return what a module returned as a map (B, C, h, w), float32."""
    if not isinstance(found, Tensor):
        raise ConfigError(f'returns a {type(found).__name__}, expected one tensor')
    if found.ndim == 3:  # tokens
        side = math.isqrt(found.shape[1])
        if side * side != found.shape[1]:
            raise ConfigError(
                f'returns {found.shape[1]} tokens, expected a square number; leave out the class '
                'token, and others that belong to no place'
            )
        found = found.transpose(1, 2).reshape(len(found), -1, side, side)
    if found.ndim != 4:
        raise ConfigError(
            f'returns {tuple(found.shape)}, expected a map (B, C, h, h) or tokens (B, N, C): on a '
            'vector, latent actions come to mean something else in every state'
        )
    return found.float()


def _onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    """Open an ONNX file; onnxruntime runs its operators, on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra('model.latent_action.encoder=onnx', 'onnx', 'onnxruntime') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 4  # its errors are raised, too
    try:
        session = onnxruntime.InferenceSession(content, options, ['CPUExecutionProvider'])
    except Exception as error:  # of many types
        raise ConfigError(
            f'not an ONNX file: {one_line(error)}; expected one file with all weights'
        ) from None
    name = session.get_inputs()[0].name

    def call(images: Tensor) -> Tensor:
        (found, *_) = session.run(None, {name: images.cpu().numpy()})
        return torch.from_numpy(found).to(images.device)

    return call


def _torchscript(content: bytes) -> Callable[[Tensor], Tensor]:
    """Open a TorchScript file; its own interpreter runs it, and no pickle is executed."""
    with warnings.catch_warnings():
        # torch.export, which replaces it, falls back to unpickling any object.
        warnings.simplefilter('ignore', DeprecationWarning)
        try:
            module = torch.jit.load(io.BytesIO(content), map_location='cpu').eval()  # type: ignore[no-untyped-call]
        except Exception as error:  # of many types
            raise ConfigError(
                f'not a TorchScript file: {one_line(error)}; expected a file of torch.jit.save'
            ) from None

    def call(images: Tensor) -> Tensor:
        found: Tensor = module.to(images.device)(images)
        return found

    return call
