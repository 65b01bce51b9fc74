# SPDX-License-Identifier: Apache-2.0
"""A dataset gives back what was written, and no transition crosses an episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from smwm_ros.config import Dataset, Robot
from smwm_ros.data.dataset import TransitionDataset, write_index
from smwm_ros.data.shards import columns, ShardWriter
from smwm_ros.errors import DatasetError
from smwm_ros.load import to_dict

SIZE = 16


def write_shard(folder: Path, lengths: list[int], first: int = 0) -> None:
    """Write episodes whose pixels, actions and states all encode the row, counted from first."""
    total = sum(lengths)
    rows = np.arange(first, first + total)
    stops = np.cumsum(lengths).tolist()
    with ShardWriter(folder, columns(SIZE, 2, 1)) as writer:
        for chunk in np.array_split(np.arange(total), 3):
            number = rows[chunk]
            writer.append(
                pixels=np.broadcast_to(
                    number[:, None, None, None] % 256, (len(chunk), SIZE, SIZE, 3)
                ),
                action=np.stack([number, -number], 1),
                state=number[:, None] / 10,
                episode=np.searchsorted(stops, chunk, side='right'),
                stamp=number * 10**8,
            )
        spans = list(zip([0, *stops[:-1]], stops, strict=True))
        writer.publish({'episodes': spans, 'dropped': {'no frame': 3}})


def make(folder: Path, shards: list[list[int]], **knobs: object) -> Path:
    """Write a whole dataset of shards of episodes of the given lengths."""
    robot = to_dict(Robot())
    robot['state'] = {'topic': '/odom', 'type': '', 'fields': ['pose.pose.position.x']}
    first = 0
    for number, lengths in enumerate(shards):
        write_shard(folder / 'shards' / f'bag{number}', lengths, first)
        first += sum(lengths)
    names = [f'bag{number}' for number in range(len(shards))]
    settings = to_dict(Dataset(image_size=SIZE, **knobs))  # type: ignore[arg-type]
    write_index(folder, robot, settings, names, {})
    return folder


def test_rows_come_back_as_written_from_all_shards(tmp_path: Path) -> None:
    data = TransitionDataset.open(make(tmp_path, [[12, 7], [30], [9]]))
    rows = np.random.default_rng(0).permutation(58)
    for _ in range(2):  # from the memory map, then from memory
        assert (data.pixels(rows)[:, 3, 5, 1] == rows).all()
        assert (data.actions(rows) == np.stack([rows, -rows], 1)).all()
        assert np.allclose(data.states(rows)[:, 0], rows / 10)
        assert (data.stamps[rows] == rows * 10**8).all()
        data.load_pixels()


@pytest.mark.parametrize('ticks', [1, 5, 8, None])
def test_no_transition_crosses_an_episode_and_none_is_left_out(
    tmp_path: Path, ticks: int | None
) -> None:
    data = TransitionDataset.open(make(tmp_path, [[12, 7], [30, 3], [9]]))
    reach = 5 if ticks is None else ticks
    owner = np.zeros(61, int)
    for number, episode in enumerate(data.episodes):
        owner[episode.start : episode.stop] = number
    expected = [row for row in range(61 - reach) if owner[row] == owner[row + reach]]
    assert data.starts('all', ticks).tolist() == expected
    both = np.concatenate([data.starts('train', ticks), data.starts('val', ticks)])
    assert sorted(both) == expected


def test_a_sequence_holds_the_frames_at_block_boundaries_and_all_actions_between(
    tmp_path: Path,
) -> None:
    data = TransitionDataset.open(make(tmp_path, [[40], [40]], action_block=3))
    starts = data.starts('all', 3 * 4)
    pixels, states, actions = data.sequence(starts, 4)
    rows = starts[:, None] + 3 * np.arange(5)
    assert (pixels[..., 0, 0, 0] == rows).all()
    assert np.allclose(states[..., 0], rows / 10)
    ticks = starts[:, None, None] + np.arange(12).reshape(4, 3)
    assert (actions == np.stack([ticks, -ticks], -1).reshape(len(starts), 4, 6)).all()


def test_the_split_is_by_episode_and_follows_the_seed(tmp_path: Path) -> None:
    lengths = [[10] * 20, [10] * 20]
    splits = list[list[str]]()
    for seed in (0, 0, 1):
        folder = make(tmp_path / str(len(splits)), lengths, val_share=0.25, seed=seed)
        splits.append([episode.split for episode in TransitionDataset.open(folder).episodes])
    assert splits[0] == splits[1] != splits[2]
    assert splits[0].count('val') == 10


@pytest.mark.parametrize(
    ('episodes', 'share', 'held_out'), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.9, 1), (5, 0.0, 0)]
)
def test_training_and_held_out_episodes_are_never_used_up(
    tmp_path: Path, episodes: int, share: float, held_out: int
) -> None:
    data = TransitionDataset.open(make(tmp_path, [[10] * episodes], val_share=share))
    assert [episode.split for episode in data.episodes].count('val') == held_out


@pytest.mark.parametrize('shards', [[[400]], [[1000, 90]], [[90, 3000], [700]], [[18_000]]])
@pytest.mark.parametrize('share', [0.05, 0.1, 0.4])
def test_long_drives_are_cut_such_that_the_share_of_the_ticks_is_held_out(
    tmp_path: Path, shards: list[list[int]], share: float
) -> None:
    data = TransitionDataset.open(make(tmp_path, shards, val_share=share))
    held_out = [e for e in data.episodes if e.split == 'val']
    ticks = sum(e.stop - e.start for e in held_out)
    total = sum(map(sum, shards))
    shortest = min(e.stop - e.start for e in held_out)
    assert abs(ticks - share * total) <= max(shortest / 2, 1)
    assert min(e.stop - e.start for e in data.episodes) > data.info.action_block
    lengths = [length for shard in shards for length in shard]
    assert [drive.stop - drive.start for drive in data.drives] == lengths
    assert len(data.starts('all')) == total - 5 * len(lengths)


def test_half_a_second_lies_between_what_is_held_out_and_what_is_learnt_from(
    tmp_path: Path,
) -> None:
    for block in (1, 5, 8):
        folder = make(tmp_path / str(block), [[4000]], action_block=block)
        data = TransitionDataset.open(folder)
        rows = {
            split: np.concatenate(
                [np.arange(e.start, e.stop) for e in data.episodes if e.split == split]
            )
            for split in ('train', 'val')
        }
        apart = np.abs(rows['train'][:, None] - rows['val']).min()
        assert apart == max(block, 5) + 1


def test_statistics_are_of_training_rows_and_never_zero(tmp_path: Path) -> None:
    data = TransitionDataset.open(make(tmp_path, [[50, 20], [30]], val_share=0.4))
    rows = np.concatenate(
        [np.arange(e.start, e.stop) for e in data.episodes if e.split == 'train']
    )
    mean, std = data.action_scaler()
    assert np.allclose(mean, [rows.mean(), -rows.mean()])
    assert np.allclose(std, rows.std())
    data._actions.values[:] = 7.0
    assert (data.action_scaler().std > 0).all()


def test_columns_are_plain_npy_files(tmp_path: Path) -> None:
    folder = make(tmp_path, [[12, 7]]) / 'shards' / 'bag0'
    pixels = np.load(folder / 'pixels.npy', mmap_mode='r')
    assert pixels.shape == (19, SIZE, SIZE, 3)
    assert np.load(folder / 'episode.npy').tolist() == [0] * 12 + [1] * 7


def test_the_fingerprint_follows_contents_and_configuration(tmp_path: Path) -> None:
    made = [
        make(tmp_path / 'a', [[12, 7]]),
        make(tmp_path / 'b', [[12, 7]]),
        make(tmp_path / 'c', [[12, 8]]),
        make(tmp_path / 'd', [[12, 7]], seed=3),
    ]
    first, same, longer, seeded = (TransitionDataset.open(path).fingerprint for path in made)
    assert first == same
    assert len({first, longer, seeded}) == 3


def test_a_writer_that_fails_leaves_what_was_there_before(tmp_path: Path) -> None:
    data = make(tmp_path, [[12]])
    before = TransitionDataset.open(data).fingerprint
    with (
        pytest.raises(OSError, match='disk full'),
        ShardWriter(data / 'shards' / 'bag0', columns(SIZE, 2, 1)),
    ):
        raise OSError('disk full')
    assert TransitionDataset.open(data).fingerprint == before
    assert sorted(path.name for path in (data / 'shards').iterdir()) == ['bag0']


def test_rows_of_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    with (
        ShardWriter(tmp_path / 'bag', columns(SIZE, 2, 0)) as writer,
        pytest.raises(DatasetError, match=r'action have shape \(1, 3\), expected \(1, 2\)'),
    ):
        writer.append(
            pixels=np.zeros((1, SIZE, SIZE, 3)),
            action=np.zeros((1, 3)),
            state=np.zeros((1, 0)),
            episode=np.zeros(1),
            stamp=np.zeros(1),
        )


def test_what_is_no_dataset_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='no such dataset; make one: smwm convert'):
        TransitionDataset.open(tmp_path / 'nothing')
    with pytest.raises(DatasetError, match=r'it has no dataset\.json'):
        TransitionDataset.open(tmp_path)
    folder = make(tmp_path / 'data', [[12]])
    (folder / 'dataset.json').rename(folder / 'kept')
    with pytest.raises(DatasetError, match='interrupted; run smwm convert again'):
        TransitionDataset.open(folder)
    (folder / 'dataset.json').write_text('{"format": 99}')
    with pytest.raises(DatasetError, match=r'format 99 is newer .*; update smwm_ros'):
        TransitionDataset.open(folder)
    (folder / 'dataset.json').write_text('{')
    with pytest.raises(DatasetError, match='not valid JSON'):
        TransitionDataset.open(folder)


def test_a_cut_column_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path, [[12]])
    column = folder / 'shards' / 'bag0' / 'pixels.npy'
    column.write_bytes(column.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r'pixels\.npy: missing or damaged'):
        TransitionDataset.open(folder)


def test_zero_transitions_say_why_and_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='no transitions; 9 ticks kept; 6 dropped: no frame'):
        TransitionDataset.open(make(tmp_path / 'short', [[5], [4]]))
    data = TransitionDataset.open(make(tmp_path / 'long', [[12]]))
    with pytest.raises(DatasetError, match='valid: train, val, all'):
        data.starts('test')
