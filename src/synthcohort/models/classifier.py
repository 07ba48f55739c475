"""A small residual classifier, cheap enough to be fitted many times on a CPU: audits and utility scores ask for that.

Shape suffixes: B images, C channels, H rows, W columns, K classes, D penultimate features.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassifierConfig:
    """What is needed to build the network again."""

    channels: int = 1
    num_classes: int = 2
    size: int = 64  # rows and columns the network sees
    widths: tuple[int, ...] = (32, 64, 128, 256)  # channels of each stage; the last is the number of features
    blocks: int = 1  # residual blocks a stage
    patch: int = 2  # side of the squares that become one pixel before the first convolution
    dropout: float = 0.1


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut. Source: He et al. 2016 (1512.03385), basic block."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        nn.init.zeros_(self.norm2.weight)  # the block starts as its shortcut
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, stride, stride=stride, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x_BCHW)))
        h = self.norm2(self.conv2(h))
        return F.relu(h + (x_BCHW if self.shortcut is None else self.shortcut(x_BCHW)))


class ResidualClassifier(nn.Module):
    """Images [B, C, H, W], standardized, to logits [B, K]; `features` gives the penultimate [B, D]."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        first = config.widths[0]
        self.stem = nn.Conv2d(config.channels * config.patch**2, first, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(first)
        stages: list[nn.Module] = []
        width = first
        for number, channels in enumerate(config.widths):
            for block in range(config.blocks):
                stages.append(Block(width, channels, stride=2 if block == 0 and number > 0 else 1))
                width = channels
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    def features(self, x_BCHW: Tensor) -> Tensor:
        h = F.pixel_unshuffle(x_BCHW, self.config.patch).contiguous(memory_format=torch.channels_last)
        h = F.relu(self.norm(self.stem(h)))
        return self.stages(h).float().mean(dim=(2, 3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x_BCHW)))
