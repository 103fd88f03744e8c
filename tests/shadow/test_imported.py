"""Piles of imported generators."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from hub_folders import SIZE, UNET, generator
from PIL import Image

from shadow import hub, imported, piles
from shadow.config import Config, PileConfig, UNet2DConfig
from shadow.errors import Stopped, UserError

WANTED = PileConfig(count=5, batch_size=2, sampler_steps=3)


def unet(**fields):
    return UNet2DConfig(block_out_channels=(8, 8), norm_num_groups=4, **fields)


def test_a_pile_and_its_images(tmp_path):
    folder = imported.draw(generator(), tmp_path / "out", WANTED, 0)
    pile = piles.open_pile(tmp_path / "out" / "pile.npy")
    assert pile.shape == (5, SIZE, SIZE)
    assert pile.std() > 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"0000{i}.png" for i in range(5)]
    np.testing.assert_array_equal(np.stack([np.asarray(Image.open(folder / name)) for name in names]), pile)
    described = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert described["pile"]["sampler_steps"] == 3
    assert described["parameters"] == sum(leaf.size for leaf in _leaves(generator().params))


def _leaves(params):
    import jax

    return jax.tree.leaves(params)


def test_a_stopped_one_goes_on_to_the_same_bits(tmp_path):
    imported.draw(generator(), tmp_path / "straight", WANTED, 0)
    asked = iter([False, True])
    with pytest.raises(Stopped, match="image 4 of 5"):
        imported.draw(generator(), tmp_path / "stopped", WANTED, 0, stop=lambda: next(asked))
    assert not (tmp_path / "stopped" / "pile.npy").exists()
    imported.draw(generator(), tmp_path / "stopped", WANTED, 0)
    assert (tmp_path / "stopped/pile.npy").read_bytes() == (tmp_path / "straight/pile.npy").read_bytes()
    other = imported.draw(generator(), tmp_path / "other", WANTED, 1)
    assert (other.parent / "pile.npy").read_bytes() != (tmp_path / "straight/pile.npy").read_bytes()


def test_its_own_sampler_with_the_numbers_that_are_wanted():
    own = PileConfig(sampler="ddpm", timestep_spacing="leading", count=999)
    config = imported.pile_config(generator(pile=own), dataclasses.replace(WANTED, eta=0.5))
    assert (config.sampler, config.timestep_spacing, config.count) == ("ddpm", "leading", 5)
    assert config.eta == 0  # which ddpm has not
    assert imported.pile_config(generator(), dataclasses.replace(WANTED, eta=0.5)).eta == 0.5


def test_colours_become_gray_by_luminance(tmp_path):
    """A network whose last bias outweighs the rest draws one colour."""
    made = generator(unet(in_channels=3, out_channels=3))
    made.params["conv_out"]["kernel"] = 0 * made.params["conv_out"]["kernel"]
    made.params["conv_out"]["bias"] = np.array([1.0, 0.0, -1.0], np.float32)
    imported.draw(made, tmp_path / "out", WANTED, 0)
    expected = round((0.299 * 1 - 0.114 + 1) * 127.5)
    pile = piles.open_pile(tmp_path / "out" / "pile.npy")
    assert np.abs(pile.astype(int) - expected).max() <= 1


def test_classes_take_turns(tmp_path):
    """With nothing but the class embedding in the output, images i and i + 2 of two classes are the same."""
    made = generator(unet(num_class_embeds=2))
    made.params["conv_in"]["kernel"] = 0 * made.params["conv_in"]["kernel"]
    wanted = PileConfig(count=6, batch_size=3, sampler_steps=1)
    imported.draw(made, tmp_path / "out", wanted, 0)
    pile = piles.open_pile(tmp_path / "out" / "pile.npy").astype(int)
    for a, b in ((0, 2), (2, 4), (1, 3), (3, 5)):
        assert np.abs(pile[a] - pile[b]).max() <= 1
    assert np.abs(pile[0] - pile[1]).max() > 1


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (dataclasses.replace(generator(), diffusion=None), "without a scheduler"),
        (dataclasses.replace(generator(), size=0), "no sample_size"),
        (generator(unet(in_channels=2, out_channels=2)), "in_channels = 2"),
        (generator(unet(out_channels=2)), "out_channels = 2"),
        (generator(unet(class_embed_type="identity")), "class_embed_type = 'identity'"),
        (generator(unet(time_embedding_type="fourier")), "'fourier'"),
    ],
)
def test_what_cannot_be_sampled_is_refused_by_name(tmp_path, made, said):
    with pytest.raises(UserError, match=re.escape(said)):
        imported.draw(made, tmp_path / "out", WANTED, 0)
    assert not (tmp_path / "out").exists()


def test_more_steps_than_times_are_refused():
    with pytest.raises(UserError, match="sampler_steps = 1001"):
        imported.pile_config(generator(), dataclasses.replace(WANTED, sampler_steps=1001))


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(UserError, match="no empty folder"):
        imported.draw(generator(), tmp_path / "mine", WANTED, 0)
    imported.draw(generator(), tmp_path / "out", WANTED, 0)
    with pytest.raises(UserError, match=re.escape("other generator or config (seed)")):
        imported.draw(generator(), tmp_path / "out", WANTED, 1)
    with pytest.raises(UserError, match="weights_sha256"):
        imported.draw(generator(seed=1), tmp_path / "out", WANTED, 0)


def test_what_is_said(tmp_path):
    hub.write_pipeline(generator(UNET), tmp_path / "pipeline")
    config = Config(pile=WANTED)
    config.attack.pile = 5
    said = imported.audit_pile(tmp_path / "pipeline", tmp_path / "out", config)
    assert "UNet2DModel of" in said
    assert "5 images by ddim in 3 steps" in said
