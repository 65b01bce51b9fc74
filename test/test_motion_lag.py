# SPDX-License-Identifier: Apache-2.0
"""The lag of the motion in the images behind the actions: found where it is clear, or unclear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest
from recordings import contents, image, made, STORE, TinyBag
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.converting.motion_lag import LagFinder
from smwm_ros.bags.writing.blank import new_message
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.describe import describe
from smwm_ros.data.motion_lag import lag_lines
from smwm_ros.load import load_config
from smwm_ros.pages.dataset import contact_sheet

Floats = NDArray[np.float64]
SIDE, TICKS = 32, 400
BOTH = ('robot.command.low=[-9, -9]', 'robot.command.high=[9, 9]')


def smooth(seed: int, ticks: int = TICKS, keep: float = 0.8) -> Floats:
    """Return smooth random commands (ticks, 2)."""
    rng, commands = np.random.default_rng(seed), np.zeros((ticks, 2))
    for tick in range(1, ticks):
        commands[tick] = keep * commands[tick - 1] + 0.6 * rng.standard_normal(2)
    return commands


def late(commands: Floats, ticks: int) -> Floats:
    """Return commands that act some ticks later; the first ones act at once, too."""
    return np.roll(commands, ticks, axis=0)


def spot(x: float, y: float, colour: Any = (255, 255, 255)) -> Floats:
    """Draw a soft spot (SIDE, SIDE, 3), which leaves on one side and comes in on the other."""
    from_x, from_y = ((np.arange(SIDE) - at + SIDE / 2) % SIDE - SIDE / 2 for at in (x, y))
    shade: Floats = np.exp(-(from_x**2 + from_y[:, None] ** 2) / 6)[..., None] * colour
    return shade


def holonomic(speeds: Floats) -> list[Floats]:
    """Show a robot whose velocity along x and y is given [px / tick]."""
    return [spot(x, y) for x, y in np.cumsum(speeds, axis=0) - speeds]


def differential(commands: Floats) -> list[Floats]:
    """Show a robot with a red nose that drives along its heading, and turns."""
    x, y, heading, frames = SIDE / 2, SIDE / 2, 0.0, []
    for speed, turn in commands:
        nose = spot(x + 3 * np.cos(heading), y + 3 * np.sin(heading), (255, 0, 0))
        frames.append(np.minimum(spot(x, y, (60, 120, 255)) + nose, 255))
        x, y = x + speed * np.cos(heading), y + speed * np.sin(heading)
        heading += turn / 4
    return frames


def on_board(commands: Floats) -> list[Floats]:
    """Show a scene by a camera on the robot, which moves along two axes."""
    rng = np.random.default_rng(5)
    waves = rng.uniform(-0.3, 0.3, (8, 2))
    colours, phases = rng.uniform(-16, 16, (8, 3)), rng.uniform(0, 6, 8)
    down, across = np.mgrid[:SIDE, :SIDE]
    frames = []
    for x, y in np.cumsum(commands, axis=0) - commands:
        phase = (across + x)[..., None] * waves[:, 0] + (down + y)[..., None] * waves[:, 1]
        frames.append(128 + np.sin(phase + phases) @ colours)
    return frames


def record(path: Path, frames: list[Floats], commands: Floats, later: float = 0.0) -> Path:
    """Write a frame and a command each tick; commands may be stamped later [ticks]."""
    bag = TinyBag(path)
    for tick, (frame, values) in enumerate(zip(frames, commands, strict=True)):
        bag.send('/camera/image_raw', image(np.clip(frame, 0, 255)), tick)
        msg = new_message(STORE, 'geometry_msgs/msg/TwistStamped')
        msg.twist.linear.x, msg.twist.angular.z = values
        bag.send('/cmd_vel', msg, tick + 0.1 + later)
    return bag.close()


def lag_of(tmp_path: Path, bag: Path, *words: str, out: str = 'out') -> dict[str, Any]:
    """Return what the converter finds in a bag."""
    data = made(tmp_path, bag, 'dataset.image_size=32', *BOTH, *words, out=out)
    found: dict[str, Any] = data.metas[bag.name]['lag']
    return found


@pytest.mark.parametrize('robot', [holonomic, differential, on_board])
@pytest.mark.parametrize(('ticks', 'configured'), [(0, 0.0), (2, 0.0), (9, 0.1), (-2, 0.0)])
def test_converted_again_as_proposed_there_is_no_lag(
    tmp_path: Path, robot: Callable[[Floats], list[Floats]], ticks: int, configured: float
) -> None:
    commands = smooth(4)
    bag = record(tmp_path / 'bag', robot(late(commands, ticks)), commands)
    found = lag_of(tmp_path, bag, f'dataset.command_delay={configured}')
    assert found['clear']
    assert found['ticks'] == ticks - round(configured / 0.1)
    assert found['seconds'] == pytest.approx(0.1 * found['ticks'])
    proposed = configured + found['seconds']
    again = lag_of(tmp_path, bag, f'dataset.command_delay={proposed:g}', out='again')
    assert (again['ticks'], again['clear']) == (0, True)
    assert again['r2'] == again['r2_configured'] == pytest.approx(found['r2'], abs=0.05)
    assert found['r2'] > found['r2_configured'] or not found['ticks']


@pytest.mark.parametrize(
    ('arena', 'words', 'ticks'),
    [
        ('two_room', ['record.command_latency=0.2'], 2),
        ('two_room_differential', ['randomise.latency=[3,3]'], 3),
        ('reacher', ['randomise.latency=[3,3]'], 3),
        ('push_t', ['record.command_latency=0.2'], 2),
        ('push_t', [], 0),
    ],
)
def test_the_latency_of_an_arena_is_found(
    tmp_path: Path, arena: str, words: list[str], ticks: int
) -> None:
    size = ['arena.episodes=2', 'arena.length=250', '--policy=mixed', '--jobs=1']
    assert main(['collect', arena, f'--out={tmp_path / "bags"}', *size, *words]) == 0
    data = convert([tmp_path / 'bags'], tmp_path / 'data', load_config(arena)).dataset
    (found,) = [meta['lag'] for meta in data.metas.values()]
    assert (found['ticks'], found['clear']) == (ticks, True)


def slow_lag(commands: Floats) -> Floats:
    """Return velocities that follow commands like a robot with inertia."""
    speeds = np.zeros_like(commands)
    for tick in range(1, len(commands)):
        speeds[tick] = speeds[tick - 1] + 0.3 * (commands[tick] - speeds[tick - 1])
    return speeds


COMMANDS = smooth(3)
STEPS = np.repeat(smooth(4, TICKS // 80), 80, axis=0)  # one command for 8 s


@pytest.mark.parametrize(
    ('frames', 'commands', 'why'),
    [
        (holonomic(COMMANDS)[:100], COMMANDS[:100], 'only 87 ticks within 14 known actions'),
        (holonomic(COMMANDS), np.ones_like(COMMANDS), 'the actions never change'),
        ([spot(9, 9)] * TICKS, COMMANDS, 'the images never change'),
        (holonomic(smooth(4)), COMMANDS, 'does not explain the actions at any lag'),
        (on_board(STEPS), STEPS, 'explain the actions about equally well'),
        (holonomic(slow_lag(COMMANDS)), COMMANDS, 'explain the actions about equally well'),
        (holonomic(late(COMMANDS, 10)), COMMANDS, 'the best lag, 10 ticks, is the last'),
    ],
)
def test_a_lag_that_is_not_clear_is_not_guessed(
    tmp_path: Path, frames: list[Floats], commands: Floats, why: str
) -> None:
    found = lag_of(tmp_path, record(tmp_path / 'bag', frames, commands))
    assert not found['clear']
    assert why in found['why']
    (line,) = lag_lines(TransitionDataset.open(tmp_path / 'out'))
    assert line.startswith('the lag of the motion behind the actions is unclear: ')
    assert 'command_delay' not in line


def test_positions_that_are_commanded_move_a_robot_where_they_change(tmp_path: Path) -> None:
    places = np.cumsum(COMMANDS, axis=0)
    bag = record(tmp_path / 'bag', holonomic(late(COMMANDS, 2)), places)
    found = lag_of(tmp_path, bag, 'robot.command.stop=hold')
    assert (found['ticks'], found['clear']) == (2, True)
    assert found['r2'] > 0.8


def test_fields_that_images_do_not_show_do_not_count(tmp_path: Path) -> None:
    hidden = np.column_stack([COMMANDS[:, 0], smooth(9)[:, 0]])
    found = lag_of(tmp_path, record(tmp_path / 'bag', holonomic(COMMANDS), hidden))
    assert (found['ticks'], found['clear']) == (0, True)
    assert found['r2'] > 0.8


def test_recordings_that_differ_are_named_with_what_to_do(tmp_path: Path) -> None:
    frames, folder = holonomic(COMMANDS), tmp_path / 'bags'
    for name, later in (('friday', 0.0), ('monday', 0.0), ('sunday', 2.0), ('tuesday', 50.0)):
        record(folder / name, frames, COMMANDS, later)
    words = ['dataset.image_size=32', *BOTH]
    data = convert([folder], tmp_path / 'out', load_config(None, words)).dataset
    lines = lag_lines(data)
    assert [line.partition(' (R2')[0] for line in lines] == [
        'the motion does not lag behind the actions in friday, monday',
        'the motion is 2 ticks ahead of the actions in sunday',
        'recordings differ in this lag: check the clocks of sunday (dataset.time)',
        'the lag of the motion behind the actions is unclear in tuesday: the motion in the images '
        'does not explain the actions at any lag',
    ]
    assert lines[1].endswith('): convert these apart with dataset.command_delay=-0.2')
    text, _ = contact_sheet(data, 0)
    for line in lines:
        assert f'  {line}' in describe(data)
        assert line in text


def test_one_lag_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    frames = holonomic(late(COMMANDS, 2))
    data = made(
        tmp_path, record(tmp_path / 'bag', frames, COMMANDS), 'dataset.image_size=32', *BOTH
    )
    (line,) = lag_lines(data)
    assert line.startswith('the motion lags 2 ticks behind the actions (R2 0.9')
    assert line.endswith('): convert again with dataset.command_delay=0.2')
    assert f'  {line}' in describe(data)
    text, _ = contact_sheet(data, 0)
    assert text.count('convert again with') == 1, 'the chart has an estimate of its own'
    assert 'Lag of the motion behind the actions' in text
    assert '<td>bag</td><td>2 (0.2 s)</td>' in text
    del data.metas['bag']['lag']  # converted by an older version
    assert lag_lines(data) == []
    text, _ = contact_sheet(data, 0)
    assert 'Lag of the motion' not in text


def test_a_proposal_counts_from_the_configured_delay(tmp_path: Path) -> None:
    bag = record(tmp_path / 'bag', holonomic(late(COMMANDS, 2)), COMMANDS)
    data = made(tmp_path, bag, 'dataset.image_size=32', 'dataset.command_delay=0.4', *BOTH)
    (line,) = lag_lines(data)
    assert line.startswith('the motion is 2 ticks ahead of the actions (R2 ')
    assert line.endswith('dataset.command_delay=0.2')


@pytest.mark.parametrize('seed', range(10))
def test_unrelated_commands_have_no_clear_lag(seed: int) -> None:
    commands = smooth(seed, 200, keep=0.8 if seed % 2 else 0.98)
    found = finder(holonomic(smooth(seed + 100, 200)), commands).about()['lag']
    assert not found['clear']
    assert found['r2'] < 0.2


def test_the_same_bag_has_the_same_lag_in_any_process(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        record(tmp_path / 'bags' / name, holonomic(COMMANDS), COMMANDS)
    config = load_config(None, ['dataset.image_size=32', *BOTH])
    for jobs in (1, 2):
        convert([tmp_path / 'bags'], tmp_path / f'{jobs}', config, jobs)
    assert contents(tmp_path / '1') == contents(tmp_path / '2')


def finder(frames: list[Floats], actions: Floats, block: int = 256) -> LagFinder:
    """Return a finder that got these rows of one episode, block by block."""
    found = LagFinder(load_config(None, []))
    for first in range(0, len(frames), block):
        part = np.array(frames[first : first + block]).astype(np.uint8)
        found.add(part, actions[first : first + block], np.zeros(len(part), int), first)
    return found


def test_unknown_actions_are_left_out() -> None:
    frames, actions = holonomic(COMMANDS), COMMANDS.copy()
    actions[::100] = np.nan
    found = finder(frames, actions).about()['lag']
    assert (found['ticks'], found['clear']) == (0, True)
    actions[::10] = np.nan
    assert finder(frames, actions).about()['lag']['why'].startswith('only 0 ticks within 14')
    assert finder(frames, np.full_like(actions, np.nan)).about() == {}


@pytest.mark.parametrize('block', [100, 256])
def test_of_a_long_recording_a_bounded_number_of_rows_is_looked_at(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('smwm_ros.bags.converting.motion_lag._MAX_ROWS', 512)
    monkeypatch.setattr('smwm_ros.bags.converting.motion_lag._STRETCH', 64)
    # From row 1,000 on, the motion lags: a finder of the first rows would not notice.
    commands = smooth(6, 3000)
    found = finder(
        holonomic(np.vstack([commands[:500], late(commands, 2)[500:]])), commands, block
    )
    assert len(found._rows) <= 512
    assert found._rows[-1].number > 2500
    lag = found.about()['lag']
    assert (lag['ticks'], lag['clear']) == (2, True)
