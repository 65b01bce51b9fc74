# SPDX-License-Identifier: Apache-2.0
"""The converter against recordings of which it is known what really happened."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
import pytest
from recordings import contents
from rosbags.highlevel import AnyReader
from smwm_ros.bags.converting.convert import convert
from smwm_ros.bags.reading.clock import choose_clock, Stamps
from smwm_ros.bags.reading.find import find_bags
from smwm_ros.bags.survey.survey import survey
from smwm_ros.cli import main
from smwm_ros.codec.images import to_rgb
from smwm_ros.collect.record import TRUTH_TOPIC
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.load import load_config

SMALL = ['arena.length=60', 'arena.image_size=32', '--episodes=2', '--policy=random', '--jobs=1']
CAMERA, COMMAND = '/camera/image_raw', '/cmd_vel'


class Case(NamedTuple):
    """A recording, what was made of it, and what really happened."""

    bag: Path
    data: TransitionDataset
    meta: dict[str, Any]
    truth: list[dict[str, Any]]  # of each episode

    def lags(self) -> NDArray[Any]:
        """
        Return how much later than its frame was true the action of each row began to act [ms].

        The last row of an episode is left out: no transition begins there.
        """
        seen: dict[bytes, list[int]] = {}
        with AnyReader([self.bag]) as reader:
            true = {
                received: instant
                for episode in self.truth
                for instant, received in zip(
                    episode['camera']['true'], episode['camera']['received'], strict=True
                )
            }
            wanted = [item for item in reader.connections if item.topic == CAMERA]
            for connection, received, raw in reader.messages(wanted):
                if received in true:  # the first of two that are the same
                    rgb = to_rgb(reader.deserialize(raw, connection.msgtype))
                    seen.setdefault(rgb.tobytes(), []).append(true[received])
        began: dict[bytes, list[int]] = {}
        for episode in self.truth:
            for tick, action in enumerate(episode['actions']):
                instant = episode['begin'] + tick * episode['period']
                began.setdefault(np.float32(action).tobytes(), []).append(instant)
        rows = np.concatenate([range(item.start, item.stop - 1) for item in self.data.episodes])
        frames, actions = self.data.pixels(rows), self.data.actions(rows)
        return np.array(
            [
                min((a - f for f in seen[x.tobytes()] for a in began[u.tobytes()]), key=abs) / 1e6
                for x, u in zip(frames, actions, strict=True)
            ]
        )

    def total(self, topic: str, what: str) -> int:
        """Return how many samples of a topic had a mishap."""
        return sum(len(episode[topic][what]) for episode in self.truth)


Make = Callable[..., Case]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return what collects with some words, and converts with others."""

    def case(*words: str, convert_with: tuple[str, ...] = (), seed: int = 0) -> Case:
        out = tmp_path / f'bags {seed} {" ".join(words)}'.replace('/', ' ')
        knobs = [f'record.{word}' if not word.startswith('-') else word for word in words]
        assert main(['collect', f'--out={out}', *SMALL, *knobs, f'arena.seed={seed}']) == 0
        bag = out / 'two_room_0000'
        config = load_config('two_room', ['dataset.image_size=32', *convert_with])
        data = convert([bag], tmp_path / f'data {out.name}', config).dataset
        return Case(bag, data, data.metas[bag.name], truth_of(bag))

    return case


def truth_of(bag: Path) -> list[dict[str, Any]]:
    """Read what really happened in each episode of a bag."""
    with AnyReader([bag]) as reader:
        wanted = [item for item in reader.connections if item.topic == TRUTH_TOPIC]
        messages: list[Any] = [
            reader.deserialize(raw, item.msgtype)
            for item, _, raw in (reader.messages(wanted) if wanted else ())
        ]
        return [json.loads(message.data) for message in messages]


LATE = ('dataset.command_delay=0.08',)


