"""Whose data: which of several subsets of real slices were images generated from?

Data      --config.data.root=FOLDER of edition 2025-2 (real/NAME/, generated_unknown/, and generated/NAME/ where it is
          known); without it a challenge of five generators is made from phantom slices
Hardware  2 CPU cores, 1 GiB of memory a process
Time      some minutes; it was not timed on quiet cores
Expected  on the phantom challenge .92 and .93 of labelled images put right on two seeds, by the nearest slice .57 and
          .54, by chance .20 (docs/results.md, "Whose data?")
Command   python launch.py run --config=configs/whose_data.py --workdir=runs/whose
"""

from shadow.config import Config


def get_config() -> Config:
    """The recipe."""
    config = Config()
    config.data.edition = "2025-2"
    config.data.resolution = 16
    for denoiser in (config.denoiser, config.challenge.denoiser):
        denoiser.patch = 4
    config.denoiser.width, config.denoiser.depth = 48, 3
    config.challenge.denoiser.width, config.challenge.denoiser.depth = 64, 2
    config.fleet.shadows, config.membership.block, config.fleet.pack = 10, 2, 5  # two of each of five subsets
    # 20 slices a subset: 60 and 160 images a slice
    config.train.steps = 400
    config.train.checkpoint_every = 200
    config.pile.steps = (150, 400)
    config.pile.count = config.attack.pile = 100
    config.pile.sampler_steps = 15
    config.challenge.train.steps, config.challenge.train.batch_size = 500, 8
    config.challenge.train.checkpoint_every = 250
    config.challenge.dev_generated, config.challenge.test_generated = 50, 50
    config.attack.ridge = 0.1  # two columns an embedding and a thousand images: they need less of a pull
    return config
