"""Packed convolutions compute the same numbers, and other processors keep the network unpacked."""

from __future__ import annotations

import copy
import platform
from typing import Any

import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d
from packing import PackedConv2d, can_pack, pack
from torch.nn.utils.fusion import fuse_conv_bn_eval

SIDE = 160
needs_packing = pytest.mark.skipif(not can_pack(), reason="this machine does not support packing")


@pytest.fixture(scope="module")
def folded() -> torch.nn.Module:
    """facenet-pytorch's network with random weights and folded batch norms."""
    torch.manual_seed(11)
    net: torch.nn.Module = InceptionResnetV1(pretrained=None, classify=False).eval()
    for module in net.modules():
        if isinstance(module, BasicConv2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = torch.nn.Identity()
    return net


def convolutions(net: torch.nn.Module, kind: Any) -> int:
    return sum(isinstance(module, kind) for module in net.modules())


@needs_packing
@pytest.mark.parametrize("shape", [(1, SIDE, SIDE), (3, SIDE, SIDE), (1, 112, 128)])
def test_a_packed_network_computes_the_same_numbers(
    folded: torch.nn.Module, shape: tuple[int, int, int]
) -> None:
    count, height, width = shape
    packed = pack(copy.deepcopy(folded), torch.zeros(1, 3, SIDE, SIDE))
    faces = torch.rand(count, 3, height, width) * 2 - 1

    with torch.inference_mode():
        expected, found = folded(faces), packed(faces)

    assert convolutions(packed, torch.nn.Conv2d) == 0
    assert convolutions(packed, PackedConv2d) == convolutions(folded, torch.nn.Conv2d) > 100
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_network_stays_unpacked_on_another_processor(
    folded: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    net = copy.deepcopy(folded)

    assert pack(net, torch.zeros(1, 3, SIDE, SIDE)) is net
    assert convolutions(net, torch.nn.Conv2d) == convolutions(folded, torch.nn.Conv2d)
