"""One pack of proxies: trained together on a pile each, asked about every real image, and thrown away.

All proxies start from the same weights and draw the same indices, times and noises (they share one id), so that what
differs between two of them is their piles.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import logging

from attack.evidence.proxies import losses
from shadow import files
from shadow.config import DiffusionConfig, ProxyConfig, TrainConfig
from shadow.data import decoding
from shadow.denoisers.build import build
from shadow.errors import UserError
from shadow.fleet import plan as plans
from shadow.training import checkpoint, train

_CODE = ("losses.py", "packs.py")  # beside the trainer's, this decides about the bits
_CHECKPOINTS = 3  # a pack that is killed loses a third of its training at most


def diffusion(config: ProxyConfig) -> DiffusionConfig:
    """The process of the proxies, whatever that of the shadows is: cosine schedule, and the plain loss of v and of
    epsilon. That of x_0 weighs as a shadow's by default, since its plain weight has no bound."""
    cap = DiffusionConfig().max_weight if config.prediction == "sample" else 1e6
    return DiffusionConfig(timesteps=1000, prediction=config.prediction, max_weight=cap)


def training(config: ProxyConfig) -> TrainConfig:
    return TrainConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        checkpoint_every=-(-config.steps // _CHECKPOINTS),
    )


def spec(piles: np.ndarray, config: ProxyConfig, seed: int) -> train.Spec:
    """What a pack is trained on. piles: [pile, image, size, size] in [0, 255]."""
    count, size = piles.shape[:2]
    return train.Spec(
        seed,
        "proxy",
        (0,) * count,
        decoding.to_unit(piles.reshape(count * size, *piles.shape[2:])),
        tuple(np.arange(i * size, (i + 1) * size) for i in range(count)),
        config.denoiser,
        diffusion(config),
        training(config),
    )


def key(piles: Sequence[np.ndarray], images: np.ndarray, config: ProxyConfig, seed: int, threads: int) -> str:
    """Hash (16 hex digits) of everything the losses of a pack depend on: the images compared, seed, options, threads,
    and the code."""
    fields = dataclasses.asdict(config)
    fields.pop("pack")  # which piles share a pack is said by the piles
    content = {
        "trainer": plans.versions()[0],
        "code": plans.code(Path(__file__).parent, _CODE),
        "seed": seed,
        "proxy": fields,
        "threads": threads,
        "piles": [_sha256(pile) for pile in piles],
        "images": _sha256(images),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _sha256(images: np.ndarray) -> str:
    return hashlib.sha256(f"{images.shape}\n".encode() + np.asarray(images, np.float32).tobytes()).hexdigest()


def measure(
    folder: Path,
    piles: np.ndarray,
    images: np.ndarray,
    config: ProxyConfig,
    seed: int,
    progress: train.Progress = train.silent,
    stop: Callable[[], bool] = train.never,
) -> np.ndarray:
    """Trains a proxy on each pile and asks it about every image: float32 [pile, image, time], see `losses.closeness`.

    piles: [pile, image, size, size], images: [image, size, size], both in [0, 255]. Checkpoints lie in `folder`, from
    which a killed process's successor goes on to the same bits. Raises Stopped, with the work saved, when `stop()`
    says so, and UserError where a loss is not finite.
    """
    about = spec(piles, config, seed)
    folders = [folder / str(i) for i in range(len(piles))]
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    try:
        train.train_pack(about, folders, (), progress, stop)
    except UserError as error:
        raise UserError(f"proxies: {error}".replace("train.learning_rate", "attack.proxy.learning_rate")) from error
    size = images.shape[-1]
    network = build(config.denoiser, size)
    like = jax.eval_shape(lambda: train.init_states(about, network))
    params = checkpoint.restore_pack(folders, config.steps, like).ema
    bank = losses.bank(seed, config.noises, size)
    return losses.closeness(network, about.diffusion, params, decoding.to_unit(images), config.times, bank)


def result_path(root: Path, name: str) -> Path:
    """Where the losses of the pack with the key `name` are, below ROOT = WORKDIR/signals/proxies."""
    return root / f"{name}.npy"


def write(root: Path, name: str, values: np.ndarray) -> None:
    """The hash of the file first, then the file, and only then the checkpoints go."""
    path = result_path(root, name)
    files.write_json(path.with_suffix(".json"), {"sha256": _sha256(values)})
    files.write_array(path, values)
    shutil.rmtree(root / name, ignore_errors=True)


def read(root: Path, name: str, shape: tuple[int, int, int]) -> np.ndarray | None:
    """The losses of a pack, float32 [pile, image, time]; None where there are none, or (with a warning) none that can
    be used: they are worked out again."""
    path = result_path(root, name)
    if not path.exists():
        return None
    try:
        wanted = json.loads(path.with_suffix(".json").read_text())["sha256"]
        values = np.load(path, allow_pickle=False)
        if values.dtype != np.float32 or values.shape != shape or _sha256(values) != wanted:
            raise ValueError("not the numbers that were written")
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        logging.warning("%s: no readable losses of proxies (%s): its pack is trained again", path, error)
        return None
    return values
