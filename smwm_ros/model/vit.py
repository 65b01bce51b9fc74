# SPDX-License-Identifier: Apache-2.0
"""
The networks of the preset `tiny`, which are those of the paper (arXiv 2606.20104).

f is a vision transformer with a projector, g a transformer whose layers are modulated by the
actions (adaLN-zero), with a projector of its own. Both work on images of 224 px and latents of
192 numbers. Widths, order of operations and initial weights are exactly the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from smwm_ros.model.fastest import fastest
from smwm_ros.model.kernels import X86
import torch
from torch import nn, Tensor
from torch.nn import functional as F  # noqa: N812 - the name everyone knows

LATENT, HIDDEN = 192, 256
SIDE, PATCH = 224, 14  # [px]
TIMED = 2  # images that forms of a layer are timed with
ONEDNN = X86 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green and blue in ImageNet


def projector() -> nn.Sequential:
    """Make the head that both transformers end with; nothing bounds what it returns."""
    wide = 2048
    return nn.Sequential(
        nn.Linear(LATENT, wide), nn.BatchNorm1d(wide), nn.GELU(), nn.Linear(wide, LATENT)
    )


class TokenLinear(nn.Linear):
    """
    A linear layer for many tokens of each image: (B, tokens, I) -> (B, tokens, O).

    As a convolution of one pixel, which is the same, torch leaves it and its gradients to oneDNN,
    that fills the registers of every x86 processor; its own products leave half of some empty, and
    are faster on others. So both are tried.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every token by itself."""
        if x.device.type != 'cpu' or x.shape[1] == 1 or not can_convolve():
            return super().forward(x)
        return self._convolve(x) if self._convolves(x) else super().forward(x)

    def _convolve(self, x: Tensor) -> Tensor:
        """Apply as a convolution."""
        image = x.unsqueeze(1).permute(0, 3, 1, 2)  # one row of pixels, each a token
        y = F.conv2d(image, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).squeeze(1)

    def _convolves(self, x: Tensor) -> bool:
        """Say whether a convolution is faster for tokens like these, and their gradients."""
        if torch.compiler.is_compiling():
            return True  # nothing can be timed now
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
    """Say whether oneDNN is here; a graph that is exported is for other machines."""
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

    def forward(self, x: Tensor, asked: int | None = None) -> Tensor:
        """Let all tokens, or the first `asked`, look at all others, then think by themselves."""
        normal = self.norm_attention(x)
        query, key, value = self.query(normal[:, :asked]), self.key(normal), self.value(normal)
        x = x[:, :asked] + self.out(attention(query, key, value, self.heads))
        plan_report: Tensor = x + self.mlp(self.norm_mlp(x))
        return plan_report


class VisionEncoder(nn.Module):
    """f: uint8 pixels (B, 3, S, S) -> latent (B, 192)."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: int = 12) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(1, 1, LATENT))  # the token that becomes the latent
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
        """Encode images of any size, which are made 224 px wide."""
        return self.forward_head(self.forward_features(pixels))

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the features of each image by itself: (B, 192)."""
        image = pixels.float() / 255
        if image.shape[-1] != SIDE:
            image = F.interpolate(image, (SIDE, SIDE), mode='bilinear', antialias=True)
        patches = self.patches((image - self.mean) / self.std).flatten(2).transpose(1, 2)
        first = self.first.expand(patches.shape[0], -1, -1)  # not len(): it may be a symbol
        x = torch.cat([first, patches], dim=1) + self.position
        for number, layer in enumerate(self.layers, start=1):
            # Nobody asks what the last layer makes of the patches.
            x = layer(x, asked=1 if number == len(self.layers) else None)
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
        """Embed each block of actions by itself."""
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
        # A layer that is not modulated yet passes its tokens on as they are.
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
        """Look at the tokens so far, then think, each as much as the actions open the gates."""
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(condition).chunk(
            6, -1
        )
        x = x + gate * self._attend(self.norm(x) * (1 + scale) + shift)
        plan_report: Tensor = x + gate_mlp * self.mlp(self.norm(x) * (1 + scale_mlp) + shift_mlp)
        return plan_report

    def _attend(self, x: Tensor) -> Tensor:
        """Let every token look at itself and those before it."""
        query, key, value = self.qkv(self.norm_attention(x)).chunk(3, -1)
        drop = self.drop if self.training else 0.0
        seen = attention(query, key, value, self.heads, drop, causal=True)
        return F.dropout(self.out(seen), self.drop, self.training)


class Predictor(nn.Module):
    """g: the latents and actions of up to `history` steps -> the latents that follow each."""

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
        return self.follow(tokens, actions).reshape(z.shape)

    def follow(self, z: Tensor, action: Tensor) -> Tensor:
        """Predict what follows each of T <= history steps: (B, T, 192), (B, T, K*A) -> same."""
        condition = self.actions(action)
        x = z + self.position[:, : z.shape[1]]
        for layer in self.layers:
            x = layer(x, condition)
        after: Tensor = self.projector(self.norm(x).flatten(0, 1))
        return after.view_as(z)

    def imagine(self, z: Tensor, actions: Tensor) -> Tensor:
        """Go on from one latent for T steps: (..., 192), (..., T, K*A) -> (..., T, 192)."""
        steps = actions.reshape(-1, *actions.shape[-2:])
        known = z.reshape(-1, 1, LATENT)
        for step in range(1, steps.shape[1] + 1):
            recent = slice(max(step - self.history, 0), step)
            latest = self.follow(known[:, recent], steps[:, recent])[:, -1:]
            known = torch.cat([known, latest], dim=1)
        return known[:, 1:].reshape(*actions.shape[:-1], LATENT)


def attention(
    query: Tensor, key: Tensor, value: Tensor, heads: int, drop: float = 0.0, causal: bool = False
) -> Tensor:
    """Attend in several heads, whose numbers lie side by side: 3 times (B, tokens, W) -> same."""
    q, k, v = (
        x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2) for x in (query, key, value)
    )
    seen = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=causal)
    return seen.transpose(1, 2).flatten(2)
