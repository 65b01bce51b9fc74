# SPDX-License-Identifier: Apache-2.0
"""A model is checked against a recording of a robot before it moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest
from smwm_ros.arenas import make_arena
from smwm_ros.bags.writing.writer import BagWriter
from smwm_ros.cli import main as smwm
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation import command_response
from smwm_ros.load import load_config, to_dict
from smwm_ros.model.checkpoint import load, save
from videos import write_video
import yaml

SHIPPED = Path(__file__).resolve().parents[1] / 'models' / 'two_room'
LOOKS = 'randomise.light=[0.4,0.4] randomise.colour=[-0.3,-0.3] arena.seed=3'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('recordings')


def recorded(folder: Path, *settings: str, arena: str = 'two_room') -> Path:
    """Record 50 s of a robot, once for all tests."""
    bags = folder / re.sub(r'\W+', '_', f'{arena} {settings}')
    words = ['arena.episodes=1', 'arena.length=500', *settings]
    assert smwm(['collect', arena, '--out', str(bags), *words]) == 0
    return bags


def check(run: Path, bag: Path, *words: str) -> int:
    return smwm(['check', str(run), '--bag', str(bag), *words])


def robot_file(folder: Path, delay: float = -1.0, **changes: Any) -> str:
    """Write a configuration of the robot of two_room with other commands, or with a delay."""
    robot = to_dict(load_config('two_room').robot)
    robot |= {name: value for name, value in changes.items() if name == 'dt'}
    robot['command'] |= {name: value for name, value in changes.items() if name != 'dt'}
    path = folder / 'robot.yaml'
    node = {'actuation_delay': delay}
    path.write_text(yaml.safe_dump({'robot': robot, 'node': node}))
    return str(path)


def test_a_model_fits_the_robot_of_its_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recorded(folder, 'randomise.latency=[2,2]')
    assert check(SHIPPED, bag, '--robot', robot_file(tmp_path, 0.2)) == 0
    shown = capsys.readouterr().out
    assert 'NO-GO' not in shown
    assert shown.endswith('\ngo\n')
    assert float(re.search(r'novelty ([\d.]+)', shown)[1]) < 2  # type: ignore[index]
    assert float(re.search(r'R2 ([\d.]+)', shown)[1]) > 0.9  # type: ignore[index]
    assert 'delay: 2 control periods' in shown
    assert '0.2 s are configured' in shown
    assert 'wrong' not in shown
    assert '->' not in shown
    # A delay that is not configured, and short.
    assert check(SHIPPED, bag) == 0
    shown = capsys.readouterr().out
    assert re.search(r'go +delay: 2 control periods .*; 0 s are configured', shown)
    assert 'set node.actuation_delay=0.2' in shown
    assert 'dataset.command_delay=0.2' in shown


@pytest.mark.parametrize(
    ('gain', 'code', 'remark'), [(0.8, 0, False), (0.5, 0, True), (0.1, 1, True)]
)
def test_a_robot_that_moves_less_far_is_named_and_no_go_if_it_hardly_moves(
    folder: Path, gain: float, code: int, remark: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(SHIPPED, recorded(folder, f'randomise.gain=[{gain},{gain}]')) == code
    shown = capsys.readouterr().out
    if found := re.search(r'gain: the robot moves ([\d.]+) times', shown):
        assert float(found[1]) == pytest.approx(gain, abs=0.05)
    assert ('units' in shown) == remark


def test_a_delay_of_more_than_two_model_steps_is_no_go_unless_it_is_configured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = recorded(folder, 'randomise.latency=[12,12]')
    assert check(SHIPPED, bag, '--robot', robot_file(tmp_path, 0.2)) == 0
    capsys.readouterr()
    assert check(SHIPPED, bag, '--robot', robot_file(tmp_path, 0.1)) == 1
    shown = capsys.readouterr().out
    assert re.search(r'NO-GO +delay: 12 control periods .*; 0.1 s are configured', shown)
    assert 'set node.actuation_delay=1.2' in shown
    assert 'no-go: 1 check failed' in shown


@pytest.mark.parametrize(
    ('delays', 'gains', 'off'), [((2, 2), (0.8, 0.8), 0.03), ((0, 3), (0.7, 1.2), 0.1)]
)
def test_an_arena_takes_over_the_measured_delay_and_gain_of_each_field(
    folder: Path,
    tmp_path: Path,
    delays: tuple[int, ...],
    gains: tuple[float, ...],
    off: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [f'arena.field_delay={list(delays)}', f'arena.field_gain={list(gains)}']
    bag, file = recorded(folder, *(word.replace(' ', '') for word in words)), tmp_path / 'a.yaml'
    assert check(SHIPPED, bag, '--write', str(file)) == 0
    assert 'node.actuation_delay' in capsys.readouterr().out
    assert check(SHIPPED, bag, '--robot', str(file)) == 0
    assert 'node.actuation_delay' not in capsys.readouterr().out
    found = load_config(file)
    assert found.arena.field_delay == delays
    assert found.arena.field_gain == pytest.approx(gains, abs=off)
    assert found.robot == load_config('two_room').robot
    assert ('the delays differ' in file.read_text()) == (len(set(delays)) > 1)
    if len(set(delays)) == 1:
        assert found.dataset.command_delay == pytest.approx(0.1 * delays[0])
    # A recording of that arena is of the same robot.
    again, bags = tmp_path / 'again.yaml', tmp_path / 'bags'
    short = ['arena.episodes=1', 'arena.length=500', 'arena.seed=5']
    assert smwm(['collect', 'two_room', '--out', str(bags), '--config', str(file), *short]) == 0
    assert check(SHIPPED, bags, '--robot', str(file), '--write', str(again)) == 0
    assert load_config(again).arena.field_delay == delays
    assert load_config(again).arena.field_gain == pytest.approx(found.arena.field_gain, abs=off)
    assert check(SHIPPED, bags, '--write', str(again)) == 2
    assert 'again.yaml' in capsys.readouterr().err


def test_fields_in_another_order_or_with_another_sign_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = recorded(folder, 'robot.command.fields=[twist.linear.y,twist.linear.x]')
    file = tmp_path / 'a.yaml'
    assert check(SHIPPED, swapped, '--write', str(file)) == 1
    shown = capsys.readouterr().out
    for one, other in (('x', 'y'), ('y', 'x')):
        words = f'the motion of twist.linear.{one} follows the command twist.linear.{other}'
        assert f'wrong order: {words}' in shown
    assert not file.exists()
    assert 'not written, because the motion does not answer' in shown


def test_a_field_with_the_other_sign_is_named(folder: Path, tmp_path: Path) -> None:
    bag, made = recorded(folder, 'randomise.latency=[2,2]'), tmp_path / 'data'
    assert smwm(['convert', str(bag), '--out', str(made), '--config', 'two_room']) == 0
    data, checkpoint = TransitionDataset.open(made), load(SHIPPED)
    assert command_response.compare_commands(checkpoint, data).strange == ()  # type: ignore[union-attr]
    data._actions.values[:, 1] *= -1
    found = command_response.compare_commands(checkpoint, data)
    assert found
    (words,) = found.strange
    assert words.startswith('wrong sign: twist.linear.y moves against its command')
    # A field that was never commanded has no delay of its own.
    data._actions.values[:, 1] = 0
    found = command_response.compare_commands(checkpoint, data)
    assert found
    assert [one.known for one in found.fields] == [True, False]
    knobs = command_response.actuation(checkpoint, found)
    assert knobs['field_delay'] == [2, 2]
    assert knobs['field_gain'][1] == 1.0


def test_other_images_are_no_go_until_the_model_is_adapted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, run = recorded(folder, *LOOKS.split()), tmp_path / 'adapted'
    assert check(SHIPPED, bag) == 1
    shown = capsys.readouterr().out
    assert re.search(r'NO-GO +images: novelty \d+', shown)
    rare = re.search(r'; ([\d.]+)% of held-out frames are as unusual', shown)
    assert rare
    assert float(rare[1]) < 1
    assert 'smwm adapt RUN --bag BAG' in shown
    assert re.search(r'NO-GO +commands', shown)
    assert smwm(['adapt', str(SHIPPED), '--bag', str(bag), '--out', str(run)]) == 0
    capsys.readouterr()
    assert check(run, bag) == 0
    share = re.search(r'([\d.]+)% of held-out frames are as unusual', capsys.readouterr().out)
    assert share
    assert 20 < float(share[1]) < 80, 'the new images are the usual ones now'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'high': [0.5, 0.8]}, 'the limits of twist.linear.y are -0.5 to 0.8, and -0.5 to 0.5'),
        ({'low': [-0.6, -0.5]}, 'the limits of twist.linear.x are -0.6 to 0.5'),
        ({'dt': 0.2}, 'robot.dt is 0.2, and 0.1 in training'),
        ({'fields': ['twist.linear.y', 'twist.linear.x']}, 'robot.command.fields is'),
    ],
)
def test_another_robot_is_no_go(
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check(SHIPPED, tmp_path, '--robot', robot_file(tmp_path, **changes)) == 1
    shown = capsys.readouterr().out
    assert re.search(rf'NO-GO +robot: .*{re.escape(words)}', shown)


def test_a_robot_that_converts_images_otherwise_is_no_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load(SHIPPED)
    camera = replace(made.robot.camera, decoder='cv_bridge')
    run = tmp_path / 'run'
    save(run, made._replace(robot=replace(made.robot, camera=camera)))
    assert check(run, tmp_path, '--robot', robot_file(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert 'NO-GO  robot: robot.camera.decoder is own, and cv_bridge in training' in shown


def test_narrower_limits_fit(folder: Path, tmp_path: Path) -> None:
    bag = recorded(folder, 'randomise.latency=[2,2]')
    assert check(SHIPPED, bag, '--robot', robot_file(tmp_path, 0.2, high=[0.1, 0.1])) == 0


def test_a_recording_of_another_robot_is_no_go(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(SHIPPED, recorded(folder, 'arena.length=20', arena='reacher')) == 1
    shown = capsys.readouterr().out
    assert "NO-GO  topics: no topic '/cmd_vel' (robot.command.topic); of type geometry" in shown
    assert 'there are /camera/image_raw, /joint_commands, ' in shown


def test_images_without_commands_are_checked_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, made = recorded(folder, 'randomise.latency=[2,2]'), tmp_path / 'data'
    assert smwm(['convert', str(bag), '--out', str(made), '--config', 'two_room']) == 0
    frames = list(TransitionDataset.open(made).pixels(np.arange(300)))
    failed = check(SHIPPED, write_video(tmp_path / 'clip.mp4', frames))
    shown = capsys.readouterr().out
    # The compression of a video is a look of its own.
    assert failed == ('NO-GO  images: novelty' in shown)
    assert 'images: novelty' in shown
    assert 'commands: none, so nothing was checked' in shown


def test_commands_that_never_change_or_come_at_another_time_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = make_arena('two_room')
    places = [frames.sample(np.random.default_rng(seed)) for seed in range(40)]
    robot = load_config('two_room').robot
    for name, later in (('same', 0), ('apart', 100 * 10**9)):
        with BagWriter(tmp_path / name, robot) as writer:
            for tick, place in enumerate(places):
                stamp = 10**18 + tick * 10**8
                writer.write_image(frames.set_state(place).pixels, stamp, [stamp])
                writer.write_state(place, stamp, [stamp])
                writer.write_command(np.array([0.1, 0.0]), stamp + later, [stamp + later])
    frames.close()
    check(SHIPPED, tmp_path / 'same')
    shown = capsys.readouterr().out
    assert 'go     commands: they hardly vary, so nothing was checked' in shown
    assert '-> drive the robot by hand meanwhile' in shown
    assert check(SHIPPED, tmp_path / 'apart') == 1
    shown = capsys.readouterr().out
    assert 'NO-GO  commands: 40 commands, but none while images came' in shown
    assert '-> record camera and commands at the same time' in shown
