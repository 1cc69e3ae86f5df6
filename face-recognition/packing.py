"""Convolutions with their weights packed for this processor, and ReLU done on the way out.

oneDNN, which computes torch's convolutions on a CPU, wants the weights in an order of its own that
depends on processor, threads and input size. Eager torch re-orders them at every call.
torch.compile packs them once (torch/_inductor/fx_passes/mkldnn_fusion.py), but compiling costs
seconds of a cold start and a C++ compiler. Here the operators that it would call are called
directly: of the time of one 240 px face 0.6 is left.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d
from torch.nn import Conv2d, Identity, Module

# Where this was measured. Elsewhere the network stays as it is.
PROCESSORS = ("x86_64", "AMD64")


class PackedConv2d(Module):
    """A convolution with bias whose weights are packed for inputs of one shape.

    Others are computed as well, in more time: the weights are then re-ordered at each call.
    """

    def __init__(self, conv: Conv2d, shape: list[int], relu: bool) -> None:
        """Pack `conv` for inputs of `shape` (n, channels, height, width)."""
        super().__init__()
        padding, stride, dilation = map(list, (conv.padding, conv.stride, conv.dilation))
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight  # torch's own types lack the shape
        self._weight = reorder(
            conv.weight.detach().contiguous().to_mkldnn(),
            *(padding, stride, dilation, conv.groups, shape),
        )
        bias = None if conv.bias is None else conv.bias.detach()
        after: list[Any] = ["relu" if relu else "none", [], ""]
        self._settings = (bias, padding, stride, dilation, conv.groups, *after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of `x` (n x channels x height x width), after ReLU where that is due."""
        result: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, *self._settings
        )
        return result


def can_pack() -> bool:
    """Whether this processor and this torch have what packing needs."""
    mkldnn: Any = torch.backends.mkldnn
    return platform.machine() in PROCESSORS and bool(mkldnn.is_available())


@torch.inference_mode()
def pack(net: Module, example: torch.Tensor) -> Module:
    """`net` with its convolutions packed for inputs like `example`; as it is where that cannot be.

    Batch norms must be folded already. Set torch's threads first: packing is for their number.
    """
    if not can_pack():
        return net
    shapes = _input_shapes(net, example)
    for parent in list(net.modules()):
        for name, conv in list(parent.named_children()):
            if conv not in shapes:
                continue
            relu = isinstance(parent, BasicConv2d)
            setattr(parent, name, PackedConv2d(conv, shapes[conv], relu))  # type: ignore[arg-type]
            if relu:
                parent.relu = Identity()
    return net


def _input_shapes(net: Module, example: torch.Tensor) -> dict[Module, list[int]]:
    """The shape of what each convolution of `net` gets when `net` gets `example`."""
    shapes: dict[Module, list[int]] = {}

    def note(module: Module, given: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        shapes[module] = list(given[0].shape)

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, Conv2d)]
    net(example)
    for hook in hooks:
        hook.remove()
    return shapes
