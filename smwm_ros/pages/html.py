# SPDX-License-Identifier: Apache-2.0
"""Single-file HTML pages, onion-skin pictures of paths, and GIFs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import html
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from smwm_ros.files import write_atomic
from smwm_ros.text import line

Array = NDArray[Any]

SUFFIX = '.html'
GENERATOR = 'smwm_ros'
_ICON = 64  # [px]
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1000px;padding:0 1rem;
color:#1c2128;background:#fff;overflow-wrap:anywhere}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}
h3{font-size:1rem;margin:1rem 0 .3rem}
table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dee4;
text-align:left;overflow-wrap:normal}td.n{text-align:right;font-variant-numeric:tabular-nums}
.row{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
figure{margin:.3rem 0;max-width:100%}.wide{overflow-x:auto;max-width:100%;margin:.3rem 0}
.wide img{max-width:none}
.wide table{width:max-content}.wide td{max-width:24rem}
img,svg{max-width:100%;height:auto}figcaption{font-size:.85rem;color:#57606a}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem}.tile{border:1px solid #d8dee4;border-radius:8px;
padding:.6rem 1rem;min-width:8rem;flex:0 1 auto}.tile b{display:block;font-size:1.5rem}
.small{image-rendering:pixelated}.good{color:#1a7f37}.bad{color:#cf222e}
ul.warnings{list-style:none;padding:0;margin:1rem 0}ul.warnings li{background:#fff3cd;
border-left:6px solid #b45309;padding:.5rem .8rem;margin:.3rem 0}
svg text{font:13px system-ui,sans-serif;fill:#57606a}svg .title{font-weight:600;fill:#1c2128}
@media(max-width:500px){body{margin:1rem auto;padding:0 .7rem}.tile{min-width:5rem}
td,th{padding:.2rem .5rem}}
"""


def escape(text: str) -> str:
    """Return a text that is safe in a page: no markup, nothing unprintable, limited length."""
    return html.escape(line(text))


def page(
    title: str,
    about: str,
    body: Sequence[str],
    warnings: Sequence[str] = (),
    icon: Array | None = None,
) -> str:
    """
    Return one HTML page that needs nothing beside itself; warnings come before everything else.

    What it is about, in a line, and the icon stand in the index of its folder, too.
    """
    listed = ''.join(f'<li>{escape(words)}</li>' for words in warnings)
    first = f'<ul class="warnings">{listed}</ul>' if warnings else ''
    about = escape(about)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="{GENERATOR}"><meta name="description" content="{about}">'
        f'<meta name="warnings" content="{len(warnings)}"><title>{escape(title)}</title>'
        f'{_icon(icon)}<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{first}'
        f'<p>{about}</p>' + '\n'.join(body) + '</body></html>\n'
    )


def _icon(image: Array | None) -> str:
    """Return a small picture for the tab of the browser and for the index."""
    if image is None:
        return ''
    small = cv2.resize(image, (_ICON, _ICON), interpolation=cv2.INTER_AREA)
    return f'<link rel="icon" href="{_embedded(small, ".png")}">'


def write_text(path: Path, text: str) -> None:
    """Write a file of text whole or not at all."""
    write_atomic(path, text.encode())


def tiles(facts: Mapping[str, str]) -> str:
    """Return the few numbers people look for first, large."""
    cells = ''.join(
        f'<div class="tile"><b>{escape(value)}</b>{escape(name)}</div>'
        for name, value in facts.items()
    )
    return f'<div class="tiles">{cells}</div>'


def row(figures: Sequence[str]) -> str:
    """Return figures side by side."""
    return f'<div class="row">{"".join(figures)}</div>'


def wide(html: str) -> str:
    """Return what may be wider than a screen, in a box that scrolls by itself."""
    return f'<div class="wide">{html}</div>'


def picture(
    image: Array, caption: str = '', width: int = 160, css: str = '', strip: bool = False
) -> str:
    """Return an RGB picture (H, W, 3) with a caption, embedded; a strip scrolls by itself."""
    small = ' class="small"' if image.shape[1] < width else ''
    shown = (
        f'<img{small} width="{width}" src="{_embedded(image, ".png")}" alt="{escape(caption)}">'
    )
    return _figure(wide(shown) if strip else shown, caption, css)


def photograph(jpeg: bytes, caption: str, width: int) -> str:
    """Return a picture that is a JPEG already."""
    data = base64.b64encode(jpeg).decode()
    source = f'data:image/jpeg;base64,{data}'
    return _figure(f'<img width="{width}" src="{source}" alt="{escape(caption)}">', caption, '')


def _figure(shown: str, caption: str, css: str) -> str:
    words = f'<figcaption class="{css}">{escape(caption)}</figcaption>' if caption else ''
    return f'<figure>{shown}{words}</figure>'


def _embedded(image: Array, form: str) -> str:
    """Return an RGB picture as the address of itself."""
    _, data = cv2.imencode(form, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return f'data:image/{form[1:]};base64,{base64.b64encode(data.tobytes()).decode()}'


def onion_skin(frames: Sequence[Array], background: Array) -> Array:
    """Lay the frames of one drive over each other, so that a still picture shows the path."""
    stack = np.stack(frames).astype(np.int16)  # (N, H, W, 3)
    strength = np.abs(stack - background).sum(axis=3)  # how far each pixel is from background
    best = strength.argmax(axis=0)
    rows, columns = np.indices(best.shape)
    skin: Array = stack[best, rows, columns].astype(np.uint8)
    return skin


def write_gif(path: Path, frames: Sequence[Array], fps: float) -> bool:
    """Write RGB frames as a GIF; False where this OpenCV cannot (it needs 4.12 or newer)."""
    if not hasattr(cv2, 'imencodeanimation'):
        return False
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in frames]
    animation.durations = [round(1000 / fps)] * len(frames)
    made, gif = cv2.imencodeanimation('.gif', animation)
    if made:
        write_atomic(path, gif.tobytes())
    return bool(made)


def label(image: Array, text: str, size: int) -> Array:
    """Enlarge a picture to a square and write a line of text under it."""
    big = cv2.resize(image, (size, size), interpolation=cv2.INTER_NEAREST)
    bar = np.full((24, size, 3), 255, np.uint8)
    cv2.putText(bar, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (28, 33, 40), 1, cv2.LINE_AA)
    return np.concatenate([big, bar])