@pytest.mark.parametrize(
    ('words', 'knobs', 'base'),
    [
        (['camera_rate=30'], (), 'header'),
        (['camera_rate=20', 'state_rate=50'], (), 'header'),
        (['command_rate=50'], (), 'header'),
        (['command_rate=4', 'command_phase=0.05'], (), 'header'),
        (['command_jitter=0.04', 'command_phase=0.05'], (), 'header'),
        (['camera_latency=0.08'], (), 'header'),  # headers make up for it
        (['camera_latency=0.08', 'camera_stamp=zero'], LATE, 'receive'),
        (['camera_latency=0.08', 'camera_stamp=received'], LATE, 'header'),
        (['command_latency=0.25'], ('dataset.command_delay=0.25',), 'header'),
        (['command_stamp=zero'], (), 'receive'),
        (['camera_offset=0.2'], (), 'receive'),
        (['camera_offset=-100'], (), 'receive'),
        (['camera_offset=-0.2'], ('dataset.time=receive',), 'receive'),
        (['camera_drift=0.001', 'command_phase=0.05'], (), 'header'),
        (['repeated=0.2'], (), 'header'),
        (['overtaken=0.03'], ('dataset.min_length=2',), 'header'),
        (['pauses=1', 'pause=1.5'], ('dataset.min_length=2',), 'header'),
        (['camera_loss=0.1'], ('dataset.min_length=2',), 'header'),
        (['--storage=sqlite3', 'camera_rate=30', 'camera_latency=0.05'], (), 'header'),
    ],
)  # fmt: skip
def test_each_frame_gets_the_action_that_acted_upon_it(
    make: Make, words: list[str], knobs: tuple[str, ...], base: str
) -> None:
    case = make(*words, convert_with=knobs)
    lags = case.lags()
    assert (lags == 0).all()
    assert case.meta['time']['base'] == base, case.meta['time']['why']


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('jitter', [0.01, 0.02])
@pytest.mark.parametrize('phase', [0.001, 0.05])
def test_jittering_frames_are_shown_once_with_the_action_that_acted_upon_them(
    make: Make, seed: int, jitter: float, phase: float
) -> None:
    case = make(f'camera_jitter={jitter}', f'command_phase={phase}', seed=seed)
    assert np.abs(case.lags()).max() <= jitter * 1e3
    assert case.meta['counts']['frames shown again'] == 0
    assert len(case.data) >= 2 * 60


@pytest.mark.parametrize('rate', [7.0, 30.0])
def test_rates_are_found(make: Make, rate: float) -> None:
    words = [f'camera_rate={rate}', f'command_rate={2 * rate}', 'camera_latency=0.05']
    case = make(*words, '--episodes=1')
    assert case.meta['frame_period'] == pytest.approx(1 / rate, rel=1e-6)
    topics = {topic['name']: topic for topic in survey(find_bags([case.bag])[0])['topics']}
    assert topics[CAMERA]['rate'] == pytest.approx(rate, rel=0.02)
    assert topics[COMMAND]['rate'] == pytest.approx(2 * rate, rel=0.03)
    assert case.meta['counts'][COMMAND] == len(case.truth[0]['command']['true'])


@pytest.mark.parametrize(
    ('word', 'offset', 'drift'),
    [
        ('camera_latency=0.08', -0.08, 0.0),
        ('camera_offset=-0.2', -0.2, 0.0),
        ('camera_offset=250', 250.0, 0.0),
        ('camera_drift=0.005', 0.0425, 0.085),  # 17 s of recording
    ],
)
def test_clocks_are_reported(make: Make, word: str, offset: float, drift: float) -> None:
    case = make(word)
    topics = {topic['name']: topic for topic in survey(find_bags([case.bag])[0])['topics']}
    assert topics[CAMERA]['header']['offset'] == pytest.approx(offset, abs=0.02)
    assert topics[CAMERA]['header']['drift'] == pytest.approx(drift, abs=0.02)
    assert topics[COMMAND]['header']['offset'] == topics[COMMAND]['header']['drift'] == 0.0


