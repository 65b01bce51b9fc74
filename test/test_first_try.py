# SPDX-License-Identifier: Apache-2.0
"""The usual first steps: one bag, and no knob."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import TinyBag
from smwm_ros.cli import main


def test_one_continuous_recording_is_inspected_converted_and_trained_without_a_knob(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = TinyBag(tmp_path / 'drive')
    for tick in range(400):
        bag.frame(tick)
        bag.command(tick + 0.5, value=np.sin(tick / 7))
    path = str(bag.close())
    assert main(['inspect', path]) == 0
    block = capsys.readouterr().out.partition('# proposed')[2].partition('\n')[2]
    (tmp_path / 'robot.yaml').write_text(block)
    words = ['--config', str(tmp_path / 'robot.yaml')]
    assert main(['convert', path, '--out', str(tmp_path / 'data'), *words]) == 0
    said = capsys.readouterr()
    assert '1 episode (10% held out, in 1 stretch), 400 ticks' in said.out
    assert 'warning' not in said.err
    run = ['train', str(tmp_path / 'data'), '--out', str(tmp_path / 'run'), *words]
    assert main([*run, 'train.steps=2', 'train.batch=4']) == 0  # or it would take minutes
    said = capsys.readouterr()
    assert f'smwm inspect {tmp_path / "run"}' in said.out, 'no arena has this robot'
    assert 'smwm evaluate' not in said.out
    assert (tmp_path / 'run' / 'model.safetensors').is_file()
