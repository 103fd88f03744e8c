"""Target generators of the bench of strangers: networks and samplers of PyTorch diffusers, and a GAN as in its paper.

Nothing here is shared with the shadows: networks, noise schedules, losses, training loop and samplers are other
people's or are written for this bench. Every draw is a function of the seed and of a step or a batch, so a target is
the same to the last bit each time on one machine with one thread.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol

import diffusers
import numpy as np
import torch
from foreign_worlds import RESOLUTION, World
from torch import nn

from shadow import keys

hub: Any = diffusers  # its classes come by names that no type checker follows
_TIMES = 1000  # noise levels of a training
_SAMPLED = 25  # images that are drawn at once: an image does not depend on how many are asked for
_PENALTY, _PENALISED = 1.0, 4  # of the GAN: weight of the gradient penalty, and of how many steps one has it
_LATENT, _WIDTH = 64, 16  # of the GAN: normal numbers an image, and channels of the layers at half the resolution


class Target(Protocol):
    """A generator in training."""

    def train(self, steps: int) -> float:
        """Trains this many more steps; returns their mean loss, which is NaN or infinite where training failed."""

    def sample(self, count: int, start: int = 0) -> np.ndarray:
        """Generated images number `start` to `start + count`, uint8 [image, RESOLUTION, RESOLUTION]."""

    def keep(self) -> Any:
        """The weights of now, for `restore`."""

    def restore(self, kept: Any) -> None:
        """Makes `sample` draw with the weights that were kept."""


def build(world: World, images: np.ndarray, seed: int) -> Target:
    """An untrained target of the world's kind.

    images: float32 [image, RESOLUTION, RESOLUTION] in [-1, 1], of its training slices. ValueError on another shape.
    """
    if images.ndim != 3 or images.shape[1:] != (RESOLUTION, RESOLUTION):
        raise ValueError(f"images must be [image, {RESOLUTION}, {RESOLUTION}], not {list(images.shape)}")
    torch.set_num_threads(1)
    return _Gan(world, images, seed) if world.kind == "gan" else _Denoiser(world, images, seed)


def _batch(world: World, images: np.ndarray, rng: np.random.Generator) -> Any:
    """A batch of training images, [image, 1, side, side], flipped left to right half of the time where flips are on."""
    chosen = images[rng.choice(len(images), world.batch, replace=world.batch > len(images))]
    if world.flip:
        turned = rng.random(len(chosen)) < 0.5
        chosen = np.where(turned[:, None, None], chosen[..., ::-1], chosen)
    return torch.from_numpy(np.ascontiguousarray(chosen))[:, None]


def _normal(rng: np.random.Generator, *shape: int) -> Any:
    return torch.from_numpy(rng.standard_normal(shape, np.float32))


def _grey(images: Any) -> np.ndarray:
    """Network output in [-1, 1] -> uint8 grey levels. What is no number becomes 0."""
    levels = torch.nan_to_num((images[:, 0].clamp(-1, 1) + 1) * 127.5).round()
    return np.asarray(levels.numpy(), np.uint8)


def _average(average: Any, network: Any, decay: float) -> None:
    """Moves the averaged weights towards those of now; buffers, as of batch normalisation, are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for old, new in zip(average.buffers(), network.buffers(), strict=True):
            old.copy_(new)


def _unet(attention: bool) -> Any:
    down, up = ["DownBlock2D"] * 3, ["UpBlock2D"] * 3
    if attention:
        down[-1], up[0] = "AttnDownBlock2D", "AttnUpBlock2D"
    network = hub.UNet2DModel(
        sample_size=RESOLUTION,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        add_attention=attention,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
    )
    return network.to(memory_format=torch.channels_last)  # half as fast again on a CPU


def _dit() -> Any:
    return hub.DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=1,
        out_channels=1,
        num_layers=4,
        sample_size=RESOLUTION,
        patch_size=4,
        num_embeds_ada_norm=1,
    )