@pytest.mark.parametrize(
    ('camera', 'command', 'base'),
    [
        (0.30, 0.25, 'header'),  # the robot's clock is ahead of the recorder's
        (0.05, -0.02, 'header'),
        (-0.30, 0.00, 'header'),  # a latency
        (0.20, 0.00, 'receive'),
        (0.00, 0.20, 'receive'),
    ],
)
def test_a_clock_in_the_future_of_recorder_and_of_another_is_not_gone_by(
    camera: float, command: float, base: str
) -> None:
    received = 10**9 * np.arange(1000, 1016)
    ahead = {CAMERA: camera, COMMAND: command}
    stamps = {
        topic: Stamps(received + round(offset * 1e9), received) for topic, offset in ahead.items()
    }
    assert choose_clock('auto', stamps).base == base
    assert choose_clock('header', stamps).base == 'header', 'the user may know better'


def test_a_lost_command_leaves_the_one_before_and_is_counted(make: Make) -> None:
    case = make('command_loss=0.1')
    lags, lost = case.lags(), case.total('command', 'lost')
    assert lost > 5
    assert (lags <= 0).all()
    assert int((lags < 0).sum()) == lost
    assert case.meta['counts']['actions held'] == lost + 2, 'and the last tick of each episode'
    assert case.meta['counts'][COMMAND] == 2 * 60 - lost


def test_lost_frames_cut_and_nothing_crosses(make: Make) -> None:
    case = make('camera_loss=0.1', convert_with=('dataset.min_length=2',))
    holes = 1  # between the two episodes
    for episode in case.truth:
        lost = set(episode['camera']['lost'])
        inner = range(min(set(range(61)) - lost), max(set(range(61)) - lost))
        holes += sum(index in lost and index - 1 not in lost for index in inner)
    assert case.meta['counts']['gaps between frames'] == holes
    for part in case.data.episodes:
        assert (np.diff(case.data.stamps[part.start : part.stop]) == 10**8).all()


def test_pauses_of_the_recorder_cut_and_leave_no_rows(make: Make) -> None:
    case = make('pauses=1', 'pause=1.5', convert_with=('dataset.min_length=2',))
    assert case.meta['counts']['gaps between frames'] == 3
    for episode in case.truth:
        ((low, high),) = episode['pauses']
        assert not ((case.data.stamps >= low) & (case.data.stamps < high)).any()


def test_what_is_recorded_twice_or_too_late_is_counted(make: Make) -> None:
    case = make('repeated=0.2')
    repeated = case.total('camera', 'repeated')
    assert case.meta['counts']['frames with a repeated stamp'] == repeated > 10
    case = make('overtaken=0.05', convert_with=('dataset.max_frame_age=0.25',))
    overtaken = case.total('camera', 'overtaken')
    assert case.meta['counts']['frames out of order'] == overtaken > 1
    assert case.meta['counts']['frames shown again'] == overtaken


def test_a_perfect_recording_says_nothing_of_itself(make: Make) -> None:
    case = make('--storage=sqlite3')
    assert case.truth == []
    assert len(case.data) == 2 * 61


def test_what_goes_wrong_follows_from_the_seed_and_from_its_own_knob_alone(make: Make) -> None:
    words = ['camera_loss=0.1', 'camera_jitter=0.01', 'repeated=0.1']
    case = make(*words)
    again = make(*words, 'storage=mcap')
    assert contents(case.bag) == contents(again.bag)
    other = make(*words, 'command_loss=0.2', 'pauses=0')
    assert other.truth[0]['camera'] == case.truth[0]['camera']
    assert other.truth[0]['command'] != case.truth[0]['command']
    assert make(*words, seed=1).truth[0]['camera'] != case.truth[0]['camera']


def test_how_it_is_recorded_does_not_change_what_the_robot_does(make: Make) -> None:
    plain = make('command_loss=0.01')
    busy = make('camera_rate=25', 'state_rate=40', 'camera_jitter=0.005')
    for one, other in zip(plain.truth, busy.truth, strict=True):
        assert one['states'] == other['states']
        assert one['actions'] == other['actions']
