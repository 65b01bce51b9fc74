# SPDX-License-Identifier: Apache-2.0
"""
Translate the tensor names of SMWM and LeWM, whose networks are those of our `tiny` preset.

Both use the vision transformer of the transformers package, which renamed its parts from version 4
to 5, and wrappers add prefixes. All names are translated to those of SMWM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import re

from torch import Tensor

# Our names on the left, theirs (transformers 5) on the right; the first match is used.
_OURS = (
    (r'^encoder\.first$', 'encoder.embeddings.cls_token'),
    (r'^encoder\.position$', 'encoder.embeddings.position_embeddings'),
    (r'^encoder\.patches\.', 'encoder.embeddings.patch_embeddings.projection.'),
    (r'^encoder\.norm\.', 'encoder.layernorm.'),
    (r'^encoder\.projector\.', 'projector.net.'),
    (r'^(encoder\.layers\.\d+)\.norm_attention\.', r'\1.layernorm_before.'),
    (r'^(encoder\.layers\.\d+)\.norm_mlp\.', r'\1.layernorm_after.'),
    (r'^(encoder\.layers\.\d+)\.query\.', r'\1.attention.q_proj.'),
    (r'^(encoder\.layers\.\d+)\.key\.', r'\1.attention.k_proj.'),
    (r'^(encoder\.layers\.\d+)\.value\.', r'\1.attention.v_proj.'),
    (r'^(encoder\.layers\.\d+)\.out\.', r'\1.attention.o_proj.'),
    (r'^(encoder\.layers\.\d+)\.mlp\.0\.', r'\1.mlp.fc1.'),
    (r'^(encoder\.layers\.\d+)\.mlp\.2\.', r'\1.mlp.fc2.'),
    (r'^forward_model\.position$', 'predictor.pos_embedding'),
    (r'^forward_model\.norm\.', 'predictor.transformer.norm.'),
    (r'^forward_model\.projector\.', 'pred_proj.net.'),
    (r'^forward_model\.actions\.narrow\.', 'action_encoder.patch_embed.'),
    (r'^forward_model\.actions\.embed\.', 'action_encoder.embed.'),
    (r'^forward_model\.(layers\.\d+)\.norm_attention\.', r'predictor.transformer.\1.attn.norm.'),
    (r'^forward_model\.(layers\.\d+)\.qkv\.', r'predictor.transformer.\1.attn.to_qkv.'),
    (r'^forward_model\.(layers\.\d+)\.out\.', r'predictor.transformer.\1.attn.to_out.0.'),
    (r'^forward_model\.(layers\.\d+)\.mlp\.', r'predictor.transformer.\1.mlp.net.'),
    (
        r'^forward_model\.(layers\.\d+)\.modulation\.',
        r'predictor.transformer.\1.adaLN_modulation.',
    ),
    (r'^inverse_model\.layers\.', 'inverse_model.net.'),
)
_VERSION_4 = (
    (r'^encoder\.encoder\.layer\.', 'encoder.layers.'),
    (r'\.attention\.attention\.query\.', '.attention.q_proj.'),
    (r'\.attention\.attention\.key\.', '.attention.k_proj.'),
    (r'\.attention\.attention\.value\.', '.attention.v_proj.'),
    (r'\.attention\.output\.dense\.', '.attention.o_proj.'),
    (r'\.intermediate\.dense\.', '.mlp.fc1.'),
    (r'^(encoder\.layers\.\d+)\.output\.dense\.', r'\1.mlp.fc2.'),
)
_WRAPPERS = re.compile(r'^(?:(?:model|module)\.)+')
# Prefixes of training state that is not part of the model.
_BESIDE = ('sigreg.', 'callbacks_modules.', 'callbacks_metrics.')


def theirs(name: str) -> str:
    """Return the name in SMWM of one of our tensors."""
    for pattern, replacement in _OURS:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model by the names of SMWM."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = _WRAPPERS.sub('', name.replace('_orig_mod.', ''))
        if short.startswith(_BESIDE):
            continue
        for pattern, replacement in _VERSION_4:
            short = re.sub(pattern, replacement, short)
        # If two tensors get the same name, the second keeps its own, and is reported later.
        found[name if short in found else short] = tensor
    return found


def mistakes(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], absent: Iterable[str] = ()
) -> list[str]:
    """Return which tensors are missing, unexpected, misshapen or not finite (SMWM names)."""
    expected = {theirs(name): tensor for name, tensor in wanted.items()}
    missing = set(expected) - set(found) - set(absent)
    wrong = [f'missing {name}' for name in sorted(missing)]
    wrong += [f'unexpected {name}' for name in sorted(set(found) - set(expected))]
    for name in sorted(set(found) & set(expected)):
        shape, right = tuple(found[name].shape), tuple(expected[name].shape)
        if shape != right:
            wrong.append(f'{name} has shape {shape}, expected {right}')
        elif not found[name].isfinite().all():
            wrong.append(f'{name} is not finite')
    return wrong
