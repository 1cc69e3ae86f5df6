"""Pack convolution weights once for this processor, and fuse ReLU into the convolutions.

oneDNN, which computes torch's convolutions on a CPU, needs the weights in a layout that depends on
the processor, the threads and the input size. Eager torch reorders them on every call.
torch.compile packs them once (torch/_inductor/fx_passes/mkldnn_fusion.py), but compiling needs a
C++ compiler and adds seconds to a cold start. This module calls the same operators directly: a
240 px face then takes 0.6 of the time.
"""

from __future__ import annotations

import platform
from functools import partial
from typing import Any

import torch
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d
from torch.nn import Conv2d, Identity, Module

# Packing was measured on these processors. On others the network stays unchanged.
PROCESSORS = ("x86_64", "AMD64")


class PackedConv2d(Module):
    """A convolution with bias, with weights packed for inputs of one shape.

    Inputs of other shapes work but take longer, because the weights are reordered on each call.
    """

    def __init__(self, conv: Conv2d, shape: list[int], relu: bool) -> None:
        """Pack `conv` for inputs of `shape` (n, channels, height, width)."""
        super().__init__()
        padding, stride, dilation = map(list, (conv.padding, conv.stride, conv.dilation))
        reorder: Any = (
            torch._C._nn.mkldnn_reorder_conv2d_weight
        )  # torch's stubs lack the shape parameter
        self._weight = reorder(
            conv.weight.detach().contiguous().to_mkldnn(),
            *(padding, stride, dilation, conv.groups, shape),
        )
        bias = None if conv.bias is None else conv.bias.detach()
        after: list[Any] = ["relu" if relu else "none", [], ""]
        self._settings = (bias, padding, stride, dilation, conv.groups, *after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve `x` (n x channels x height x width), then apply ReLU if it was fused."""
        result: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, *self._settings
        )
        return result


def can_pack() -> bool:
    """Whether this processor and this build of torch support packing."""
    mkldnn: Any = torch.backends.mkldnn
    return platform.machine() in PROCESSORS and bool(mkldnn.is_available())


@torch.inference_mode()
def pack(net: Module, example: torch.Tensor) -> Module:
    """Pack the convolutions of `net` for inputs like `example`, if this machine supports it.

    Fold the batch norms first, and set the number of torch threads: the packed layout depends on
    it.
    """
    if not can_pack():
        return net
    shapes = _input_shapes(net, example)
    for parent in list(net.modules()):
        for name, conv in list(parent.named_children()):
            if not isinstance(conv, Conv2d) or conv not in shapes:
                continue
            relu = isinstance(parent, BasicConv2d)
            setattr(parent, name, PackedConv2d(conv, shapes[conv], relu))
            if relu:
                parent.relu = Identity()
    return net


def _input_shapes(net: Module, example: torch.Tensor) -> dict[Module, list[int]]:
    """The input shape of each convolution of `net` when it runs on `example`."""
    shapes: dict[Module, list[int]] = {}

    note = partial(_note_shape, shapes)
    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, Conv2d)]
    net(example)
    for hook in hooks:
        hook.remove()
    return shapes


def _note_shape(
    shapes: dict[Module, list[int]],
    module: Module,
    inputs: tuple[torch.Tensor, ...],
    _output: torch.Tensor,
) -> None:
    """A forward hook that records the input shape of `module` in `shapes`."""
    shapes[module] = list(inputs[0].shape)
