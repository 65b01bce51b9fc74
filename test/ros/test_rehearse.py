# SPDX-License-Identifier: Apache-2.0
"""A rehearsal drives a model over ROS in both engines, and once more after its adaptation."""

from __future__ import annotations

import json
from pathlib import Path

from contract import require_mujoco
import pytest
from smwm_ros.cli import main as smwm

SHIPPED = Path(__file__).resolve().parents[2] / 'models' / 'two_room'
SMALL = ['--tasks', '2', 'evaluate.offset=20', 'evaluate.budget=40']
LOOKS = ['randomise.camera_eye=[0.02,0.02]', 'randomise.colour=[-0.05,0.05]']


def test_a_model_is_adapted_to_the_other_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_mujoco()
    out = tmp_path / 'found.json'
    words = ['rehearse', str(SHIPPED), '--adapt', '--out', str(out), *SMALL, *LOOKS]
    assert smwm(words) == 0
    found = json.loads(out.read_text())['found']
    home, away, adapted, chance = found.values()
    assert list(found) == [
        'pybullet, as it is',
        'mujoco, not adapted',
        'mujoco, adapted to a minute of images',
        'mujoco, random policy',
    ]
    assert home['tried'] == away['tried'] == adapted['tried'] == 2
    assert chance['tried'] == 10
    assert home['reached'] == 2
    assert adapted['reached'] >= max(away['reached'], 1)
    shown = capsys.readouterr().out
    assert smwm(['rehearse', str(SHIPPED), '--arena', 'reacher']) == 2
    assert '--arena reacher: does not have the robot of' in capsys.readouterr().err
    for title, one in found.items():
        assert f'{title} ' in shown
        assert f'{one["reached"] / one["tried"]:.0%}' in shown
