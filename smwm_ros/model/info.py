# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint records of its training."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

EMPTY: Mapping[str, Any] = MappingProxyType({})


class Info(NamedTuple):
    """Records of the training; a field is empty where nothing was recorded."""

    dataset: str = ''  # fingerprint
    data: str = ''  # path of the dataset, relative to the run folder
    model: Mapping[str, Any] | None = None  # knobs, as are those of `train`
    train: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    summary: Mapping[str, float] = EMPTY  # measures of the last validation
    distances: Mapping[str, list[float]] | None = None  # quartiles of the latent distance by ticks
    # Of a latent-action model: labelled moments, R2 of the decoded mean command of a model step
    # ('r2'), and R2 of decoder and controller by candidate.
    actions: Mapping[str, Any] = EMPTY
    # Of a fine-tuned model: SHA-256 of the first weights, their run, the datasets mixed in.
    tuned_from: Mapping[str, Any] = EMPTY
    verdict: Any = ''  # as smwm inspect stored it
    imported: Mapping[str, str] | None = None  # the file of SMWM or LeWM that it was made from
    others: Mapping[str, Any] = EMPTY  # keys that other versions wrote

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Info:
        """Return the info that a meta.json holds."""
        fields = {name: value for name, value in found.items() if name in cls._fields}
        others = {name: value for name, value in found.items() if name not in cls._fields}
        return cls(**{**fields, 'warnings': tuple(found.get('warnings', ())), 'others': others})

    def as_json(self) -> dict[str, Any]:
        """Return what meta.json holds of it."""
        fields = {**self._asdict(), **self.others}
        del fields['others']
        return {name: value for name, value in fields.items() if value or name == 'warnings'}


NO_INFO = Info()
