# Copyright 2026 The rlrc_ros Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
Vision transformers with timm's key names, as OpenVLA's checkpoints hold them.

DINOv2 with registers and SigLIP are both this class; a TowerConfig tells them apart. Blocks after
the feature layer and SigLIP's pooling head never influence a feature and are not built.

Legend: B batch, P patches, N prefix tokens (class and registers), D width.
"""

import math

from rlrc_ros.vla.attention import attend
from rlrc_ros.vla.config import LayerWidths, TowerConfig
import torch
from torch import nn
from torch.nn import functional


class PatchEmbedding(nn.Module):
    """Image → patch tokens."""

    def __init__(self, config: TowerConfig):
        super().__init__()
        if config.stem == 'patch':
            self.proj = nn.Conv2d(3, config.embed_dim, config.patch_size, config.patch_size)
        else:
            halvings = int(math.log2(config.patch_size))
            widths = (3, *(config.embed_dim >> max(0, 3 - step) for step in range(halvings)))
            stages = []
            for before, after in zip(widths, widths[1:-1]):
                stages += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.GELU()]
            self.proj = nn.Sequential(*stages, nn.Conv2d(widths[-2], widths[-1], 3, 2, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (B, 3, H, W) into (B, P, D)."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Bidirectional self-attention."""

    def __init__(self, dim: int, num_heads: int, head_dim: int):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim)
        self.proj = nn.Linear(num_heads * head_dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, N + P, D) to the same shape."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N + P, head_dim)
        x = attend(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, N + P, D) to the same shape."""
        return self.fc2(functional.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """One learned factor per channel (DINOv2)."""

    def __init__(self, dim: int):
        super().__init__()
        self.scale_factor = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale the last dimension."""
        return x * self.scale_factor


class Block(nn.Module):
    """Pre-norm transformer block; without widths, as wide as the published tower's."""

    def __init__(self, config: TowerConfig, widths: LayerWidths | None = None):
        super().__init__()
        dim = config.embed_dim
        widths = widths or LayerWidths(config.num_heads, config.mlp_hidden)
        scale = LayerScale if config.layer_scale else (lambda dim: nn.Identity())
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, widths.num_heads, dim // config.num_heads)
        self.ls1 = scale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, widths.intermediate_size)
        self.ls2 = scale(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, N + P, D) to the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Tower(nn.Module):
    """Normalised pixels → the features of the second-to-last block, prefix tokens removed."""

    def __init__(self, config: TowerConfig):
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = PatchEmbedding(config)
        self.pos_embed = nn.Parameter(torch.empty(1, config.num_patches, dim).normal_(std=0.02))
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        if config.register_tokens:
            self.reg_token = nn.Parameter(torch.zeros(1, config.register_tokens, dim))
        self.blocks = nn.ModuleList([
            Block(config, config.block_widths(index)) for index in range(config.used_blocks)])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn normalised pixels (B, 3, H, W) into features (B, P, D)."""
        x = self.patch_embed(pixels) + self.pos_embed  # positions belong to patches alone
        prefix = []
        if self.config.class_token:
            prefix.append(self.cls_token.expand(len(x), -1, -1))
        if self.config.register_tokens:
            prefix.append(self.reg_token.expand(len(x), -1, -1))
        x = torch.cat([*prefix, x], dim=1)  # (B, N + P, D)
        for block in self.blocks:
            x = block(x)
        return x[:, -self.config.num_patches:]


class VisionBackbone(nn.Module):
    """One or two towers side by side; names as in OpenVLA: featurizer, fused_featurizer."""

    def __init__(self, towers: tuple[TowerConfig, ...]):
        super().__init__()
        self.featurizer = Tower(towers[0])
        if len(towers) == 2:
            self.fused_featurizer = Tower(towers[1])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels (B, 3 x towers, H, W), each normalised its way, into (B, P, sum of D)."""
        features = [self.featurizer(pixels[:, :3])]
        if hasattr(self, 'fused_featurizer'):
            features.append(self.fused_featurizer(pixels[:, 3:]))
        return torch.cat(features, dim=-1)
