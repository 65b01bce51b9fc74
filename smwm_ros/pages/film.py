# SPDX-License-Identifier: Apache-2.0
"""A film in a page: all frames on one sheet, and a script that shows one at a time."""

from __future__ import annotations

import base64
from collections.abc import Sequence
import json
from math import ceil, sqrt

import cv2
import numpy as np
from smwm_ros.pages.html import Array, escape

MOST = 150  # frames; of a longer film one in so many is shown
WIDE = 320  # of a frame on the sheet, at most [px]
SIZE = 2_000_000  # of the sheet, at most where some quality can make it so small [bytes]
_QUALITIES = (85, 60, 35, 15)  # of JPEG
_SHOWN = 2  # times as large as on the sheet
_LARGE = 640  # width on the page, at most [px]
_SCRIPT = """
(function(){var f=document.currentScript.parentElement,s=f.querySelector('.sheet'),
r=f.querySelector('input'),b=f.querySelector('button'),o=f.querySelector('output'),
d=JSON.parse(f.dataset.film),timer=0;
function show(){var i=+r.value,c=i%d.columns,l=Math.floor(i/d.columns);
s.style.backgroundPosition=(d.columns>1?100*c/(d.columns-1):0)+'% '+
(d.rows>1?100*l/(d.rows-1):0)+'%';o.textContent=d.texts[i];}
function stop(){clearInterval(timer);timer=0;b.textContent='play';}
b.onclick=function(){if(timer){stop();return;}b.textContent='pause';
if(+r.value>=+r.max)r.value=0;
timer=setInterval(function(){if(+r.value>=+r.max){stop();return;}r.value=+r.value+1;show();},
d.period);};
r.oninput=function(){stop();show();};show();})();
"""


def film(frames: Sequence[Array], texts: Sequence[str], period: float, caption: str) -> str:
    """
    Return a film of frames (n, H, W, 3), a text for each, with a slider and a button to play.

    The period is the time from one frame to the next [s]. Without script, a browser shows the
    first frame.
    """
    every = ceil(len(frames) / MOST)
    frames, texts = [_small(frame) for frame in frames[::every]], list(texts[::every])
    height, width = frames[0].shape[:2]
    columns = min(len(frames), max(1, round(sqrt(len(frames) * height / width))))
    rows = ceil(len(frames) / columns)
    data = {
        'columns': columns,
        'rows': rows,
        'texts': texts,
        'period': max(20, round(1000 * period * every)),  # [ms]
    }
    if every > 1:
        caption += f' One frame in {every} is shown.'
    style = (
        f'width:{min(_SHOWN * width, _LARGE)}px;max-width:100%;aspect-ratio:{width}/{height};'
        f'background-size:{100 * columns}% {100 * rows}%;'
        f'background-image:url(data:image/jpeg;base64,{_sheet(frames, columns, rows)})'
    )
    return (
        f'<figure class="film" data-film="{escape(json.dumps(data))}">'
        f'<div class="sheet" role="img" aria-label="{escape(caption)}" style="{style}"></div>'
        f'<div><button type="button">play</button> <input type="range" min="0" value="0" '
        f'max="{len(frames) - 1}" aria-label="frame"> <output>{escape(texts[0])}</output></div>'
        f'<figcaption>{escape(caption)}</figcaption><script>{_SCRIPT}</script></figure>'
    )


def _small(frame: Array) -> Array:
    """Return a frame that is not too wide."""
    height, width = frame.shape[:2]
    if width <= WIDE:
        return frame
    size = (WIDE, max(round(height * WIDE / width), 1))
    small: Array = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return small


def _sheet(frames: Sequence[Array], columns: int, rows: int) -> str:
    """Return all frames on one JPEG, at the best quality that is small enough."""
    height, width = frames[0].shape[:2]
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = frame[..., ::-1]
    for quality in _QUALITIES:
        data: bytes = cv2.imencode('.jpg', sheet, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= SIZE:
            break
    return base64.b64encode(data).decode()
