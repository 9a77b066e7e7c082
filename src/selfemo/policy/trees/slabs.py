"""Where the keys and values of trees lie that are being grown.

Those of like size lie side by side, so that one call of attention reads many of them where they are. Defined here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from selfemo.policy.trees.tree import Ints

LEAST = 128
"""Slots of the smallest trees; the next size has half as many more, and so on."""

Cached = Mapping[int, torch.Tensor]
"""For each layer the keys and values of some nodes, ``(2, H_kv, S, D)``."""


@dataclass(frozen=True)
class LayerShape:
    """Shape of a layer's keys and of its values."""

    heads: int
    width: int
    dtype: torch.dtype


@dataclass(eq=False)
class Slab:
    """Trees of one capacity ``C``.

    Attributes:
        capacity: Slots of each.
        tensors: For each layer ``(N, 2, H_kv, C, D)``; the first rows are taken, the others are room.
        places: Whose the rows are, in order.
    """

    capacity: int
    tensors: dict[int, torch.Tensor] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)


@dataclass(eq=False)
class Place:
    """Where one tree lies: a row of a slab."""

    slab: Slab
    row: int


class Slabs:
    """All slabs of a model.

    Args:
        layers: Shapes, by the index of the layer.
        device: Of the model.
    """

    def __init__(self, layers: Mapping[int, LayerShape], device: torch.device) -> None:
        self.layers, self.device = layers, device
        self.slabs: dict[int, Slab] = {}

    def take(self, slots: int) -> Place:
        """A place for a tree of so many slots."""
        capacity = LEAST
        while capacity < slots:
            capacity = capacity * 3 // 2
        slab = self.slabs.setdefault(capacity, Slab(capacity))
        place = Place(slab, len(slab.places))
        rows = next(iter(slab.tensors.values())).shape[0] if slab.tensors else 0
        if place.row == rows:
            for index, layer in self.layers.items():
                # Zeros, since what is masked still has to be a number: 0 times NaN is NaN.
                shape = (rows * 3 // 2 + 1, 2, layer.heads, capacity, layer.width)
                larger = torch.zeros(shape, dtype=layer.dtype, device=self.device)
                if rows:
                    larger[:rows] = slab.tensors[index]
                slab.tensors[index] = larger
        slab.places.append(place)
        return place

    def free(self, place: Place) -> None:
        """Give a place back; the last row of its slab moves there."""
        slab, last = place.slab, place.slab.places.pop()
        if last is not place:
            for tensor in slab.tensors.values():
                tensor[place.row] = tensor[last.row]
            last.row = place.row
            slab.places[place.row] = last
        if not slab.places:
            del self.slabs[slab.capacity]

    def larger(self, place: Place, slots: int) -> Place:
        """The same tree at a place with so many slots: this one if it has them."""
        if slots <= place.slab.capacity:
            return place
        other = self.take(slots)
        for index, tensor in other.slab.tensors.items():
            tensor[other.row, :, :, : place.slab.capacity] = place.slab.tensors[index][place.row]
        self.free(place)
        return other

    def write(self, place: Place, slots: Ints, cached: Cached) -> None:
        """Put keys and values that were read before at slots of a tree."""
        at = torch.from_numpy(slots).to(self.device)
        for index, tensor in place.slab.tensors.items():
            tensor[place.row, :, :, at] = cached[index]

    def read(self, place: Place, slots: Ints) -> Cached:
        """A copy of the keys and values at slots of a tree."""
        at = torch.from_numpy(slots).to(self.device)
        return {index: tensor[place.row][:, :, at] for index, tensor in place.slab.tensors.items()}
