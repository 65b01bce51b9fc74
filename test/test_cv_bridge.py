# SPDX-License-Identifier: Apache-2.0
"""
The decoder cv_bridge gives the pixels of the real cv_bridge, and ours differs where a table says.

The table compares our decoder with cv_bridge 1.16.2 of apt: as this package calls it, and alone,
as its documentation says. The last column is the Python code of the ROS 2 package (rolling) over
the same library, measured once; what has a * was read in its source.

| images | called by this package | alone | alone, ROS 2 |
|---|---|---|---|
| colours, grey, Bayer of 8 bits, yuv422, PNG, JPEG | equal | equal | equal |
| colours, grey, Bayer of 16 bits | 1 apart: it rounds, we drop 8 bits | 1 apart | 1 apart |
| rows with padding | as without | wrong pixels | wrong if whole pixels do not fill it |
| last row without its padding | as with it | wrong pixels | error * |
| big endian | as little endian | as little endian (numpy 1) | error with numpy 2 * |
| no colours: 8UC1, 8UC3, 16UC1, 32FC1, ... | equal: not given to cv_bridge | error | error |
| 16-bit PNG | equal: what it means is ours | not converted to 8 bits | depth lost on Humble * |
| yuv422_yuy2 | error | error | equal * |
| uyvy, yuyv, nv12, nv21, nv24, compressedDepth | error | error | error |
| JPEG that EXIF turns | not turned, and we turn it | not turned | not turned; on Humble turned * |
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

from bridged import borrowed, require_cv_bridge, ROOT, system_python
import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from recordings import image, made, TinyBag
from smwm_ros.codec import bridge
from smwm_ros.codec.encodings import LAYOUTS
from smwm_ros.codec.images import fit, to_rgb
from smwm_ros.control.guard import check_contract
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError, CodecError, ConfigError, DatasetError
from smwm_ros.load import load_config

Pixels = NDArray[Any]
HEIGHT, WIDTH = 12, 16
REFUSED = ('uyvy', 'yuyv', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24')  # by cv_bridge 1.16
ROUNDED = 1  # largest difference for 16 bits: v / 257, rounded, and v >> 8
DECODER = 'robot.camera.decoder=cv_bridge'


class Case(NamedTuple):
    """A message, and what it is about."""

    name: str
    msg: Any
    kind: str = 'plain'  # padded, cut: without the padding of the last row, big, or a file


def raw(encoding: str, kind: str = 'plain') -> Case:
    """Make an Image of random values."""
    layout = LAYOUTS[encoding]
    rng = np.random.default_rng(len(encoding))
    rows = HEIGHT * {'nv12': 3, 'nv21': 3, 'nv24': 6}.get(encoding, 2) // 2
    shape, dtype = (rows, WIDTH, layout.channels), np.dtype(layout.dtype)
    high = 12 if dtype.kind == 'f' else np.iinfo(dtype).max + 1  # depth in metres, or all values
    raster = rng.uniform(0, high, shape).astype(dtype.newbyteorder('>' if kind == 'big' else '<'))
    pad = b'\xab' * (4 * 3 + 1) if kind in ('padded', 'cut') else b''  # no multiple of a pixel
    data = b''.join(row.tobytes() + pad for row in raster)
    msg = SimpleNamespace(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=int(kind == 'big'),
        step=len(data) // rows,
        data=np.frombuffer(data[: -len(pad)] if kind == 'cut' else data, np.uint8),
    )
    return Case(encoding, msg, kind)


def file(form: str, pixels: Pixels) -> Case:
    """Make a CompressedImage."""
    suffix = '.jpg' if 'jpeg' in form else '.png'
    data = cv2.imencode(suffix, pixels)[1].ravel()
    if 'compressedDepth' in form:
        data = np.append(np.zeros(12, np.uint8), data)
    return Case(
        f'{form} {pixels.dtype}{pixels.shape}', SimpleNamespace(format=form, data=data), 'file'
    )


def turned() -> Case:
    """Make a JPEG that its EXIF data says to turn by 90 degrees."""
    data = cv2.imencode('.jpg', np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    entry = b'\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00'  # orientation 6
    exif = b'Exif\0\0' + b'MM\0*\0\0\0\x08\0\x01' + entry + bytes(4)
    data = data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:]
    return Case(
        'turned', SimpleNamespace(format='jpeg', data=np.frombuffer(data, np.uint8)), 'file'
    )


def files() -> list[Case]:
    """Make pictures of all depths and numbers of channels."""
    rng = np.random.default_rng(0)
    shapes = ((HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH, 4))
    small: list[Pixels] = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    wide: list[Pixels] = [rng.integers(0, 65536, shape, dtype=np.uint16) for shape in shapes]
    return [
        *(file('png', pixels) for pixels in (*small, *wide)),
        *(file('jpeg', pixels) for pixels in small[:2]),
        file('mono16; png compressed ', wide[0]),
        file('16UC1; compressedDepth png', wide[0]),
        turned(),
    ]


class Results(NamedTuple):
    """The pixels of a message by each way, or an error as text."""

    case: Case
    alone: Any
    bridge: Any
    own: Any


@pytest.fixture(scope='module')
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """Let the Python of the system convert all messages."""
    require_cv_bridge()
    cases = [raw(name, kind) for name in LAYOUTS for kind in ('plain', 'padded', 'cut', 'big')]
    cases = [one for one in cases if not (one.name == 'nv24' and one.kind in ('padded', 'cut'))]
    cases += files()
    folder = tmp_path_factory.mktemp('messages')
    heads = [{k: v for k, v in vars(one.msg).items() if k != 'data'} for one in cases]
    columns = {f'data{number}': one.msg.data for number, one in enumerate(cases)}
    np.savez(folder / 'in.npz', heads=json.dumps(heads), **columns)
    done = system_python(ROOT / 'test/cv_bridge_peer.py', folder / 'in.npz', folder / 'out.npz')
    assert done.returncode == 0, done.stderr
    with np.load(folder / 'out.npz') as found:
        assert str(found['version']).startswith('1.16'), 'measure the table again'
        return [
            Results(case, *(_value(found[f'{way}{number}']) for way in Results._fields[1:]))
            for number, case in enumerate(cases)
        ]


def _value(found: Pixels) -> Any:
    return found if found.ndim else str(found)


def of_kind(results: list[Results], *kinds: str) -> list[Results]:
    """Return the results of messages whose encoding cv_bridge converts."""
    return [
        one
        for one in results
        if one.case.kind in kinds
        and bridge.has_colours(one.case.name)
        and one.case.name not in REFUSED
    ]


def apart(one: Pixels, other: Pixels) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_the_decoder_cv_bridge_is_cv_bridge_itself(results: list[Results]) -> None:
    plain = of_kind(results, 'plain')
    assert len(plain) == 19, 'every encoding that it converts'
    for one in plain:
        assert apart(one.bridge, one.alone) == 0, one.case.name


def test_our_decoder_agrees_with_cv_bridge_up_to_the_rounding_of_16_bits(
    results: list[Results],
) -> None:
    for one in of_kind(results, 'plain', 'padded', 'cut', 'big'):
        most = ROUNDED if '16' in one.case.name else 0
        assert apart(one.own, one.bridge) == most, one.case
        assert apart(to_rgb(one.case.msg), one.own) == 0, 'and so it does with our OpenCV'


def test_padding_and_byte_order_do_not_change_what_cv_bridge_returns(
    results: list[Results],
) -> None:
    plain = {one.case.name: one.bridge for one in of_kind(results, 'plain')}
    for one in of_kind(results, 'padded', 'cut', 'big'):
        assert apart(one.bridge, plain[one.case.name]) == 0, one.case


def test_what_cv_bridge_alone_gets_wrong_is_listed(results: list[Results]) -> None:
    for one in of_kind(results, 'padded', 'cut'):
        assert apart(one.alone, one.own) > 100, f'{one.case.name}: padding is not read as pixels'
    for one in of_kind(results, 'big'):
        assert apart(one.alone, one.own) <= ROUNDED, one.case.name
    wide = [one for one in results if one.case.kind == 'file' and 'uint16' in one.case.name]
    assert {one.alone.dtype.name for one in wide if 'Depth' not in one.case.name} == {'uint16'}


def test_encodings_without_colours_mean_the_same_with_both_decoders(
    results: list[Results],
) -> None:
    generic = [one for one in results if one.case.name in LAYOUTS]
    generic = [one for one in generic if not bridge.has_colours(one.case.name)]
    assert {one.case.name for one in generic} >= {'8UC1', '8UC3', '16UC1', '32FC1', '64FC1'}
    for one in generic:
        assert 'is not a color format' in one.alone, one.case.name
        assert apart(one.own, one.bridge) == 0, one.case


def test_what_cv_bridge_cannot_convert_is_an_error_that_names_our_decoder(
    results: list[Results],
) -> None:
    refused = [one for one in results if one.case.name in REFUSED]
    refused += [one for one in results if 'compressedDepth' in one.case.name]
    assert len({one.case.name for one in refused}) == len(REFUSED) + 1
    for one in refused:
        assert one.bridge.startswith('CodecError: cv_bridge cannot convert '), one.case.name
        assert one.bridge.endswith('; set robot.camera.decoder=own')
        assert apart(to_rgb(one.case.msg), one.own) == 0


def test_pictures_are_decompressed_to_the_same_pixels(results: list[Results]) -> None:
    pictures = [one for one in results if one.case.kind == 'file']
    pictures = [one for one in pictures if 'Depth' not in one.case.name]
    for one in pictures:
        if one.case.name == 'turned':
            assert (one.own.shape, one.bridge.shape) == ((WIDTH, HEIGHT, 3), (HEIGHT, WIDTH, 3))
        else:
            assert apart(one.own, one.bridge) == 0, one.case.name
        if 'uint8' in one.case.name:
            assert apart(one.bridge, one.alone) == 0, one.case.name


def bag_of_16_bits(path: Path) -> Path:
    """Write grey images of 16 bits: tick t shows 256 t + 255, which cv_bridge rounds up."""
    bag = TinyBag(path)
    for tick in range(30):
        msg = image(np.zeros((16, 20, 2)), 'mono16')
        msg.data = np.full((16, 20), 256 * tick + 255, '<u2').view(np.uint8).ravel()
        bag.send('/camera/image_raw', msg, tick)
        bag.command(tick + 0.5, value=float(tick))
    return bag.close()


def smwm(variables: Mapping[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'smwm_ros.cli', *map(str, words)]
    return subprocess.run(command, env=dict(variables), capture_output=True, text=True)


def test_a_dataset_of_cv_bridge_says_so_and_has_its_pixels(tmp_path: Path) -> None:
    variables = borrowed(tmp_path / 'modules')
    path = bag_of_16_bits(tmp_path / 'bag')
    out = tmp_path / 'out'
    words = ('convert', path, '--out', out, 'dataset.image_size=16')
    done = smwm(variables, *words, DECODER)
    assert done.returncode == 0, done.stderr
    data = TransitionDataset.open(out)
    rows = np.arange(len(data))
    ours = made(tmp_path, path, out='ours')
    assert (data.pixels(rows) == ours.pixels(rows) + 1).all()
    assert data.info.robot['camera']['decoder'] == 'cv_bridge'
    assert data.metas['bag']['versions']['cv_bridge'].startswith('1.16')
    assert 'cv_bridge' not in ours.metas['bag']['versions']
    assert 'images: converted by cv_bridge 1.16' in smwm(variables, 'inspect', out).stdout
    with pytest.raises(DatasetError, match=r'robot\.camera\.decoder=cv_bridge \(now auto\)'):
        made(tmp_path, path)


def without_cv_bridge(folder: Path, text: str) -> dict[str, str]:
    """Return environment variables with which the import of cv_bridge runs a text."""
    (folder / 'cv_bridge').mkdir(parents=True)
    (folder / 'cv_bridge/__init__.py').write_text(text)
    return {**os.environ, 'PYTHONPATH': f'{folder}:{ROOT}', 'ROS_DISTRO': 'jazzy'}


ABSENT = "raise ModuleNotFoundError('none', name='cv_bridge')"


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (
            ABSENT,
            'it is not installed: sudo apt install ros-jazzy-cv-bridge (without ROS: python3',
        ),
        ('import no_such', 'it is not installed, as no_such is missing: sudo apt install'),
        (
            "raise AttributeError('_ARRAY_API')",
            'it does not work here (AttributeError: _ARRAY_API)',
        ),
        ('class CvBridge: pass', 'it does not work here (AttributeError: '),
    ],
)
def test_without_a_cv_bridge_the_error_says_what_to_do(
    tmp_path: Path, text: str, words: str
) -> None:
    path = bag_of_16_bits(tmp_path / 'bag')
    variables = without_cv_bridge(tmp_path / 'none', text)
    out = tmp_path / 'out'
    done = smwm(variables, 'convert', path, '--out', out, DECODER)
    assert done.returncode == 2
    assert f'robot.camera.decoder: cv_bridge, but {words}' in done.stderr
    assert done.stderr.strip().endswith('; or set robot.camera.decoder=own')
    assert not out.exists()
    if text == ABSENT:
        done = smwm(variables, 'convert', path, '--out', out, 'dataset.image_size=16')
        assert done.returncode == 0, 'auto is our decoder'


def test_a_cv_bridge_for_another_numpy_is_not_used(tmp_path: Path) -> None:
    variables = borrowed(tmp_path / 'modules')
    if np.__version__ < '2':
        pytest.skip('the numpy of this Python is like that of cv_bridge')
    for path in (tmp_path / 'modules').iterdir():
        if 'cv_bridge' not in path.name:
            path.unlink()
    words = 'from smwm_ros.codec.bridge import installed; print(installed())'
    command = [sys.executable, '-c', words]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert 'bridge=None' in done.stdout
    assert 'it needs the numpy and the OpenCV that it was built with' in done.stdout


def test_a_robot_that_converts_otherwise_than_the_dataset_is_refused() -> None:
    own, auto, theirs = (
        load_config(None, [f'robot.camera.decoder={word}']).robot
        for word in ('own', 'auto', 'cv_bridge')
    )
    check_contract(own, auto)
    check_contract(theirs, theirs)
    for trained, robot in ((auto, theirs), (theirs, own)):
        with pytest.raises(CheckpointError, match=r'^robot\.camera\.decoder: \w+, expected \w+'):
            check_contract(trained, robot)
    with pytest.raises(ConfigError, match=r"decoder: 'cvbridge'.*did you mean 'cv_bridge'"):
        load_config(None, ['robot.camera.decoder=cvbridge'])


class Reduced:
    """A cv_bridge as on Humble, which reduces all pictures to 8 bits."""

    def compressed_imgmsg_to_cv2(self, msg: Any) -> Pixels:
        return np.asarray(cv2.imdecode(msg.data, cv2.IMREAD_ANYCOLOR))


def test_pictures_that_cv_bridge_reduces_to_8_bits_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, 'installed', lambda: bridge.Installed(Reduced()))
    deep, plain = (file('png', np.full((4, 5), 9, kind)).msg for kind in (np.uint16, np.uint8))
    with pytest.raises(CodecError, match='it returned 8 of its 16 bits'):
        to_rgb(deep, 'cv_bridge')
    assert (to_rgb(plain, 'cv_bridge') == fit(to_rgb(plain), 5, 'stretch')[:4]).all()
