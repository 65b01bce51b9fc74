# SPDX-License-Identifier: Apache-2.0
"""
The networks of the preset `tiny`, which are those of the paper (arXiv 2606.20104).

f is a vision transformer with a projector, g a transformer whose layers are modulated by the
actions (adaLN-zero), with a projector of its own. Images are 224 px wide, latents have 192
numbers. Widths, order of operations and initial weights are those of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from smwm_ros.model.fastest import fastest
from smwm_ros.model.kernels import X86
from smwm_ros.model.past import parted
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

LATENT, HIDDEN = 192, 256
SIDE, PATCH = 224, 14  # [px]
TIMED = 2  # images in a timing of a layer
ONEDNN = X86 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green and blue in ImageNet


def projector() -> nn.Sequential:
    """Return the head of both transformers, whose output is unbounded."""
    wide = 2048
    return nn.Sequential(
        nn.Linear(LATENT, wide), nn.BatchNorm1d(wide), nn.GELU(), nn.Linear(wide, LATENT)
    )


class TokenLinear(nn.Linear):
    """
    A linear layer for many tokens of each image: (B, tokens, I) -> (B, tokens, O).

    torch computes a 1x1 convolution and its gradients by oneDNN, which uses the full SIMD width of
    every x86 processor. The matrix products of torch use half of it on some processors, and are
    faster on others. So both are timed.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for each token."""
        if x.device.type != 'cpu' or x.shape[1] == 1 or not can_convolve():
            return super().forward(x)
        return self._convolve(x) if self._convolves(x) else super().forward(x)

    def _convolve(self, x: Tensor) -> Tensor:
        """Return the output, computed as a convolution."""
        image = x.unsqueeze(1).permute(0, 3, 1, 2)  # one row of pixels, each a token
        y = F.conv2d(image, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).squeeze(1)

    def _convolves(self, x: Tensor) -> bool:
        """Return whether a convolution is faster for such tokens, and their gradients."""
        if torch.compiler.is_compiling():
            return True  # nothing can be timed while compiling
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        some = x[:TIMED].detach().requires_grad_(learns)

        def go(form: Callable[[Tensor], Tensor]) -> None:
            y = form(some)
            if learns:
                torch.autograd.grad(y.sum(), (some, self.weight))

        forms = {'convolution': self._convolve, 'product': super().forward}
        task = (
            f'{x.shape[1]} tokens of {self.in_features} -> {self.out_features}, '
            f'{"with" if learns else "without"} gradients, {torch.get_num_threads()} threads'
        )
        timed = {name: partial(go, form) for name, form in forms.items()}
        return fastest(task, timed) == 'convolution'


def can_convolve() -> bool:
    """Return whether to use oneDNN; not in an exported graph, which is for other machines."""
    return ONEDNN and not torch.compiler.is_exporting()


class EncoderBlock(nn.Module):
    """A layer of the vision transformer: (B, tokens, 192) -> the same shape."""

    def __init__(self, heads: int = 3, wide: int = 768) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(LATENT, eps=1e-12)
        self.query = TokenLinear(LATENT, LATENT)
        self.key = TokenLinear(LATENT, LATENT)
        self.value = TokenLinear(LATENT, LATENT)
        self.out = TokenLinear(LATENT, LATENT)
        self.norm_mlp = nn.LayerNorm(LATENT, eps=1e-12)
        self.mlp = nn.Sequential(TokenLinear(LATENT, wide), nn.GELU(), TokenLinear(wide, LATENT))

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        """Attend from all tokens, or from the first `queries`, to all; then apply the MLP."""
        normal = self.norm_attention(x)
        query, key, value = self.query(normal[:, :queries]), self.key(normal), self.value(normal)
        x = x[:, :queries] + self.out(attention(query, key, value, self.heads))
        y: Tensor = x + self.mlp(self.norm_mlp(x))
        return y


class VisionEncoder(nn.Module):
    """f: uint8 pixels (B, 3, S, S) -> latent (B, 192)."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: int = 12) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(1, 1, LATENT))  # its output becomes the latent
        self.position = nn.Parameter(torch.empty(1, (SIDE // PATCH) ** 2 + 1, LATENT))
        self.patches = nn.Conv2d(3, LATENT, PATCH, stride=PATCH)
        self.layers = nn.Sequential(*(EncoderBlock() for _ in range(layers)))
        self.norm = nn.LayerNorm(LATENT, eps=1e-12)
        for name, values in (('mean', MEAN), ('std', STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.trunc_normal_(weight, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.projector = projector()

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images of any size, which are resized to 224 px."""
        return self.forward_head(self.forward_features(pixels))

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the features of each image by itself: (B, 192)."""
        image = pixels.float() / 255
        if image.shape[-1] != SIDE:
            image = F.interpolate(image, (SIDE, SIDE), mode='bilinear', antialias=True)
        patches = self.patches((image - self.mean) / self.std).flatten(2).transpose(1, 2)
        first = self.first.expand(patches.shape[0], -1, -1)  # len() fails on a symbolic size
        x = torch.cat([first, patches], dim=1) + self.position
        for number, layer in enumerate(self.layers, start=1):
            # Only the first token of the last layer is used.
            x = layer(x, queries=1 if number == len(self.layers) else None)
        features: Tensor = self.norm(x[:, 0])
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the latents of a whole batch: (B, 192) -> (B, 192)."""
        z: Tensor = self.projector(features)
        return z


class ActionEncoder(nn.Module):
    """Actions (B, T, K*A) -> (B, T, 192)."""

    def __init__(self, action_size: int, narrow: int = 10, wide: int = 4 * LATENT) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(action_size, narrow, kernel_size=1)
        self.embed = nn.Sequential(nn.Linear(narrow, wide), nn.SiLU(), nn.Linear(wide, LATENT))

    def forward(self, action: Tensor) -> Tensor:
        """Embed the actions of each model step."""
        embedded: Tensor = self.embed(self.narrow(action.transpose(1, 2)).transpose(1, 2))
        return embedded


class PredictorBlock(nn.Module):
    """A layer of the predictor: tokens and conditions (B, T, 192) -> (B, T, 192)."""

    def __init__(
        self, heads: int = 16, head: int = 64, wide: int = 2048, drop: float = 0.1
    ) -> None:
        super().__init__()
        self.heads, self.drop = heads, drop
        modulation = nn.Linear(LATENT, 6 * LATENT)
        # With zero modulation, an untrained layer is the identity.
        nn.init.zeros_(modulation.weight)
        nn.init.zeros_(modulation.bias)
        self.modulation = nn.Sequential(nn.SiLU(), modulation)
        self.norm = nn.LayerNorm(LATENT, eps=1e-6, elementwise_affine=False)
        self.norm_attention = nn.LayerNorm(LATENT)
        self.qkv = nn.Linear(LATENT, 3 * heads * head, bias=False)
        self.out = nn.Linear(heads * head, LATENT)
        self.mlp = nn.Sequential(
            nn.LayerNorm(LATENT),
            nn.Linear(LATENT, wide),
            nn.GELU(),
            nn.Dropout(drop),
            nn.Linear(wide, LATENT),
            nn.Dropout(drop),
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Apply causal attention and an MLP, both shifted, scaled and gated by the actions."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(condition).chunk(
            6, -1
        )
        x = x + gate * self._attend(self.norm(x) * (1 + scale) + shift)
        y: Tensor = x + gate_mlp * self.mlp(self.norm(x) * (1 + scale_mlp) + shift_mlp)
        return y

    def _attend(self, x: Tensor) -> Tensor:
        """Attend from every token to itself and those before it."""
        query, key, value = self.qkv(self.norm_attention(x)).chunk(3, -1)
        drop = self.drop if self.training else 0.0
        y = attention(query, key, value, self.heads, drop, causal=True)
        return F.dropout(self.out(y), self.drop, self.training)


class Predictor(nn.Module):
    """g: latents and actions of up to `history` steps -> the next latent of each."""

    def __init__(self, action_size: int, history: int, layers: int = 6) -> None:
        super().__init__()
        self.history = history
        self.actions = ActionEncoder(action_size)
        self.position = nn.Parameter(torch.randn(1, history, LATENT))
        self.layers = nn.ModuleList(PredictorBlock() for _ in range(layers))
        self.norm = nn.LayerNorm(LATENT)
        self.projector = projector()

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict one model step from one latent: (..., 192), (..., K*A) -> (..., 192)."""
        tokens, actions = z.reshape(-1, 1, LATENT), action.reshape(-1, 1, action.shape[-1])
        return self.predict_sequence(tokens, actions).reshape(z.shape)

    def predict_sequence(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict the next latent of T <= history steps: (B, T, 192), (B, T, K*A) -> same."""
        condition = self.actions(action)
        x = z + self.position[:, : z.shape[1]]
        for layer in self.layers:
            x = layer(x, condition)
        after: Tensor = self.projector(self.norm(x).flatten(0, 1))
        return after.view_as(z)

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps from latents, with their past or not: (..., T, K*A) -> (..., T, 192)."""
        steps = actions.reshape(-1, *actions.shape[-2:])
        known, sent = parted(z.reshape(-1, z.shape[-1]), LATENT, steps.shape[-1])
        first, steps = known.shape[1], torch.cat([sent, steps], dim=1)
        for step in range(first, steps.shape[1] + 1):
            recent = slice(max(step - self.history, 0), step)
            latest = self.predict_sequence(known[:, recent], steps[:, recent])[:, -1:]
            known = torch.cat([known, latest], dim=1)
        return known[:, first:].reshape(*actions.shape[:-1], LATENT)


def attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, drop: float = 0.0, causal: bool = False
) -> Tensor:
    """Return multi-head attention: 3 times (B, tokens, W) -> (B, tokens, W)."""
    q, k, v = (
        x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2) for x in (query, key, value)
    )
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=causal)
    return y.transpose(1, 2).flatten(2)
