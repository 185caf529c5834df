"""The network: a small all-convolutional classifier of grey images."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from pydantic import ConfigDict, Field
from torch import nn

from orchestrator.domain.model import Model


class Architecture(Model):
    """Everything that fixes the network's shape; equal architectures have interchangeable weights."""

    model_config = ConfigDict(alias_generator=None)

    height: int = Field(ge=4, le=256, description="pixels")
    width: int = Field(ge=4, le=256, description="pixels")
    classes: int = Field(ge=2, le=1000)
    channels: int = Field(default=32, ge=1, le=256, description="feature maps of the first layers")


def build_model(architecture: Architecture) -> nn.Sequential:
    """Five 3 x 3 convolutions with batch normalisation, then one linear layer that gives a logit per class.

    Two of the convolutions halve the resolution by their stride instead of pooling (J. Springenberg et al., "Striving
    for Simplicity: The All Convolutional Net", 2014, https://arxiv.org/abs/1412.6806): the gradients of some pooling
    layers have no deterministic implementation on CUDA, those of convolutions do.
    """
    narrow, wide = architecture.channels, 2 * architecture.channels
    cells = math.ceil(architecture.height / 4) * math.ceil(architecture.width / 4)
    layers: dict[str, nn.Module] = {
        "block1": _block(1, narrow),
        "block2": _block(narrow, narrow),
        "block3": _block(narrow, wide, stride=2),
        "block4": _block(wide, wide),
        "block5": _block(wide, wide, stride=2),
        "flatten": nn.Flatten(),
        "logits": nn.Linear(wide * cells, architecture.classes),
    }
    return nn.Sequential(OrderedDict(layers))


def _block(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        # No bias: the normalisation that follows would subtract it again.
        "convolution": nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        "normalisation": nn.BatchNorm2d(outputs),
        "activation": nn.ReLU(),
    }
    return nn.Sequential(OrderedDict(layers))


def pick_device() -> torch.device:
    """The GPU when there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
