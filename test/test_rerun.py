# SPDX-License-Identifier: Apache-2.0
"""A recording for the Rerun viewer holds what the dataset and the replay hold, and no more."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import socket
import subprocess
import sys
import time

from exchanged import LENGTHS, SETTINGS, write_dataset
import numpy as np
import pytest
from recordings import made, TinyBag
from rerun_files import NEEDED, read_rows, series, shown
from smwm_ros.cli import main
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.evaluation.replay import Leg, replay
from smwm_ros.model.checkpoint import load
from smwm_ros.pages.replay_stretch import Stretches
from smwm_ros.planning.frame_bank import decoded
from smwm_ros.planning.frame_bank import load as open_album
from smwm_ros.planning.pilot import Pilot
import torch
from worlds import hide_actions

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / 'models' / 'two_room'
WHOLE = replace(SETTINGS, val_share=0.0)  # no drive is cut to be held out
FIELDS = ('twist.linear.x', 'twist.angular.z')


def view(data: Path, *words: str) -> Path:
    """Write the recording of a dataset."""
    pytest.importorskip('rerun', reason=NEEDED)
    out = data.with_name('view.rrd')
    assert main(['view', str(data), '--to', 'rrd', '--out', str(out), *words]) == 0
    return out


@pytest.mark.parametrize('pixels', ['raw', 'jpeg'])
def test_every_frame_command_and_state_is_shown_at_its_row_and_stamp(
    tmp_path: Path, pixels: str
) -> None:
    source = write_dataset(tmp_path / 'data', settings=replace(WHOLE, pixels=pixels))
    rows = read_rows(view(source))
    data = TransitionDataset.open(source)
    every = np.arange(len(data))
    frames = shown(rows['/camera'])
    assert sorted(row.step for row in frames) == every.tolist()
    stored = data.pixels(every)
    for row in frames:
        assert np.array_equal(row.value, stored[row.step])
        assert row.stamp == data.stamps[row.step]
    for column, field in enumerate(FIELDS):
        curve = rows[f'/command/{field}/recorded']
        assert series(curve) == dict(enumerate(data.actions(every)[:, column].tolist()))
        assert all(row.stamp == data.stamps[row.step] for row in shown(curve))
    limits = data.info.spec
    assert set(series(rows['/command/twist.linear.x/low']).values()) == {limits.low[0]}
    assert set(series(rows['/command/twist.angular.z/high']).values()) == {limits.high[1]}
    state = series(rows['/state/pose.pose.position.y'])
    assert state == dict(enumerate(data.states(every)[:, 1].tolist()))
    path = {row.step: row.value[:2] for row in shown(rows['/path/robot'])}
    assert path == dict(enumerate(data.states(every)[:, :2].tolist()))


def test_recordings_of_the_same_time_have_timelines_of_their_own(tmp_path: Path) -> None:
    rows = read_rows(view(write_dataset(tmp_path / 'data', settings=WHOLE)))
    size = sum(LENGTHS['monday'])
    for row in shown(rows['/camera']):
        assert row.clock == f'robot_time {"monday" if row.step < size else "tuesday"}'


def test_recordings_one_after_the_other_share_the_time_of_the_robot(tmp_path: Path) -> None:
    for name, first in (('one', 0), ('two', 400)):
        bag = TinyBag(tmp_path / 'bags' / name)
        for tick in range(first, first + 40):
            bag.frame(tick)
            bag.command(tick)
        bag.close()
    made(tmp_path, tmp_path / 'bags', out='data')
    rows = read_rows(view(tmp_path / 'data'))
    assert {row.clock for row in rows['/camera']} == {'robot_time'}


def test_no_frame_command_or_state_stays_in_a_gap(tmp_path: Path) -> None:
    unmeasured = [*range(20, 30), 130, 131]
    source = write_dataset(tmp_path / 'data', settings=WHOLE, unmeasured=unmeasured)
    rows = read_rows(view(source))
    data = TransitionDataset.open(source)
    last = LENGTHS['monday'][0] - 1
    end = int(data.stamps[last]) + 100_000_000
    assert int(data.stamps[last + 1]) > end, 'a gap begins'
    for name in ('/camera', '/command', '/path'):
        assert [r for r in rows[name] if r.value is None and r.stamp == end], name
    assert rows['/camera'][-1].value is not None, 'nothing comes after the last one'
    state = rows['/state/pose.pose.position.x']
    assert [row.step for row in state if row.value is None] == [20, 130]
    assert [row.step for row in rows['/path/robot'] if row.value is None] == [20, 130]
    assert not set(series(state)) & set(unmeasured)


def test_an_unknown_command_is_a_gap_in_its_curve(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / 'data', settings=WHOLE)
    hide_actions(source / 'shards' / 'monday', np.arange(50, 60))
    rows = read_rows(view(source))['/command/twist.linear.x/recorded']
    assert not set(series(rows)) & set(range(50, 60))
    assert [row.step for row in rows if row.value is None] == [50]


def test_episodes_notes_and_losses_are_in_the_log(tmp_path: Path) -> None:
    rows = read_rows(view(write_dataset(tmp_path / 'data', settings=WHOLE)))
    lines = [(row.step, row.value) for row in rows['/log']]
    assert (0, 'Episode 0, for training: monday, 0 to 13.0 s, rows 0 to 129') in lines
    assert (130, 'Episode 1, for training: monday, 13.9 to 15.1 s, rows 130 to 141') in lines
    assert (0, 'monday: 60 % of the file could be read') in lines
    assert (142, 'tuesday: 3 dropped: no command was heard in time') in lines
    assert series(rows['/episode'])[141] == 1.0


def test_a_sample_of_the_episodes_is_written_and_replaces_an_older_file(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / 'data', settings=WHOLE)
    view(source)
    rows = read_rows(view(source, '--episodes', '1'))
    assert [row.step for row in shown(rows['/camera'])] == list(range(130))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'view.rrd']


def test_a_damaged_frame_is_an_error_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    source = write_dataset(tmp_path / 'data', settings=replace(WHOLE, pixels='jpeg'))
    column = source / 'shards' / 'tuesday' / 'pixels.jpeg'
    data = bytearray(column.read_bytes())
    data[:40] = bytes(40)
    column.write_bytes(data)
    assert main(['view', str(source), '--to', 'rrd']) == 2
    assert 'pixels.jpeg' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    write_dataset(tmp_path / 'data', settings=WHOLE)
    code = 'import resource, signal, sys; from smwm_ros.cli import main; '
    code += 'signal.signal(signal.SIGXFSZ, signal.SIG_IGN); '
    code += 'resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); '
    code += 'sys.exit(main(["view", sys.argv[1], "--to", "rrd"]))'
    words = [sys.executable, '-c', code, str(tmp_path / 'data')]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert 'data.rrd: cannot be written: ' in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['data']


@pytest.mark.parametrize(
    'words',
    [
        ['view', 'DATA', '--to', 'rrd'],
        ['replay', 'bags/two_room', 'models/two_room', '--to', 'rrd'],
        ['watch', '--save', 'drive.rrd'],
    ],
)
def test_without_the_extra_an_error_names_it_before_any_work(
    tmp_path: Path, words: list[str]
) -> None:
    if words[0] == 'watch':
        pytest.importorskip('rclpy', reason='rclpy is not installed')
    data = write_dataset(tmp_path / 'data', settings=WHOLE)
    code = 'import sys; sys.modules["rerun"] = None; from smwm_ros.cli import main; '
    code += 'sys.exit(main(sys.argv[1:]))'
    words = [str(data) if word == 'DATA' else word for word in words]
    done = subprocess.run(
        [sys.executable, '-c', code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "Rerun needs the extra 'viz' of this package, which is not installed" in done.stderr
    assert 'converting' not in done.stderr
    assert not (ROOT / 'drive.rrd').exists()


@pytest.fixture(scope='module')
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[TransitionDataset, list[Leg], Pilot]:
    """Return the sample recording, its replay in legs of 25 ticks, and the pilot."""
    folder = tmp_path_factory.mktemp('sample')
    words = ['convert', str(ROOT / 'bags' / 'two_room'), '--out', str(folder / 'data')]
    assert main([*words, '--config', 'two_room']) == 0
    data = TransitionDataset.open(folder / 'data')
    pilot = Pilot(load(MODEL))
    return data, replay(pilot, data, 25), pilot


def test_a_replay_shows_each_plan_at_its_frame(
    tmp_path: Path, sample: tuple[TransitionDataset, list[Leg], Pilot]
) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    from smwm_ros.planning.predicted_path import predicted_paths
    from smwm_ros.viewers.replay import Replay, write_replay

    data, legs, pilot = sample
    checkpoint, out = load(MODEL), tmp_path / 'replay.rrd'
    made_of = Replay(data, legs, None, pilot, checkpoint)
    write_replay(made_of, out, 'a replay', Stretches(data, MODEL, checkpoint))
    rows = read_rows(out)
    album = open_album(MODEL, 'a test')
    ends = {row.step: row.value for row in shown(rows['/imagined_end'])}
    curves = {
        name: series(rows[f'/{name}'])
        for name in ('distance', 'cost/goal', 'latency/plan_ms', 'command/twist.linear.x/planned')
    }
    recorded = series(rows['/command/twist.linear.y/recorded'])
    frames = {row.step: row.value for row in shown(rows['/camera'])}
    ways = {row.step: row.value for row in shown(rows['/latents/plan'])}
    assert sorted(frames) == sorted(leg.start + n for leg in legs for n in range(25))
    for leg in legs:
        paths = predicted_paths(checkpoint, leg.plans)
        goal = [row.value for row in shown(rows['/goal']) if row.step == leg.start]
        assert np.array_equal(goal[0], data.pixels(np.array([leg.start + 25]))[0])
        for n in (0, 7, 24):
            row, plan = leg.start + n, leg.plans[n]
            assert np.array_equal(frames[row], data.pixels(np.array([row]))[0])
            assert curves['distance'][row] == pytest.approx(plan.distance)
            assert curves['cost/goal'][row] == pytest.approx(plan.shares['goal'])
            assert curves['latency/plan_ms'][row] == pytest.approx(leg.plan_ms[n])
            assert curves['command/twist.linear.x/planned'][row] == plan.actions[0, 0]
            assert recorded[row] == data.actions(np.array([row]))[0, 1]
            number = int(torch.cdist(paths[n, -1:], album.latents).argmin())
            assert np.array_equal(ends[row], next(decoded(album.jpegs[number : number + 1])))
            assert len(ways[row]) == 1 + checkpoint.planner.horizon
    gap = legs[1].start + 25
    assert legs[2].start > gap
    for name in ('/camera', '/goal', '/imagined_end', '/command', '/latents', '/distance'):
        assert [row for row in rows[name] if row.step == gap and row.value is None], name
    held = [row.value for row in rows['/log']]
    assert any('the commands are close' in line for line in held)


def test_a_replay_without_an_album_says_so_and_shows_no_end(
    tmp_path: Path, sample: tuple[TransitionDataset, list[Leg], Pilot]
) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    from smwm_ros.viewers.replay import Replay, write_replay

    data, legs, pilot = sample
    checkpoint, out = load(MODEL)._replace(folder=tmp_path), tmp_path / 'replay.rrd'
    made_of = Replay(data, legs[:1], None, pilot, checkpoint)
    write_replay(made_of, out, 'a replay', Stretches(data, MODEL, checkpoint))
    rows = read_rows(out)
    assert '/imagined_end' not in rows
    assert any('the imagined end of a plan' in row.value for row in rows['/log'])


def test_the_projection_of_latents_keeps_their_largest_directions() -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    from smwm_ros.viewers.latent_path import fit

    rng = np.random.default_rng(0)
    scale = np.array([0.1, 5.0, 0.2, 3.0, 0.1, 4.0])
    latents = rng.normal(0, 1, (500, 6)) * scale + 7.0
    points = fit(latents)(latents)
    for column, part in enumerate((1, 5, 3)):
        assert abs(np.corrcoef(points[:, column], latents[:, part])[0, 1]) > 0.98
    assert fit(latents).share == pytest.approx(50 / (scale**2).sum(), abs=0.01)
    few = fit(latents[:, :2])  # of a model with two numbers
    assert few(latents[:, :2]).shape == (500, 3)


def test_a_viewer_that_is_gone_is_looked_for_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    from smwm_ros.viewers import live

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(live, '_RETRY', 0.0)
    # Not the script of this name, which starts it as a process of its own.
    program = Path(pytest.importorskip('rerun_cli', reason=NEEDED).__file__).with_name('rerun')
    words = [str(program), '--serve-grpc', '--port', str(port)]

    def start() -> subprocess.Popen[bytes]:
        viewer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(('127.0.0.1', port)):
                return viewer
            time.sleep(0.1)
        viewer.kill()
        pytest.fail('no viewer')

    viewer = start()
    try:
        shown_in = live.Live('/plan', None, live.address_of(f'127.0.0.1:{port}'))
        shown_in.flush()
        assert caplog.text == ''
        viewer.kill()
        viewer.wait()
        shown_in.numbers({('distance', 'goal'): 1.0}, 5)
        monkeypatch.setattr(live, '_RETRY', 100.0)  # not while there is none
        shown_in.flush()
        assert 'is gone; looking for it again' in caplog.text
        viewer = start()
        monkeypatch.setattr(live, '_RETRY', 0.0)
        shown_in._next_try = 0.0
        for _ in range(3):
            shown_in.numbers({('distance', 'goal'): 1.0}, 6)
            shown_in.flush()
        shown_in._recording.stream.flush(timeout_sec=20)  # raises where nothing is sent
        shown_in.close()
    finally:
        viewer.kill()
        viewer.wait()


def test_a_viewer_is_started_where_none_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    from smwm_ros.viewers import live

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    # What spawn() needs of a viewer: it is found on the PATH, and listens.
    program = tmp_path / 'rerun'
    program.write_text(
        f"""#!{sys.executable}
import pathlib, socket, sys
pathlib.Path({str(tmp_path / 'words')!r}).write_text(' '.join(sys.argv[1:]))
server = socket.create_server(('127.0.0.1', {port}))
server.settimeout(30)
server.accept()
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(live, 'PORT', port)
    assert live.spawn() == f'rerun+http://127.0.0.1:{port}/proxy'
    assert f'--port={port}' in (tmp_path / 'words').read_text().replace('port ', 'port=')


@pytest.mark.parametrize(
    ('word', 'address'),
    [
        ('robot', 'rerun+http://robot:9876/proxy'),
        ('robot:1234', 'rerun+http://robot:1234/proxy'),
        ('rerun+http://robot:1/proxy', 'rerun+http://robot:1/proxy'),
    ],
)
def test_an_address_may_be_short(word: str, address: str) -> None:
    pytest.importorskip('rerun', reason=NEEDED)
    from smwm_ros.viewers.live import address_of

    assert address_of(word) == address
