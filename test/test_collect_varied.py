# SPDX-License-Identifier: Apache-2.0
"""What was drawn for an arena that varies is in the bag, at the start of each episode."""

import json

from contract import equal
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from smwm_ros.arenas import arena_of
from smwm_ros.arenas.vary import RandomisedArena
from smwm_ros.cli import main
from smwm_ros.collect.record import begin_episode, DRAWN_TOPIC
from smwm_ros.load import load_config

WORDS = ['arena.episodes=3', 'arena.length=12', 'arena.image_size=16', 'arena.seed=4']
VARIED = [*WORDS, 'randomise.usual=true', 'arena.distractors=2']


def read(folder, topic):
    """Return receive times and messages of one topic of the first bag."""
    with AnyReader([folder / 'two_room_0000']) as reader:
        return [
            (received, reader.deserialize(data, connection.msgtype))
            for connection, received, data in reader.messages()
            if connection.topic == topic
        ]


def collect(folder, words):
    """Collect in one process."""
    assert main(['collect', 'two_room', '--out', str(folder), '--jobs', '1', *words]) == 0
    return (folder / 'two_room_0000' / 'two_room_0000.mcap').read_bytes()


@pytest.fixture(scope='module')
def varied(tmp_path_factory):
    """Return a folder of bags in which every episode is different."""
    folder = tmp_path_factory.mktemp('collected') / 'varied'
    collect(folder, VARIED)
    return folder


def test_drawn_values_are_recorded_as_each_episode_begins(varied):
    notes = [(time, json.loads(message.data)) for time, message in read(varied, DRAWN_TOPIC)]
    config = load_config('two_room', VARIED)
    arena = arena_of(config)
    assert isinstance(arena, RandomisedArena)
    images = [time for time, _ in read(varied, '/camera/image_raw')]
    for episode, (time, drawn) in enumerate(notes):
        begin_episode(config.arena, arena, episode)
        assert drawn == {'episode': episode, **arena.drawn()}
        assert time == images[13 * episode]
    assert len(notes) == 3
    arena.close()


def test_recorded_frames_are_those_that_the_arena_showed(varied):
    config = load_config('two_room', VARIED)
    arena = arena_of(config)
    images = [message for _, message in read(varied, '/camera/image_raw')]
    states = [message.pose.pose.position for _, message in read(varied, '/odom')]
    frame, actions = begin_episode(config.arena, arena, 1)
    for step in range(12):
        seen = frame._replace(
            pixels=images[13 + step].data.reshape(16, 16, 3),
            state=np.array([states[13 + step].x, states[13 + step].y], np.float32),
        )
        assert equal(frame, seen)
        frame = arena.step(next(actions))
    arena.close()


def test_a_seed_gives_the_same_bytes_and_defaults_record_no_draws(varied, tmp_path):
    name = 'two_room_0000'
    again = collect(tmp_path / 'again', VARIED)
    assert (varied / name / f'{name}.mcap').read_bytes() == again
    assert collect(tmp_path / 'plain', WORDS) != again
    assert read(tmp_path / 'plain', DRAWN_TOPIC) == []


def test_bags_of_other_ranges_are_not_mixed(varied, capsys):
    words = ['collect', 'two_room', '--out', str(varied), *VARIED, 'randomise.gain=[0.5,0.6]']
    assert main(words) == 2
    assert 'randomise.gain=[1.0, 1.0] there, [0.5, 0.6] requested' in capsys.readouterr().err
