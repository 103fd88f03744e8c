"""Training steps of our UNet2D and DiT on a GPU against PyTorch diffusers, eager and compiled, paired in one run.

python benchmarks/gpu.py [--models=unet2d-64 --models=dit-256] [--runs=5] [--dtype=bfloat16] [--mode=max-autotune]

Needs torch, diffusers (pip install -e '.[parity]'), jax for the GPU ('.[cuda]') and for `torch.compile` a C compiler.
Weights and AdamW are float32 on every side, forward and backward pass in --dtype: ours by `denoiser.dtype`, PyTorch by
autocast, which leaves norms in float32 where ours only sum in it. PyTorch has `channels_last`, AdamW `fused`, cuDNN's
search for the fastest convolution (XLA searches too), and --mode of `torch.compile`. Each side lives in a process of
its own and they take turns. Printed are medians of images/s, of the ratio to PyTorch eager, with its range, and the
model FLOP utilisation: operations in the matrix products, convolutions and attention of a training step as PyTorch
counts them on its network, times images/s, as a share of --peak. Without a GPU it runs on the CPU, to try it: there
--models=tiny-unet2d --models=tiny-dit --repeat=1 --runs=1 are enough.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import app, flags

if TYPE_CHECKING:
    from shadow.config import DenoiserConfig

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from paired import Process, need_torch, our_steps, serve, spread, turns  # noqa: E402

from shadow.errors import UserError, exits  # noqa: E402


class UNet(NamedTuple):
    """Two residual blocks a level, attention in the middle and in the last `attended` levels, heads of 64 features."""

    side: int
    batch: int
    channels: tuple[int, ...]
    attended: int


class Transformer(NamedTuple):
    """DiT-S (Peebles and Xie 2023), heads of 64 features."""

    side: int
    batch: int
    patch: int
    width: int = 384
    depth: int = 12
    heads: int = 6


MODELS: dict[str, UNet | Transformer] = {
    "unet2d-64": UNet(64, 64, (64, 128, 256, 256), 2),
    "unet2d-256": UNet(256, 8, (128, 128, 256, 256, 512, 512), 2),
    "dit-64": Transformer(64, 256, 4),
    "dit-256": Transformer(256, 64, 8),
    "tiny-unet2d": UNet(32, 2, (64, 64), 1),
    "tiny-dit": Transformer(32, 2, 8, 64, 2, 1),
}
TINY = ("tiny-unet2d", "tiny-dit")
SIDES = ("eager", "compiled", "ours")
PEAKS = {"bfloat16": 989.0, "float32": 495.0}  # TFLOP/s, dense, of an H100 or H200 SXM (datasheet); float32 is TF32
_MODELS = flags.DEFINE_multi_enum(
    "models", [name for name in MODELS if name not in TINY], list(MODELS), "Models; repeat the flag for several."
)
_RUNS = flags.DEFINE_integer("runs", 5, "Paired runs.", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", list(PEAKS), "Of forward and backward pass.")
_MODE = flags.DEFINE_enum("mode", "default", ["default", "reduce-overhead", "max-autotune"], "Of torch.compile.")
_PEAK = flags.DEFINE_float("peak", None, "TFLOP/s of the card; else that of an H100 or H200.", lower_bound=1.0)
_BATCH = flags.DEFINE_integer("batch", 0, "Images a step; 0: the model's own.", lower_bound=0)
_REPEAT = flags.DEFINE_integer("repeat", 10, "Steps that are queued before their end is waited for.", lower_bound=1)
_ONLY = flags.DEFINE_enum("only", None, SIDES, "Internal: one side, timed at each line on stdin.")
SECONDS, CALLS = 2.0, 1  # of one timing, at least


def unet_fields(model: UNet) -> dict[str, Any]:
    """Of diffusers' config, by its names."""
    plain = len(model.channels) - model.attended
    return {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": model.channels,
        "down_block_types": ("DownBlock2D",) * plain + ("AttnDownBlock2D",) * model.attended,
        "up_block_types": ("AttnUpBlock2D",) * model.attended + ("UpBlock2D",) * plain,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "add_attention": True,
        "attention_head_dim": 64,
    }


def torch_network(model: UNet | Transformer) -> Any:
    """The network, and (images [batch, 1, side, side], times [batch]) -> prediction."""
    import diffusers
    import torch

    if isinstance(model, UNet):
        network = diffusers.UNet2DModel(sample_size=model.side, **unet_fields(model))

        def unet(x: Any, t: Any) -> Any:
            return network(x, t, return_dict=False)[0]

        return network, unet
    network = diffusers.DiTTransformer2DModel(
        num_attention_heads=model.heads,
        attention_head_dim=model.width // model.heads,
        in_channels=1,
        out_channels=1,
        num_layers=model.depth,
        sample_size=model.side,
        patch_size=model.patch,
        num_embeds_ada_norm=1,
    )

    def transformer(x: Any, t: Any) -> Any:
        return network(x, timestep=t, class_labels=torch.zeros_like(t), return_dict=False)[0]

    return network, transformer


