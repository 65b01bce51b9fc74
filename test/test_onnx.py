# SPDX-License-Identifier: Apache-2.0
"""A model goes out as ONNX, and onnxruntime computes what torch does."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import sys

import numpy as np
import onnxruntime
import pytest
from smwm_ros import config
from smwm_ros.cli import main
from smwm_ros.errors import CheckpointError
from smwm_ros.exchange import to_onnx
from smwm_ros.exchange.to_onnx import write_onnx
from smwm_ros.model.any_model import make_model
from smwm_ros.model.checkpoint import Checkpoint, load, save
from smwm_ros.model.vit import Predictor, VisionEncoder
from test_presets import shallow
import torch
from torch import nn
from worlds import tiny_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save(tmp_path / 'run', tiny_checkpoint(mean=0.1, std=0.2))
    return tmp_path / 'run'


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, ['CPUExecutionProvider'])


def test_a_rollout_in_onnxruntime_is_that_of_the_model(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'onnx'
    assert main(['export-model', str(run), '--out', str(out)]) == 0
    reported = capsys.readouterr().out
    assert f'{out / "encoder.onnx"}: ' in reported
    assert f'{out / "predictor.onnx"}: ' in reported
    assert sorted(path.name for path in out.iterdir()) == [
        'encoder.onnx',
        'model.json',
        'predictor.onnx',
    ]
    checkpoint = load(run)
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (7, 3, 16, 16), generator=generator).byte()
    actions = torch.randn(7, 5, 4, generator=generator)
    (z,) = session(out / 'encoder.onnx').run(None, {'pixels': pixels.numpy()})
    expected = checkpoint.model.encode(pixels)
    assert z == pytest.approx(expected.numpy(), abs=1e-5)
    ahead = checkpoint.model.rollout(expected, actions).numpy()
    predictor = session(out / 'predictor.onnx')
    for step in range(5):
        (z,) = predictor.run(None, {'z': z, 'action': actions[:, step].numpy()})
        assert z == pytest.approx(ahead[:, step], abs=1e-5)
    about = json.loads((out / 'model.json').read_text())
    assert about['action']['mean'] == [0.1, 0.1]
    assert about['action']['fields'] == list(checkpoint.spec.fields)
    assert (about['image_size'], about['action_block'], about['dt']) == (16, 2, 0.1)
    assert main(['export-model', str(run), '--out', str(out)]) == 2
    assert 'exists already; remove it' in capsys.readouterr().err


def tiny(history: int, side: int) -> Checkpoint:
    """Make a checkpoint of the networks of the paper, with a layer each."""
    knobs, small = config.Model(preset='tiny', history=history), tiny_checkpoint()
    torch.manual_seed(0)
    model = shallow(make_model(knobs, side, 4)).eval().requires_grad_(False)
    encoder, predictor = model.encoder, model.forward_model
    assert isinstance(encoder, VisionEncoder)
    assert isinstance(predictor, Predictor)
    encoder.layers, predictor.layers = nn.Sequential(encoder.layers[0]), predictor.layers[:1]
    dataset = replace(small.dataset, image_size=side)
    return small._replace(model=model, model_config=knobs, dataset=dataset)


@pytest.mark.parametrize(('history', 'side'), [(1, 64), (3, 224)])
def test_the_networks_of_the_paper_go_out_too(
    history: int, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, graphs = tiny(history, side), to_onnx._graphs
    if history > 1:  # the encoder is the same, and takes its time
        monkeypatch.setattr(to_onnx, '_graphs', lambda *x: {'predictor': graphs(*x)['predictor']})
    apart = write_onnx(checkpoint, tmp_path / 'onnx')
    assert max(apart.values()) < 1e-5
    predictor = session(tmp_path / 'onnx' / 'predictor.onnx')
    names = [f'{item.name} {len(item.shape)}' for item in predictor.get_inputs()]
    assert names == (['z 2', 'action 2'] if history == 1 else ['z 3', 'action 3'])
    size = (tmp_path / 'onnx' / 'predictor.onnx').stat().st_size / 4
    weights = sum(weight.numel() for weight in checkpoint.model.forward_model.parameters())
    if history == 1:  # queries and keys are gone, values and outputs are one
        assert size < weights - 350_000


def test_a_graph_that_computes_something_else_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, '_export', lambda *_: None)
    monkeypatch.setattr(to_onnx, '_compare', lambda *_: np.nan)
    with pytest.raises(
        CheckpointError, match=r'encoder.onnx: output differs .* nothing was written'
    ):
        write_onnx(load(run), tmp_path / 'onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['run']


def test_without_its_extra_it_says_what_to_install(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delitem(sys.modules, 'smwm_ros.exchange.to_onnx')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    assert main(['export-model', str(run), '--out', str(tmp_path / 'onnx')]) == 2
    assert 'pip install onnx onnxruntime onnxscript' in capsys.readouterr().err
