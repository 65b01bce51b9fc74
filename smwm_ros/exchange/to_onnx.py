# SPDX-License-Identifier: Apache-2.0
"""
Write a model as ONNX, for onboard computers with an ONNX runtime.

    encoder.onnx    pixels (B, 3*H, S, S) uint8 RGB -> z (B, D)
    predictor.onnx  z (B, D), action (B, K*A) normalised -> z_next (B, D)
    model.json      normalisation, fields and limits of the actions

The encoder takes H images, the oldest first, a raw step apart: `images` in model.json. A model of
preset tiny with a history of several steps takes z (B, T, D) and action (B, T, K*A), with T up to
its history: latents a model step apart, each with the action after it, and the past of the robot
before predictions. At the start of a drive T is 1. Both graphs are run by onnxruntime and compared
with the model before they are renamed.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple
import warnings

from smwm_ros.errors import CheckpointError, missing_extra, writing
from smwm_ros.files import appearing
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import CPU
from smwm_ros.model.vit import Predictor, PredictorBlock
from smwm_ros.model.world_model import Smwm
import torch
from torch import nn, Tensor

try:
    import onnxruntime
    import onnxscript  # noqa: F401 - torch.onnx needs it
except ImportError:
    raise missing_extra('ONNX', 'onnx', 'onnx onnxruntime onnxscript') from None

OPSET = 18
TOLERANCE = 1e-4  # of outputs, compared with torch
BATCHES = (1, 3)  # batch sizes that are tested


class EncoderGraph(nn.Module):
    """The encoder f."""

    def __init__(self, model: Smwm) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode: (B, 3*H, S, S) uint8 -> (B, D)."""
        z: Tensor = self.encoder(pixels)
        return z


class StepGraph(nn.Module):
    """The forward model g with a history of one step."""

    def __init__(self, model: Smwm) -> None:
        super().__init__()
        self.forward_model = deepcopy(model.forward_model)
        if isinstance(self.forward_model, Predictor):
            blocks = (block for block in self.forward_model.layers)
            self.forward_model.layers = nn.ModuleList(SingleTokenLayer(block) for block in blocks)  # type: ignore[arg-type]

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step: (B, D), (B, K*A) -> (B, D)."""
        z_next: Tensor = self.forward_model(z, action)
        return z_next


class SingleTokenLayer(nn.Module):
    """A layer of the predictor for a single token, whose attention is an affine map."""

    def __init__(self, block: PredictorBlock) -> None:
        super().__init__()
        self.block = block
        width = block.out.out_features
        self.attend = nn.Linear(width, width)
        value = block.qkv.weight.double().chunk(3)[2]
        self.attend.weight = nn.Parameter((block.out.weight.double() @ value).float())
        self.attend.bias = block.out.bias

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return the output of the layer, with a third of its arithmetic."""
        block = self.block
        shift, scale, gate, *mlp = block.modulation(condition).chunk(6, -1)
        normed = block.norm_attention(block.norm(x) * (1 + scale) + shift)
        x = x + gate * self.attend(normed)
        out: Tensor = x + mlp[2] * block.mlp(block.norm(x) * (1 + mlp[1]) + mlp[0])
        return out


class Steps(nn.Module):
    """The forward model g with a history of several steps."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict the latent after the last step: (B, T, D), (B, T, K*A) -> (B, D)."""
        return self.predictor.predict_sequence(z, action)[:, -1]


class Graph(NamedTuple):
    """A module to export, and its reference."""

    graph: nn.Module
    inputs: dict[str, Tensor]  # test inputs, by name
    output: str
    truth: Callable[..., Tensor]  # the output of the model itself for the same inputs
    steps: bool = False  # inputs are (B, T, ...)


def write_onnx(checkpoint: Checkpoint, folder: Path) -> dict[str, float]:
    """Write a folder, renamed when it is complete; return the largest error of each graph."""
    model = checkpoint.on(CPU).smwm
    with appearing(folder) as whole, writing(folder):
        whole.mkdir()
        apart = {}
        for name, part in _graphs(model, checkpoint).items():
            path = whole / f'{name}.onnx'
            _export(part, path)
            apart[name] = _compare(part, path)
            if not apart[name] < TOLERANCE:
                raise CheckpointError(
                    f'{name}.onnx: output differs from the model by {apart[name]:.3g}, expected '
                    f'less than {TOLERANCE:.0e}; nothing was written'
                )
        about = json.dumps(_about(checkpoint), indent=1) + '\n'
        (whole / 'model.json').write_text(about, encoding='utf-8')
    return apart


def _graphs(model: Smwm, checkpoint: Checkpoint) -> dict[str, Graph]:
    """Return the modules to export, by file name."""
    generator = torch.Generator().manual_seed(0)
    side, width = checkpoint.image_size, checkpoint.spec.size * checkpoint.action_block
    shape = (max(BATCHES), 3 * checkpoint.model_config.stack, side, side)
    pixels = torch.randint(0, 256, shape, generator=generator).byte()
    predictor = model.forward_model
    remembers = isinstance(predictor, Predictor) and predictor.history > 1
    steps = (predictor.history,) if remembers else ()
    inputs = {
        'z': torch.randn(max(BATCHES), *steps, model.latent, generator=generator),
        'action': torch.randn(max(BATCHES), *steps, width, generator=generator),
    }
    if isinstance(predictor, Predictor) and remembers:
        whole = Steps(predictor)
        forward = Graph(whole, inputs, 'z_next', whole, steps=True)
    else:
        forward = Graph(StepGraph(model), inputs, 'z_next', model.predict)
    return {
        'encoder': Graph(EncoderGraph(model), {'pixels': pixels}, 'z', model.encoder),
        'predictor': forward,
    }


def _export(part: Graph, path: Path) -> None:
    """Write one graph, for batches of any size."""
    # The exporter logs long hints about other options.
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    shapes: dict[str, dict[int, Any]] = {
        name: {0: torch.export.Dim('batch')} for name in part.inputs
    }
    if part.steps:
        steps = torch.export.Dim('steps', max=part.inputs['z'].shape[1])
        shapes = {name: {**known, 1: steps} for name, known in shapes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            part.graph.eval(),
            tuple(part.inputs.values()),
            str(path),
            input_names=list(part.inputs),
            output_names=[part.output],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compare(part: Graph, path: Path) -> float:
    """Return the largest difference between the model and its ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # its threads busy-wait
    session = onnxruntime.InferenceSession(str(path), options, ['CPUExecutionProvider'])
    lengths = range(1, part.inputs['z'].shape[1] + 1) if part.steps else (None,)
    apart = 0.0
    for count in BATCHES:
        for length in lengths:
            some = {
                name: value[:count] if length is None else value[:count, :length].contiguous()
                for name, value in part.inputs.items()
            }
            with torch.inference_mode():
                expected: Array = part.truth(*some.values()).numpy()
            (found,) = session.run(None, {name: value.numpy() for name, value in some.items()})
            apart = max(apart, float(abs(found - expected).max()))
    return apart


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the metadata of the model: sizes, and fields and normalisation of the actions."""
    spec = checkpoint.spec
    return {
        'image_size': checkpoint.image_size,
        'resize': checkpoint.dataset.resize,
        'latent': checkpoint.model.latent,
        'images': checkpoint.model_config.stack,
        'history': checkpoint.model_config.context,
        'action_block': checkpoint.action_block,
        'action': {
            'fields': spec.fields,
            'low': spec.low,
            'high': spec.high,
            'mean': checkpoint.scaler.mean.tolist(),
            'std': checkpoint.scaler.std.tolist(),
        },
        'dt': spec.dt,
    }
