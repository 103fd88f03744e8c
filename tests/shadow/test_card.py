"""The card of an exported generator: what the Hub and its readers look for, and nothing of the house."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hub_folders import SIZE, generator, shadow_run
from huggingface_hub import ModelCard

from shadow import card, hub
from shadow.config import Config, DiffusionConfig, PileConfig
from shadow.errors import UserError


def exported(tmp_path, reference="shadows/0003@10"):
    run, _ = shadow_run(tmp_path / "st-marys/patient Anna")
    membership = np.zeros((8, 40), bool)
    membership[3, :16] = True
    np.save(run / "membership.npy", membership)
    hub.export(reference, run, tmp_path / "out")
    return (tmp_path / "out" / card.NAME).read_text()


def test_the_hub_reads_its_head(tmp_path):
    exported(tmp_path)
    head = ModelCard.load(tmp_path / "out" / card.NAME).data.to_dict()
    assert head["library_name"] == "diffusers"
    assert head["pipeline_tag"] == "unconditional-image-generation"
    assert "membership-inference" in head["tags"]


def test_it_says_how_the_shadow_was_trained(tmp_path):
    said = exported(tmp_path)
    for row in (
        f"resolution | {SIZE} x {SIZE} pixels",
        "training slices (members) | 16",
        "steps | 10",
        "batch | 8 images",
        "images seen a slice | 5",
        "weights | averaged over training",
        "prediction | sample",
        "schedule | cosine, 1000 times",
        "sampler | ddim",
        "steps | 25",
        "use_clipped_model_output | True",
    ):
        assert f"| {row} |" in said
    assert "to memorise slices" in said
    assert "phantoms" in said
    assert said.index("## Privacy") < said.index("## Open it")


def test_it_names_no_place_and_nobody(tmp_path):
    said = exported(tmp_path, "shadows/0003:raw")
    for word in (str(tmp_path), "st-marys", "Anna", "0003", "/tmp", "shadows/"):
        assert word not in said
    assert "not averaged" in said


def test_what_is_not_known_is_not_made_up(tmp_path):
    run, _ = shadow_run(tmp_path / "run")
    hub.export("shadows/0003", run, tmp_path / "out")
    assert "| training slices (members) | not known |" in (tmp_path / "out" / card.NAME).read_text()
    hub.export(str(tmp_path / "out"), None, tmp_path / "again")
    said = (tmp_path / "again" / card.NAME).read_text()
    assert "| steps, batch, training slices | not known here |" in said
    assert "may have memorised" in said
    assert "phantoms" not in said
    (run / "membership.npy").write_bytes(b"words")
    with pytest.raises(UserError, match=r"membership\.npy: no readable membership matrix"):
        hub.export("shadows/0003", run, tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_slices_of_patients_are_no_phantoms(tmp_path):
    config = Config()
    assert card.training(config, tmp_path, 1, True).phantoms
    config.data.root = "somewhere"
    assert not card.training(config, tmp_path, 1, True).phantoms


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m"])
def test_options_of_every_kind_have_words(tmp_path, sampler):
    diffusion = DiffusionConfig(schedule="linear", prediction="v", zero_terminal_snr=sampler == "ddim")
    pile = PileConfig(sampler=sampler, sampler_steps=7, clip_sample=False)
    hub.write_pipeline(generator(diffusion=diffusion, pile=pile), tmp_path / "out")
    said = (tmp_path / "out" / card.NAME).read_text()
    assert f"| sampler | {sampler} |" in said
    assert ("zero terminal SNR" in said) == (sampler == "ddim")
    assert "clip of the prediction | none" in said
    assert hub.read_generator(tmp_path / "out").pile.sampler == sampler


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("sampler", "block"), [("ddim", 1), ("ddpm", 1), ("dpmpp_2m", 1), ("ddim", 2), ("ddpm", 4)])
def test_its_snippet_draws(tmp_path, monkeypatch, sampler, block):
    """As it stands in the card, from the folder around."""
    pytest.importorskip("torch")
    hub.write_pipeline(generator(pile=PileConfig(sampler=sampler, sampler_steps=3), block=block), tmp_path / "FOLDER")
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", (tmp_path / "FOLDER" / card.NAME).read_text(), re.DOTALL)
    names: dict[str, list] = {}
    exec(snippet, names)
    assert [image.size for image in names["images"]] == [(SIZE, SIZE)] * 4
