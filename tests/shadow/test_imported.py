"""Piles of imported generators."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from hub_folders import SIZE, UNET, generator
from PIL import Image
from tiny_run import leftovers

from shadow import hub, imported, piles
from shadow.config import DiffusionConfig, PileConfig, UNet2DConfig
from shadow.errors import Stopped, UserError
from shadow.imported import Wanted

WANTED = Wanted(count=5, batch_size=2, sampler_steps=3)
OTHER = dataclasses.replace(WANTED, seed=1)


def unet(**fields):
    return UNet2DConfig(block_out_channels=(8, 8), norm_num_groups=4, **fields)


def test_a_pile_and_its_images(tmp_path):
    folder = imported.draw(generator(), tmp_path / "out", WANTED)
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
    imported.draw(generator(), tmp_path / "straight", WANTED)
    asked = iter([False, True])
    with pytest.raises(Stopped, match="image 4 of 5"):
        imported.draw(generator(), tmp_path / "stopped", WANTED, stop=lambda: next(asked))
    assert not (tmp_path / "stopped" / "pile.npy").exists()
    imported.draw(generator(), tmp_path / "stopped", WANTED)
    assert (tmp_path / "stopped/pile.npy").read_bytes() == (tmp_path / "straight/pile.npy").read_bytes()
    other = imported.draw(generator(), tmp_path / "other", OTHER)
    assert (other.parent / "pile.npy").read_bytes() != (tmp_path / "straight/pile.npy").read_bytes()


def test_its_own_sampler_with_the_numbers_that_are_wanted():
    own = PileConfig(sampler="ddpm", timestep_spacing="leading", count=999)
    config = imported.pile_config(generator(pile=own), WANTED)
    assert (config.sampler, config.timestep_spacing, config.count, config.sampler_steps) == ("ddpm", "leading", 5, 3)
    with pytest.raises(UserError, match=r"pile\.eta = 0\.5: is for pile\.sampler = 'ddim'"):
        imported.pile_config(generator(pile=own), dataclasses.replace(WANTED, eta=0.5))
    assert imported.pile_config(generator(pile=PileConfig(sampler_steps=7, eta=0.3)), Wanted()).sampler_steps == 7
    assert imported.pile_config(generator(), dataclasses.replace(WANTED, eta=0.5)).eta == 0.5


def test_colours_become_gray_by_luminance(tmp_path):
    """A network whose last bias outweighs the rest draws one colour."""
    made = generator(unet(in_channels=3, out_channels=3))
    made.params["conv_out"]["kernel"] = 0 * made.params["conv_out"]["kernel"]
    made.params["conv_out"]["bias"] = np.array([1.0, 0.0, -1.0], np.float32)
    imported.draw(made, tmp_path / "out", WANTED)
    expected = round((0.299 * 1 - 0.114 + 1) * 127.5)
    pile = piles.open_pile(tmp_path / "out" / "pile.npy")
    assert np.abs(pile.astype(int) - expected).max() <= 1


def test_classes_take_turns(tmp_path):
    """With nothing but the class embedding in the output, images i and i + 2 of two classes are the same."""
    made = generator(unet(num_class_embeds=2))
    made.params["conv_in"]["kernel"] = 0 * made.params["conv_in"]["kernel"]
    wanted = Wanted(count=6, batch_size=3, sampler_steps=1)
    imported.draw(made, tmp_path / "out", wanted)
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
        (generator(unet(time_embedding_type="learned", num_train_timesteps=999)), "num_train_timesteps = 999"),
    ],
)
def test_what_cannot_be_sampled_is_refused_by_name(tmp_path, made, said):
    with pytest.raises(UserError, match=re.escape(said)):
        imported.draw(made, tmp_path / "out", WANTED)
    assert not (tmp_path / "out").exists()


def test_more_steps_than_times_are_refused():
    with pytest.raises(UserError, match="sampler_steps = 1001"):
        imported.pile_config(generator(), dataclasses.replace(WANTED, sampler_steps=1001))


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(UserError, match="no empty folder"):
        imported.draw(generator(), tmp_path / "mine", WANTED)
    imported.draw(generator(), tmp_path / "out", WANTED)
    with pytest.raises(UserError, match=re.escape("other generator or config (seed)")):
        imported.draw(generator(), tmp_path / "out", OTHER)
    with pytest.raises(UserError, match="weights_sha256"):
        imported.draw(generator(seed=1), tmp_path / "out", WANTED)


def test_a_killed_first_moment_leaves_no_foreign_folder(tmp_path):
    (tmp_path / ".generator.json.part").write_text("{")
    imported.draw(generator(), tmp_path, WANTED)
    assert not leftovers(tmp_path)


def test_what_a_kill_after_the_last_rename_left_is_removed(tmp_path):
    imported.draw(generator(), tmp_path, WANTED)
    state = tmp_path / ".pile.npy.part.json"
    state.write_text('{"batches": 3}')
    imported.draw(generator(), tmp_path, WANTED)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", "null"])
def test_a_damaged_description_is_refused(tmp_path, content):
    imported.draw(generator(), tmp_path / "out", WANTED)
    (tmp_path / "out" / "generator.json").write_text(content)
    with pytest.raises(UserError, match=r"generator\.json: damaged"):
        imported.draw(generator(), tmp_path / "out", WANTED)


def test_another_name_and_other_notes_are_no_other_generator(tmp_path):
    imported.draw(generator(), tmp_path / "out", WANTED)
    imported.draw(dataclasses.replace(generator(), name="copy", notes=("a note",)), tmp_path / "out", WANTED)


def a_file(path):
    path.write_text("words")
    return path


def below_a_file(path):
    return a_file(path) / "out"


def a_dangling_link(path):
    path.symlink_to(path.with_name("nowhere"))
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [(a_file, "is no folder"), (below_a_file, "is no folder"), (a_dangling_link, "is a link to nowhere")],
)
def test_what_cannot_be_a_folder_is_refused(tmp_path, make, said):
    folder = make(tmp_path / "place")
    before = list(tmp_path.iterdir())
    with pytest.raises(UserError, match=said):
        imported.draw(generator(), folder, WANTED)
    with pytest.raises(UserError, match=said):
        imported.audit_pile(tmp_path / "unread", folder, {})
    assert list(tmp_path.iterdir()) == before


def test_images_that_are_not_finite_are_refused(tmp_path):
    """Weights that are finite, and so large that their sums are not."""
    made = generator()
    made.params["conv_out"]["bias"] = np.full(1, 3e38, np.float32)
    made.params["conv_out"]["kernel"] = made.params["conv_out"]["kernel"] * np.float32(1e38)
    own = PileConfig(clip_sample=False)
    with pytest.raises(UserError, match="images of batch 0 are not finite"):
        imported.draw(dataclasses.replace(made, pile=own), tmp_path / "out", WANTED)
    assert not (tmp_path / "out" / "pile.npy").exists()


def test_16_bits_are_honoured(tmp_path):
    imported.draw(generator(), tmp_path / "whole", WANTED)
    imported.draw(generator(), tmp_path / "half", dataclasses.replace(WANTED, dtype="bfloat16"))
    whole, half = (piles.open_pile(tmp_path / name / "pile.npy").astype(int) for name in ("whole", "half"))
    assert 0 < np.abs(whole - half).max() < 60
    with pytest.raises(UserError, match=re.escape("other generator or config (denoiser)")):
        imported.draw(generator(), tmp_path / "half", WANTED)


def test_options_by_the_names_of_the_config():
    options = {"pile.count": 3, "pile.batch_size": 2, "pile.sampler_steps": 4, "pile.eta": 0.5, "seed": 6}
    asked = imported.wanted(options | {"denoiser.dtype": "bfloat16"})
    assert asked == Wanted(count=3, batch_size=2, sampler_steps=4, eta=0.5, dtype="bfloat16", seed=6)
    assert imported.wanted({}) == Wanted()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pile.sampler", "ddpm"), ("pile.clip_sample", False), ("train.steps", 10), ("diffusion.timesteps", 10)),
        *((f"pile.{name}", 0) for name in ("count", "batch_size", "sampler_steps")),
        *(("pile.eta", value) for value in (-0.1, float("nan"), float("inf"))),
        *(("seed", -1), ("seed", 2**32), ("denoiser.dtype", "float16"), ("denoiser.kind", "dit")),
    ],
)
def test_options_that_are_not_honoured_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=re.escape(name)):
        imported.wanted({name: value})


def test_what_is_said(tmp_path):
    hub.write_pipeline(generator(UNET, diffusion=DiffusionConfig()), tmp_path / "pipeline")
    options = {"pile.count": 5, "pile.batch_size": 2, "pile.sampler_steps": 3}
    said = imported.audit_pile(tmp_path / "pipeline", tmp_path / "out", options)
    assert "UNet2DModel of" in said
    assert "5 images by ddim in 3 steps, seed 0, float32" in said
    assert "use_clipped_model_output = True" in said
    assert "solver_type" not in said