class _Denoiser:
    """A network of diffusers that is trained to predict the noise, the velocity, or the flow from noise to images."""

    def __init__(self, world: World, images: np.ndarray, seed: int) -> None:
        self.world, self.images, self.seed, self.steps = world, images, seed, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(keys.generator(seed, "foreign/weights").integers(2**62)))
            # Evaluation mode: in training mode the DiT would drop its one class at random, from no stream of ours.
            self.network = (_dit() if world.kind == "dit" else _unet(world.kind.endswith("attn"))).eval()
        self.average = copy.deepcopy(self.network) if world.ema else self.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=world.learning_rate)
        self.noising = hub.DDPMScheduler(**self._process())

    def _process(self) -> dict[str, Any]:
        velocity = self.world.kind == "v-attn"
        return {
            "num_train_timesteps": _TIMES,
            "beta_schedule": "squaredcos_cap_v2" if velocity else "linear",
            "prediction_type": "v_prediction" if velocity else "epsilon",
        }

    def _predict(self, network: Any, noisy: Any, times: Any) -> Any:
        if self.world.kind == "dit":
            return network(noisy, timestep=times, class_labels=torch.zeros(len(noisy), dtype=torch.long)).sample
        return network(noisy, times).sample

    def _loss(self, rng: np.random.Generator) -> Any:
        clean = _batch(self.world, self.images, rng)
        noise = _normal(rng, *clean.shape)
        if self.world.kind == "flow":  # rectified flow, Liu et al. 2022, arXiv 2209.03003
            at = torch.from_numpy(rng.random(len(clean), np.float32))
            place = at[:, None, None, None]
            noisy, times, wanted = (1 - place) * noise + place * clean, at * _TIMES, clean - noise
        else:
            times = torch.from_numpy(rng.integers(_TIMES, size=len(clean)))
            noisy = self.noising.add_noise(clean, noise, times)
            wanted = self.noising.get_velocity(clean, noise, times) if self.world.kind == "v-attn" else noise
        return (self._predict(self.network, noisy, times) - wanted).square().mean()

    def train(self, steps: int) -> float:
        total = 0.0
        for _ in range(steps):
            loss = self._loss(keys.generator(self.seed, "foreign/train", self.steps))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.steps += 1
            if self.world.ema:
                # a short training would otherwise average over its untrained weights
                _average(self.average, self.network, min(self.world.ema, (1 + self.steps) / (10 + self.steps)))
            total += float(loss.detach())
        return total / max(steps, 1)

    def sample(self, count: int, start: int = 0) -> np.ndarray:
        first, last = start // _SAMPLED, -(-(start + count) // _SAMPLED)
        drawn = np.concatenate([self._draw(batch) for batch in range(first, last)])
        return drawn[start - first * _SAMPLED :][:count]

    def _draw(self, batch: int) -> np.ndarray:
        rng = keys.generator(self.seed, "foreign/sample", batch)
        images = _normal(rng, _SAMPLED, 1, RESOLUTION, RESOLUTION)
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        name, steps = self.world.sampler.split()
        with torch.inference_mode():
            if name == "euler":
                for step in range(int(steps)):
                    times = torch.full((_SAMPLED,), step / int(steps) * _TIMES)
                    images = images + self._predict(self.average, images, times) / int(steps)
                return _grey(images)
            kind = {
                "ddpm": hub.DDPMScheduler,
                "ddim": hub.DDIMScheduler,
                "dpm": hub.DPMSolverMultistepScheduler,
            }[name]
            sampler = kind(**self._process())
            sampler.set_timesteps(int(steps))
            more = {} if name == "ddim" else {"generator": noise}  # DDIM without noise of its own
            for time in sampler.timesteps:
                predicted = self._predict(self.average, images, time.expand(_SAMPLED))
                images = sampler.step(predicted, time, images, **more).prev_sample
            return _grey(images)

    def keep(self) -> Any:
        return copy.deepcopy(self.average.state_dict())

    def restore(self, kept: Any) -> None:
        self.average.load_state_dict(kept)


def _scattered(module: Any) -> None:
    """Weights as in the paper of the DCGAN: normal with a standard deviation of .02."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def _generator() -> Any:
    layers: list[Any] = [nn.ConvTranspose2d(_LATENT, 4 * _WIDTH, 4, bias=False)]
    for width in (4 * _WIDTH, 2 * _WIDTH, _WIDTH):
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(width, width // 2 if width > _WIDTH else 1, 4, 2, 1, bias=width == _WIDTH))
    return nn.Sequential(*layers, nn.Tanh())


def _discriminator() -> Any:
    layers: list[Any] = [nn.Conv2d(1, _WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)]
    for width in (_WIDTH, 2 * _WIDTH):
        layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * _WIDTH, 1, 4), nn.Flatten(0))


class _Gan:
    """The DCGAN of Radford et al. 2015, arXiv 1511.06434, one size smaller: 32 x 32 grey images.

    Beside the paper, the discriminator has the gradient penalty R1 of Mescheder et al. 2018, arXiv 1801.04406, at every
    fourth step (Karras et al. 2020, arXiv 1912.04958): on a few hundred slices it would know them all after some
    epochs, and the generator would learn no more.
    """

    def __init__(self, world: World, images: np.ndarray, seed: int) -> None:
        self.world, self.images, self.seed, self.steps = world, images, seed, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(keys.generator(seed, "foreign/weights").integers(2**62)))
            self.generator, self.discriminator = _generator().apply(_scattered), _discriminator().apply(_scattered)
        self.average = copy.deepcopy(self.generator)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=world.learning_rate, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        ]

    def train(self, steps: int) -> float:
        total, judge = 0.0, nn.functional.softplus  # -log of a sigmoid
        for _ in range(steps):
            rng = keys.generator(self.seed, "foreign/train", self.steps)
            real = _batch(self.world, self.images, rng)
            made = self.generator(_normal(rng, len(real), _LATENT, 1, 1))
            penalised = self.steps % _PENALISED == 0
            said = self.discriminator(real.requires_grad_(penalised))
            loss = judge(-said).mean() + judge(self.discriminator(made.detach())).mean()
            total += float(loss.detach())
            if penalised:
                (slope,) = torch.autograd.grad(said.sum(), real, create_graph=True)
                loss = loss + _PENALTY / 2 * _PENALISED * slope.square().sum((1, 2, 3)).mean()
            self._step(1, loss)
            deceit = judge(-self.discriminator(made)).mean()
            self._step(0, deceit)
            self.steps += 1
            _average(self.average, self.generator, self.world.ema)
            total += float(deceit.detach())
        return total / max(steps, 1)

    def _step(self, which: int, loss: Any) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()

    def sample(self, count: int, start: int = 0) -> np.ndarray:
        first, last = start // _SAMPLED, -(-(start + count) // _SAMPLED)
        self.average.eval()
        with torch.inference_mode():
            drawn = [
                _grey(self.average(_normal(keys.generator(self.seed, "foreign/sample", i), _SAMPLED, _LATENT, 1, 1)))
                for i in range(first, last)
            ]
        return np.concatenate(drawn)[start - first * _SAMPLED :][:count]

    def keep(self) -> Any:
        return copy.deepcopy(self.average.state_dict())

    def restore(self, kept: Any) -> None:
        self.average.load_state_dict(kept)
