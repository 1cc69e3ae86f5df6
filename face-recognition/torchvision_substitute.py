"""Replace the two torchvision functions that facenet-pytorch imports: `batched_nms`, `to_tensor`.

torchvision's Linux wheels are linked to CUDA and cannot be imported with CPU torch. Importing
torchvision takes about as long as importing torch itself.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, limit: float
) -> torch.Tensor:
    """Indices (int64, best score first) kept by non-maximum suppression within each group.

    `boxes` is n x 4 (x1, y1, x2, y2), `scores` and `groups` are n, and `limit` is the highest
    intersection over union allowed. Equivalent to torchvision.ops.boxes.batched_nms.
    """
    order = scores.argsort(descending=True, stable=True).tolist()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(order), dtype=torch.bool)
    kept = []
    for i in order:
        if not alive[i]:
            continue
        kept.append(i)
        low = torch.maximum(boxes[i, :2], boxes[:, :2])
        high = torch.minimum(boxes[i, 2:], boxes[:, 2:])
        inter = (high - low).clamp(min=0).prod(dim=1)
        overlaps = inter > limit * (areas[i] + areas - inter)
        alive &= ~(overlaps & (groups == groups[i]))
    return torch.tensor(kept, dtype=torch.int64)


def to_tensor(image: Any) -> torch.Tensor:
    """Convert an H x W x 3 image to a 3 x H x W float tensor; uint8 (and PIL) is scaled to 0..1.

    Equivalent to torchvision.transforms.functional.to_tensor, which does not scale floats.
    """
    pixels = torch.from_numpy(np.array(image, copy=True)).permute(2, 0, 1).contiguous()
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def install() -> None:
    """Register this module's functions as torchvision; call before importing facenet-pytorch."""
    if "torchvision" in sys.modules:
        return
    ends = ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional")
    modules = {name: ModuleType(name) for name in (f"torchvision{end}" for end in ends)}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    modules["torchvision.ops.boxes"].__dict__["batched_nms"] = batched_nms
    modules["torchvision.transforms.functional"].__dict__["to_tensor"] = to_tensor
    sys.modules.update(modules)
