# SPDX-License-Identifier: Apache-2.0
"""
Export encoder and forward model as ONNX, checked against torch.

For robot computers with an ONNX runtime, such as a Jetson with TensorRT. Needs the extra `onnx`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import echo

EXAMPLE = 'smwm export-model runs/two_room --out two_room_onnx'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('model', type=Path, metavar='RUN', help='run folder of smwm train')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='folder to write; must not exist'
    )


def run(args: argparse.Namespace) -> int:
    """Export, and print the files."""
    from smwm_ros.files import require_new
    from smwm_ros.model import checkpoint as checkpoints

    require_new(args.out)
    checkpoint = checkpoints.load(args.model)
    from smwm_ros.exchange.to_onnx import write_onnx

    for name, apart in write_onnx(checkpoint, args.out).items():
        size = (args.out / f'{name}.onnx').stat().st_size / 1e6
        echo(f'{args.out / name}.onnx: {size:.1f} MB, largest difference to torch {apart:.1g}')
    echo(f'{args.out}/model.json: action fields and normalisation')
    return 0