def flops(model: UNet | Transformer) -> float:
    """Floating point operations of one image's training step, forward and backward, in products, convolutions and
    attention. Ours does some fewer: diffusers' DiT embeds time and class anew in every block, ours time once, and what
    the UNet doubles in size it convolves with four kernels 2 x 2 in place of one 3 x 3."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        _, call = torch_network(model)
        x, t = torch.randn(1, 1, model.side, model.side), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        call(x, t).square().mean().backward()
    return float(counter.get_total_flops())


def torch_side(model: UNet | Transformer, batch: int, dtype: str, repeat: int, mode: str | None) -> Callable[[], None]:
    """`mode` of torch.compile; None: eager."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # as XLA on a GPU: TF32 where the pass is float32
    torch.backends.cudnn.benchmark = True
    network, call = torch_network(model)
    network.to(device)
    if isinstance(model, UNet):
        network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x, noise = (torch.randn(batch, 1, model.side, model.side, device=device) for _ in range(2))
    t = torch.arange(batch, device=device) * 1000 // batch

    def loss_of(x: Any, t: Any) -> Any:
        with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
            return (call(x, t).float() - noise).square().mean()

    compute_loss = loss_of if mode is None else torch.compile(loss_of, mode=mode)

    def training() -> None:
        for _ in range(repeat):
            optimizer.zero_grad()
            loss = compute_loss(x, t)
            loss.backward()
            optimizer.step()
        loss.item()  # waits

    return training


def our_side(model: UNet | Transformer, batch: int, dtype: str, repeat: int) -> Callable[[], None]:
    return our_steps(our_config(model, dtype), model.side, batch, pack=1, repeat=repeat)["training"]


def our_config(model: UNet | Transformer, dtype: str) -> DenoiserConfig:
    from shadow.config import DenoiserConfig
    from shadow.denoisers.unet2d_config import UNet2DConfig

    if isinstance(model, UNet):
        return DenoiserConfig(kind="unet2d", dtype=dtype, unet=UNet2DConfig(**unet_fields(model)))
    return DenoiserConfig(
        kind="dit", dtype=dtype, patch=model.patch, width=model.width, depth=model.depth, heads=model.heads
    )


def main(_: list[str]) -> None:
    dtype, repeat, peak = _DTYPE.value, _REPEAT.value, _PEAK.value or PEAKS[_DTYPE.value]
    if _ONLY.value:
        model = MODELS[_MODELS.value[0]]
        batch = _BATCH.value or model.batch
        if _ONLY.value == "ours":
            step = our_side(model, batch, dtype, repeat)
        else:
            step = torch_side(model, batch, dtype, repeat, _MODE.value if _ONLY.value == "compiled" else None)
        serve({"training": step}, batch * repeat, SECONDS, CALLS)
        return
    need_torch()
    import jax
    import torch

    ours, theirs = jax.devices()[0], torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"jax {jax.__version__} on {ours.device_kind}, PyTorch {torch.__version__} on {theirs}, {dtype}", flush=True)
    if (ours.platform == "cpu") != (theirs == "cpu"):
        raise UserError(
            "one side has a GPU and the other has none: install jax ('.[cuda]') and torch for the same device"
        )
    for name in _MODELS.value:
        model = MODELS[name]
        cost, batch = flops(model), _BATCH.value or model.batch
        print(f"{name}: {model._replace(batch=batch)}, {cost / 1e9:.1f} GFLOP an image", flush=True)
        common = (
            f"--models={name}",
            f"--dtype={dtype}",
            f"--mode={_MODE.value}",
            f"--batch={batch}",
            f"--repeat={repeat}",
        )
        processes = [Process(__file__, f"--only={side}", *common) for side in SIDES]
        rates = turns([[process] for process in processes], "training", _RUNS.value)
        for side, column in zip(SIDES, rates.T, strict=True):
            label = "ours" if side == "ours" else f"PyTorch {side}"
            use = f", {np.median(column) * cost / peak / 1e12:.1%} of {peak:g} TFLOP/s" if theirs != "cpu" else ""
            ratio = spread(column / rates[:, 0])
            print(f"  {label}: {np.median(column):8.1f} images/s{use}; ratio to PyTorch eager {ratio}", flush=True)
        for process in processes:
            process.close()


if __name__ == "__main__":
    # three processes share the card, and jax would take three quarters of it at its start
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with exits(lambda: __file__):
        app.run(main)
