# SPDX-License-Identifier: Apache-2.0
"""One configuration for all bags of a robot, written to a file that convert takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import image, MakeBag, TinyBag
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.survey.delay import best_lag
from smwm_ros.cli import main
from smwm_ros.load import load_config
from videos import numbered, write_video

Capture = pytest.CaptureFixture[str]


def drive(path: Path, most: float, turns: bool = True) -> Path:
    """Write a bag of commands between zero and a speed."""
    bag = TinyBag(path)
    for tick in range(60):
        bag.frame(tick)
        bag.command(tick + 0.1, value=most * abs(np.sin(tick / 7)) if turns else most)
    return bag.close()


def test_one_configuration_is_written_for_all_bags_with_the_widest_limits(
    tmp_path: Path, capsys: Capture
) -> None:
    bags = [drive(tmp_path / 'bags' / f'{speed:g}', speed) for speed in (0.5, 2.0, 1.0)]
    out = tmp_path / 'robot.yaml'
    assert main(['inspect', str(tmp_path / 'bags'), '--write', str(out)]) == 0
    assert 'configuration proposed from 3 bags' in capsys.readouterr().out
    config = load_config(out, ['dataset.image_size=16'])
    assert config.robot.command.fields == ('twist.linear.x', 'twist.angular.z')
    assert config.robot.command.high[0] == pytest.approx(2.0, abs=0.02)
    assert config.robot.command.low[1] == pytest.approx(-2.0, abs=0.02)
    data = convert(bags, tmp_path / 'out', config).dataset
    assert sum(meta['counts']['actions beyond the limits'] for meta in data.metas.values()) == 0


def test_one_bag_is_no_bags(tmp_path: Path, tiny_bag: MakeBag, capsys: Capture) -> None:
    strip, out = tmp_path / 'strip.png', tmp_path / 'robot.yaml'
    words = ['inspect', str(tiny_bag()), '--write', str(out), '--thumbnails', str(strip)]
    assert main(words) == 0
    assert out.read_text().startswith('# proposed from 1 bag: ')
    said = capsys.readouterr().out
    assert 'configuration proposed from 1 bag;' in said
    assert 'frames of 1 bag,' in said


def test_a_file_that_is_there_is_not_written_over(
    tmp_path: Path, tiny_bag: MakeBag, capsys: Capture
) -> None:
    (tmp_path / 'robot.yaml').write_text('mine')
    words = ['inspect', str(tiny_bag()), '--write', str(tmp_path / 'robot.yaml')]
    assert main(words) == 2
    assert 'robot.yaml: exists already' in capsys.readouterr().err
    assert (tmp_path / 'robot.yaml').read_text() == 'mine'


def test_bags_with_other_topics_are_named_in_the_file(tmp_path: Path) -> None:
    for name in 'ab':
        drive(tmp_path / 'bags' / name, 1.0)
    bag = TinyBag(tmp_path / 'bags' / 'other')
    for tick in range(40):
        bag.send('/rear', image(np.full((16, 20, 3), tick)), tick)
        bag.command(tick)
    bag.close()
    out = tmp_path / 'robot.yaml'
    assert main(['inspect', str(tmp_path / 'bags'), '--write', str(out)]) == 0
    assert (
        f'# this configuration does not fit {tmp_path / "bags" / "other"}: the topics differ'
        in out.read_text()
    )
    assert load_config(out).robot.camera.topic == '/camera/image_raw'


def moved(delay: float, noise: float = 0.0, end: float = 60.0) -> tuple[Any, ...]:
    """Make commands at 20 Hz, and how much pictures at 30 Hz change that follow them."""
    rng = np.random.default_rng(0)
    stamps = np.arange(0, end, 0.05)
    strength = np.repeat(rng.uniform(0, 1, len(stamps) // 20 + 1), 20)[: len(stamps)]
    frames = np.arange(0, end, 1 / 30)
    middle = (frames[1:] + frames[:-1]) / 2 - delay
    held = strength[np.clip(np.searchsorted(stamps, middle, side='right') - 1, 0, None)]
    return stamps, strength, frames[:-1], frames[1:], held + noise * rng.normal(size=len(held))


@pytest.mark.parametrize('delay', [0.0, 0.08, 0.3])
def test_the_delay_of_a_robot_is_found_where_pictures_follow_commands(delay: float) -> None:
    assert best_lag(*moved(delay, noise=0.1)) == pytest.approx(delay, abs=0.021)


def test_no_delay_is_given_where_pictures_do_not_follow_commands() -> None:
    assert best_lag(*moved(0.1, noise=5.0)) is None
    stamps, strength, begin, end, changes = moved(0.1)
    assert best_lag(stamps, np.ones_like(strength), begin, end, changes) is None
    half = len(changes) // 2
    other = moved(0.4)[-1]
    mixed = np.append(changes[:half], other[half:])
    assert best_lag(stamps, strength, begin, end, mixed) is None


def test_the_delay_is_proposed_or_said_to_be_unknown(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    bag, place, late = TinyBag(tmp_path / 'bag'), 0.0, [0.0] * 2
    for number in range(400):  # twice in a tick; the robot obeys one tick later
        if number % 10 == 0:
            speed = rng.uniform(0, 1)
        bag.command(number / 2 + 0.01, value=speed)
        place += late.pop(0)
        late.append(speed)
        row = np.clip(np.arange(160) - 8 * place % 160, 0, 1) * 200
        bag.send('/camera/image_raw', image(np.tile(row[None, :, None], (16, 1, 3))), number / 2)
    assert main(['inspect', str(bag.close())]) == 0
    said = capsys.readouterr().out
    assert ('the image changes about' in said) != ('cannot be estimated' in said)
    still = drive(tmp_path / 'still', 1.0)
    assert main(['inspect', str(still)]) == 0
    assert 'cannot be estimated from this bag' in capsys.readouterr().out


def film(path: Path, topic: str = '/camera/image_raw') -> Path:
    """Write a bag of a camera only."""
    bag = TinyBag(path)
    for tick in range(30):
        bag.send(topic, image(np.full((16, 20, 3), 8 * tick)), tick)
    return bag.close()


def test_a_bag_without_commands_gets_a_configuration_that_converts_it(
    tmp_path: Path, capsys: Capture
) -> None:
    bags, out = [film(tmp_path / 'bags' / f'film_{n}') for n in (1, 2)], tmp_path / 'robot.yaml'
    assert main(['inspect', str(tmp_path / 'bags'), '--write', str(out)]) == 0
    assert out.read_text().count('dataset.action=none: there are no commands. Next, learn an') == 1
    assert 'no command topic found' in capsys.readouterr().out
    config = load_config(out, ['dataset.image_size=16'])
    assert config.dataset.action == 'none'
    data = convert(bags, tmp_path / 'out', config).dataset
    assert (
        sum(meta['counts']['ticks without a known action'] for meta in data.metas.values()) == 60
    )


def test_bags_without_commands_are_converted_beside_others(
    tmp_path: Path, capsys: Capture
) -> None:
    folder, out = tmp_path / 'bags', tmp_path / 'robot.yaml'
    drive(folder / 'drive', 1.0)
    write_video(folder / 'clip.mp4', numbered(30))
    film(folder / 'film')
    film(folder / 'other', topic='/ceiling')
    assert main(['inspect', str(folder), '--write', str(out)]) == 0
    said = out.read_text()
    assert '# dataset.after_hold=unknown: there are no commands in ' in said
    assert f'this configuration does not fit {folder / "other"}: the topics differ' in said
    config = load_config(out, ['dataset.image_size=16'])
    assert (config.dataset.after_hold, config.dataset.action) == ('unknown', 'last')
    found = convert([folder], tmp_path / 'out', config, skip=True)
    assert list(found.skipped) == ['other']
    counts = {
        name: meta['rows'] - meta['counts']['ticks without a known action']
        for name, meta in found.dataset.metas.items()
    }
    assert counts == {'clip': 0, 'drive': 60, 'film': 0}


def test_without_a_camera_no_configuration_is_proposed(tmp_path: Path, capsys: Capture) -> None:
    bag = TinyBag(tmp_path / 'bag')
    for tick in range(30):
        bag.command(tick)
    assert main(['inspect', str(bag.close()), '--write', str(tmp_path / 'robot.yaml')]) == 2
    assert 'no configuration can be proposed: no bag has a camera topic' in capsys.readouterr().err
