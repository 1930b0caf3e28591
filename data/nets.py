"""Three small networks of the course, in PyTorch: a MobileNetV2, a U-Net, and convolutions with attention behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 8  # shapes.CLASSES
SPREAD = 4.0  # octaves


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1, act: type | None = nn.ReLU6):
    """Conv → BatchNorm → activation; the padding keeps height and width but for the stride."""
    layers = [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1×1 to more channels, 3×3 depthwise, 1×1 to few; added to the input where shapes agree.

    Source: Sandler et al. 2018, section 3.3.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int = 4):
        super().__init__()
        wide = inputs * expand
        self.expand = conv(inputs, wide, 1)
        self.depthwise = conv(wide, wide, 3, stride, groups=wide)
        self.project = conv(wide, outputs, 1, act=None)
        self.adds = stride == 1 and inputs == outputs
        for layer in (self.expand, self.depthwise):
            spread(layer[1])

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


def spread(norm: nn.BatchNorm2d) -> None:
    """Start γ anywhere within SPREAD octaves below 1: channels of unequal size, as large MobileNets have in the end."""
    nn.init.uniform_(norm.weight, -SPREAD, 0)
    norm.weight.data.exp2_()


class Classifier(nn.Module):
    """MobileNetV2 in small: pictures N×3×64×64 to scores N×8 of one object's shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2)
        steps = [(16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 48, 2), (48, 48, 1)]
        self.blocks = nn.Sequential(*(InvertedResidual(*step) for step in steps))
        self.last = conv(48, 128, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.scores = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.pool(self.last(self.blocks(self.stem(x)))).flatten(1))


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions with ReLU."""
    return nn.Sequential(conv(inputs, outputs, act=nn.ReLU), conv(outputs, outputs, act=nn.ReLU))


class Segmenter(nn.Module):
    """U-Net in small: pictures N×3×96×96 to scores N×9×96×96, background first. Source: Ronneberger et al. 2015."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2, act=nn.ReLU)
        self.down1, self.down2, self.down3 = double(16, 16), double(16, 32), double(32, 64)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join2, self.join1 = double(64, 32), double(32, 16)
        self.scores = nn.ConvTranspose2d(16, CLASSES + 1, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(self.stem(x))
        two = self.down2(self.pool(one))
        three = self.down3(self.pool(two))
        two = self.join2(torch.cat([self.up2(three), two], 1))
        one = self.join1(torch.cat([self.up1(two), one], 1))
        return self.scores(one)


class Attention(nn.Module):
    """softmax(Q·Kᵀ/√d)·V over `heads` parts of the features, tokens N×T×F. Source: Vaswani et al. 2017, section 3.2."""

    def __init__(self, features: int, heads: int):
        super().__init__()
        self.heads, self.size = heads, features // heads
        self.q, self.k, self.v = (nn.Linear(features, features) for _ in range(3))
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, features = x.shape
        q, k, v = (f(x).reshape(n, tokens, self.heads, self.size).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(2, 3) * self.size**-0.5, -1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, tokens, features))


class Block(nn.Module):
    """A transformer's block: attention, two linear layers with GELU; LayerNorm before each, its input added after."""

    def __init__(self, features: int, heads: int = 4):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = Attention(features, heads)
        self.mlp = nn.Sequential(nn.Linear(features, 2 * features), nn.GELU(), nn.Linear(2 * features, features))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Three convolutions make 8×8 tokens of a picture N×3×64×64; two blocks with attention make scores N×8 of them."""

    def __init__(self, features: int = 64):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2, act=nn.ReLU), conv(16, 32, 3, 2, act=nn.ReLU))
        self.tokens = nn.Conv2d(32, features, 3, 2, 1)
        self.place = nn.Parameter(0.02 * torch.randn(1, 64, features))
        self.blocks = nn.Sequential(Block(features), Block(features))
        self.norm = nn.LayerNorm(features)
        self.scores = nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(self.stem(x)).flatten(2).transpose(1, 2) + self.place
        return self.scores(self.norm(self.blocks(x)).mean(1))
