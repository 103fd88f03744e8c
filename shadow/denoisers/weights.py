"""Weights of a `UNet2D` by the names that PyTorch diffusers gives them, both ways: a path join and a transpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from shadow.denoisers.build import Params
from shadow.errors import UserError

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "weight": "weight", "bias": "bias"}
# Attention of files written before diffusers 0.12, which diffusers renames too.
_FORMER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _flatten(params: Params, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(params, Mapping):
        return {path: params}
    return {k: v for name, inner in params.items() for k, v in _flatten(inner, (*path, str(name))).items()}


def _name(path: tuple[str, ...]) -> str:
    return ".".join([*path[:-1], _LEAVES[path[-1]]])


def _order(path: tuple[str, ...], rank: int) -> tuple[int, ...]:
    """Axes of ours, in PyTorch's order."""
    if path[-1] != "kernel":
        return tuple(range(rank))
    return (3, 2, 0, 1) if rank == 4 else (1, 0)


def to_diffusers(params: Params) -> dict[str, np.ndarray]:
    """Name -> float32 array in PyTorch's layout, contiguous."""
    flat = {path: np.asarray(leaf, np.float32) for path, leaf in _flatten(params).items()}
    return {_name(path): np.ascontiguousarray(leaf.transpose(_order(path, leaf.ndim))) for path, leaf in flat.items()}


def from_diffusers(tensors: Mapping[str, Any], like: Params, where: str) -> Params:
    """The weights with the structure and shapes of `like`, float32, of arrays by their PyTorch names.

    Raises UserError naming the tensor where one is missing, left over, of another shape, no number of 16 to 64 bits,
    or not finite.
    """
    renamed = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if "attentions" in parts and len(parts) > 1 and parts[-2] in _FORMER:
            parts[-2] = _FORMER[parts[-2]]
        renamed[".".join(parts)] = tensor
    if len(renamed) < len(tensors):
        raise UserError(f"{where}: has attention weights under their former and their present names; keep one of them")
    leaves = _flatten(like)
    wanted = {_name(path): path for path in leaves}
    for name in sorted(wanted.keys() - renamed.keys()):
        raise UserError(f"{where}: tensor {name!r} is missing; the config beside it is of another network")
    for name in sorted(renamed.keys() - wanted.keys()):
        raise UserError(f"{where}: tensor {name!r} has no place in the network of the config beside it")
    found = {
        path: _fitting(renamed[name], path, leaves[path], f"{where}: tensor {name!r}") for name, path in wanted.items()
    }
    return _nest(like, found)


def _fitting(tensor: Any, path: tuple[str, ...], like: Any, what: str) -> np.ndarray:
    order = _order(path, len(like.shape))
    wanted = tuple(like.shape[axis] for axis in order)
    if tuple(tensor.shape) != wanted:
        raise UserError(f"{what} has shape {tuple(tensor.shape)}, the network of the config beside it {wanted}")
    if tensor.dtype.name not in ("float16", "bfloat16", "float32", "float64"):
        raise UserError(f"{what} holds {tensor.dtype.name}: weights of 16 to 64 bits are supported, not quantised ones")
    array = np.asarray(tensor).astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"{what} has values that are not finite")
    return np.ascontiguousarray(array.transpose(np.argsort(order)))


def _nest(like: Params, found: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Params:
    if not isinstance(like, Mapping):
        return found[path]
    return {name: _nest(inner, found, (*path, str(name))) for name, inner in like.items()}
