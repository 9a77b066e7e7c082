"""One pass of a model over new nodes of several trees that lie in slabs. Defined here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from selfemo.policy.trees.growth import Bools
from selfemo.policy.trees.slabs import LayerShape, Place, Slab
from selfemo.policy.trees.tree import Ints

SPARSE = 0.5
"""A slab is attended to by one call if at least this share of its trees has a single new node: the call reads all."""


@dataclass(frozen=True)
class NewNodes:
    """New nodes of one tree.

    Attributes:
        place: Where it lies.
        ids: ``(S,)`` tokens.
        depth: ``(S,)`` positions.
        slots: ``(S,)`` where each is put.
        seen: ``(S, L)`` what each sees of the first slots; None for one node that sees all up to its own.
    """

    place: Place
    ids: Ints
    depth: Ints
    slots: Ints
    seen: Bools | None


class Pass:
    """See :class:`selfemo.policy.trees.attention.Attend`.

    Args:
        parts: Each of a tree of its own.
        device: Of the model.
    """

    def __init__(self, parts: Sequence[NewNodes], device: torch.device) -> None:
        self.parts, self.device = parts, device
        bounds = np.cumsum([0, *(len(p.ids) for p in parts)]).tolist()
        by_slab: dict[Slab, list[int]] = {}
        for number, part in enumerate(parts):
            by_slab.setdefault(part.place.slab, []).append(number)
        self.writes = [
            (
                slab,
                self._tensor(np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in numbers])),
                self._tensor(np.concatenate([np.full(len(parts[i].ids), parts[i].place.row) for i in numbers])),
                self._tensor(np.concatenate([parts[i].slots for i in numbers])),
            )
            for slab, numbers in by_slab.items()
        ]
        self.together: list[_Together] = []
        alone: list[int] = []
        for slab, numbers in by_slab.items():
            single = [i for i in numbers if parts[i].seen is None]
            if len(single) > 1 and len(single) >= SPARSE * len(slab.places):
                self.together.append(self._together(slab, single, bounds))
                alone += [i for i in numbers if parts[i].seen is not None]
            else:
                alone += numbers
        self.alone = [(parts[i], bounds[i], bounds[i + 1], self._hidden(parts[i].seen)) for i in alone]
        self._biases: dict[tuple[int, int, int, int | None, torch.dtype], torch.Tensor] = {}

    def _tensor(self, values: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values)).to(self.device)

    def _hidden(self, seen: Bools | None) -> torch.Tensor | None:
        return None if seen is None else self._tensor(~seen)

    def _together(self, slab: Slab, numbers: list[int], bounds: list[int]) -> _Together:
        lengths = np.ones(len(slab.places), dtype=np.int64)  # trees without a new node see a slot: softmax needs one
        lengths[[self.parts[i].place.row for i in numbers]] = [int(self.parts[i].slots[0]) + 1 for i in numbers]
        length = int(lengths.max())
        hidden = np.arange(length)[None] >= lengths[:, None]
        return _Together(
            slab,
            self._tensor([self.parts[i].place.row for i in numbers]),
            self._tensor([bounds[i] for i in numbers]),
            length,
            self._tensor(hidden),
            bool(hidden.any()),
        )

    def _bias(
        self, hidden: torch.Tensor, key: tuple[int, int], like: torch.Tensor, groups: int, window: int | None
    ) -> torch.Tensor:
        """An additive mask, the same for all layers of one number of heads and one window."""
        full = (*key, groups, window, like.dtype)
        if full not in self._biases:
            if window is not None:  # slots of a node's past are ascending: the last ones that it sees are the nearest
                place = (~hidden).cumsum(1)
                hidden = hidden | (place <= place[:, -1:] - window)
            bias = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, float("-inf"))
            self._biases[full] = bias.repeat(groups, 1) if key[0] else bias[:, None, None]
        return self._biases[full]

    def attend(self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """See :meth:`selfemo.policy.trees.attention.Attend.attend`."""
        layer, window = module.layer_idx, getattr(module, "sliding_window", None)
        both = torch.stack((key[0].transpose(0, 1), value[0].transpose(0, 1)), dim=1)  # (S, 2, H_kv, D)
        for slab, nodes, rows, slots in self.writes:
            tensor = slab.tensors[layer]
            tensor[rows, :, :, slots] = (both if len(nodes) == len(both) else both[nodes]).to(tensor.dtype)
        queries = query[0].transpose(0, 1)  # (S, H, D)
        heads, shared, width = queries.shape[1], both.shape[2], queries.shape[2]
        groups = heads // shared
        # Heads that share keys stand side by side as more queries, so that no key is repeated.
        folded = queries.reshape(-1, shared, groups, width).to(both.dtype)
        out = torch.empty_like(folded)
        for some in self.together:
            tensor = some.slab.tensors[layer][: len(some.slab.places)]
            padded = folded.new_zeros((len(tensor), shared, groups, width))
            padded[some.rows] = folded[some.nodes]
            near = window if window is not None and window < some.length else None
            bias = None
            if some.ragged or near is not None:
                bias = self._bias(some.hidden, (0, id(some)), padded, groups, near)
            keys, values = (tensor[:, i, :, : some.length] for i in (0, 1))
            found = scaled_dot_product_attention(padded, keys, values, bias, scale=module.scaling)
            out[some.nodes] = found[some.rows]
        for part, start, stop, hidden in self.alone:
            length = hidden.shape[1] if hidden is not None else int(part.slots[0]) + 1
            tensor = part.place.slab.tensors[layer][part.place.row]
            mine = folded[start:stop].permute(1, 2, 0, 3).reshape(1, shared, -1, width)
            near = window if window is not None and window < length else None
            first = 0 if hidden is not None or near is None else length - near
            bias = None if hidden is None else self._bias(hidden, (1, id(part)), mine, groups, near)
            keys, values = (tensor[None, i, :, first:length] for i in (0, 1))
            found = scaled_dot_product_attention(mine, keys, values, bias, scale=module.scaling)
            out[start:stop] = found.view(shared, groups, stop - start, width).permute(2, 0, 1, 3)
        return out.reshape(1, -1, heads, width).to(query.dtype)


@dataclass(frozen=True, eq=False)
class _Together:
    """Trees of one slab with a single new node each: their rows, the nodes' places, and what each does not see."""

    slab: Slab
    rows: torch.Tensor
    nodes: torch.Tensor
    length: int
    hidden: torch.Tensor
    ragged: bool


class Shapes:
    """Attends as a plain sequence does, and notes the shapes of all layers' keys."""

    def __init__(self) -> None:
        self.layers: dict[int, LayerShape] = {}
        self.odd = ""
        """What a layer does beyond plain attention, if any does."""

    def attend(self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """See :meth:`selfemo.policy.trees.attention.Attend.attend`."""
        for name in ("sinks", "softcap", "attn_logit_softcapping"):
            # What a layer says in its call, or what its module has.
            if any(getattr(x, name, None) is not None for x in (module, getattr(module, "module", None))):
                self.odd = f"layer {module.layer_idx} has {name}"
        if key.shape != value.shape:
            self.odd = f"layer {module.layer_idx} has keys and values of different shape"
        self.layers[module.layer_idx] = LayerShape(key.shape[1], key.shape[3], key.dtype)
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=module.scaling, enable_gqa=True)
        return out.transpose(1, 2)
