"""Random distortions of training images, so that a small dataset teaches what does not matter."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows

ROTATION = math.radians(12)
SCALE = 0.10
SHEAR = 0.10
SHIFT_PIXELS = 1.0


def warp(images: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Each image under an affine map of its own: rotated, scaled, sheared and shifted a little.

    `images` is [count, 1, height, width] with a background of 0; at `strength` 1 the amounts are uniform up to the
    constants above, at 0 nothing changes. Method: P. Simard, D. Steinkraus, J. Platt, "Best Practices for
    Convolutional Neural Networks Applied to Visual Document Analysis", ICDAR 2003, section 2.
    """
    if strength == 0 or len(images) == 0:
        return images
    height, width = images.shape[-2:]
    turn, scale, shear, down, right = strength * rng.uniform(-1, 1, size=(5, len(images)))
    cosine, sine, zoom = np.cos(turn * ROTATION), np.sin(turn * ROTATION), 1 + scale * SCALE
    # affine_grid maps output to input positions in coordinates from -1 to 1, so a pixel is 2 / size.
    across = np.stack([cosine / zoom, shear * SHEAR - sine / zoom, right * SHIFT_PIXELS * 2 / width], axis=1)
    along = np.stack([sine / zoom, cosine / zoom, down * SHIFT_PIXELS * 2 / height], axis=1)
    maps = torch.from_numpy(np.stack([across, along], axis=1).astype(np.float32))
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
