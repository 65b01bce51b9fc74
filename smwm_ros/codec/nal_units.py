# SPDX-License-Identifier: Apache-2.0
"""
Split a packet of H.264 or H.265 into its pictures, without decoding them.

A packet is a byte stream of NAL units (ITU-T H.264 and H.265, annex B). What a decoder does not
report is read here: where a picture begins, whether it starts a sequence, and its frame number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smwm_ros.errors import CodecError
from smwm_ros.text import count_of

H264, H265 = 'h264', 'hevc'  # as PyAV names the decoders
SETS = {H264: {7, 8}, H265: {32, 33, 34}}  # kinds of parameter sets
_START = b'\0\0\1'
_H264_SPS = 7
_ESCAPED = b'\0\0\3'  # a byte 3 is put between zeros and a byte below 4
_HEAD = 64  # bytes of a unit that are read: of a slice
_SETS_HEAD = 1024  # bytes of a parameter set that are read
_MAX_ZEROS = 32  # before the first one of an Exp-Golomb code
# Profiles of H.264 whose parameter sets describe the format of the chroma planes.
_WITH_CHROMA = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244}


class Numbering(NamedTuple):
    """How the frames of an H.264 stream are numbered."""

    bits: int  # of a frame number
    planes: bool  # a slice names its colour plane before its frame number
    gaps: bool  # numbers may be skipped without a loss


class Picture(NamedTuple):
    """The bytes of one coded picture."""

    data: bytes
    is_key: bool  # decoding can start here
    number: int | None  # frame number in H.264, as far as it is known
    is_reference: bool  # later pictures may depend on it


class Packet(NamedTuple):
    """The content of one packet."""

    pictures: list[Picture]
    sets: dict[int, bytes]  # its parameter sets, with which a decoder starts, by their kind
    numbering: Numbering | None  # of the parameter sets, if it has any


class _Unit(NamedTuple):
    """One NAL unit."""

    kind: int
    data: bytes  # from its header on, without the start code
    is_slice: bool
    is_first: bool  # slice of its picture
    is_key: bool
    is_set: bool


def read_packet(codec: str, data: bytes, numbering: Numbering | None) -> Packet:
    """Return the pictures of a packet; numbering: of the parameter sets before it."""
    units = list(_units(codec, data))
    if not units:
        raise CodecError(
            f'a packet of {count_of(len(data), "byte")} has no NAL unit, expected {codec} as a '
            'byte stream with start codes (annex B)'
        )
    new = None
    for unit in units:
        if codec == H264 and unit.kind == _H264_SPS:
            new = numbering = _numbering(unit.data)
    groups: list[list[_Unit]] = []
    number = None
    leading: list[_Unit] = []  # units before the first slice of the next picture
    for unit in units:
        if not unit.is_slice:
            leading.append(unit)
            continue
        if unit.is_first:
            before, number = number, _frame_number(codec, unit, numbering)
            # The two fields of an interlaced frame have the same number.
            if not groups or number is None or number != before or unit.is_key:
                groups.append([])
        if not groups:
            groups.append([])
        groups[-1] += [*leading, unit]
        leading = []
    sets: dict[int, bytes] = {}
    for unit in units:
        if unit.is_set:
            sets[unit.kind] = sets.get(unit.kind, b'') + _START + unit.data
    return Packet([_picture(codec, group, numbering) for group in groups], sets, new)


def _picture(codec: str, units: list[_Unit], numbering: Numbering | None) -> Picture:
    """Join the units of one picture."""
    first = next(unit for unit in units if unit.is_slice)
    is_reference = codec != H264 or bool(first.data[0] >> 5 & 3)
    return Picture(
        b''.join(_START + unit.data for unit in units),
        first.is_key,
        _frame_number(codec, first, numbering),
        is_reference,
    )


def _units(codec: str, data: bytes) -> Iterator[_Unit]:
    """Yield the NAL units of a packet."""
    at = data.find(_START)
    while at >= 0:
        at += len(_START)
        after = data.find(_START, at)
        # Zeros before a start code are not part of the unit before it.
        body = (data[at:after] if after >= 0 else data[at:]).rstrip(b'\0')
        at = after
        if len(body) < 2 or body[0] & 0x80:  # the first bit is 0 in every unit
            continue
        if codec == H264:
            kind = body[0] & 31
            yield _Unit(
                kind, body, kind in (1, 2, 5), bool(body[1] & 0x80), kind == 5, kind in SETS[codec]
            )
        elif len(body) > 2:
            kind = body[0] >> 1 & 63
            yield _Unit(
                kind, body, kind < 32, bool(body[2] & 0x80), 16 <= kind <= 21, kind in SETS[codec]
            )


class _Bits:
    """Read numbers of some bits."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(_ESCAPED, _ESCAPED[:2])
        self._bits, self._left = int.from_bytes(plain, 'big'), 8 * len(plain)

    def take(self, count: int) -> int:
        """Return the next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise CodecError('a parameter set or slice header is truncated')
        return self._bits >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return the next number in Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MAX_ZEROS:
                raise CodecError('a parameter set or slice header is damaged')
        return (1 << zeros) - 1 + self.take(zeros)


def _frame_number(codec: str, unit: _Unit, numbering: Numbering | None) -> int | None:
    """Return the frame number in the header of an H.264 slice; None if it is not known."""
    if codec != H264 or numbering is None:
        return None
    bits = _Bits(unit.data[1:_HEAD])
    for _ in range(3):  # first macroblock, type, picture parameter set
        bits.golomb()
    if numbering.planes:
        bits.take(2)
    return bits.take(numbering.bits)


def _numbering(sps: bytes) -> Numbering:
    """Read how frames are numbered from a sequence parameter set of H.264."""
    bits = _Bits(sps[1:_SETS_HEAD])
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    bits.golomb()  # its number
    planes = profile in _WITH_CHROMA and _skip_chroma(bits)
    length = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        for _ in range(2):
            bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()  # reference frames
    return Numbering(length, planes, bool(bits.take(1)))


def _skip_chroma(bits: _Bits) -> bool:
    """Skip the format of the chroma planes; return whether planes are coded apart."""
    chroma = bits.golomb()
    planes = chroma == 3 and bool(bits.take(1))
    for _ in range(2):  # bit depths
        bits.golomb()
    bits.take(1)
    if bits.take(1):  # scaling lists
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_list(bits, 16 if number < 6 else 64)
    return planes


def _skip_list(bits: _Bits, size: int) -> None:
    """Skip a scaling list, which ends early where the next scale is 0."""
    last = 8
    for _ in range(size):
        code = bits.golomb()
        last = (last + (code + 1 >> 1 if code & 1 else -(code >> 1))) % 256
        if not last:
            return
