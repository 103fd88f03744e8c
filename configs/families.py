"""A fleet of three architectures: what is learned on one of them need not hold for a generator of another.

Data      phantom slices (made here), as in the demo; --config.data.root=FOLDER for slices of your own
Hardware  2 CPU cores, 1 GiB of memory a process (two work at once)
Time      not measured as a whole. The four shadows of dit8 take a minute of processor time (9,600 images each, 660 a
          second); how long the others take depends on the processor, and convolutions are the slowest
Expected  a report like that of the demo; how far its figures differ was not measured. The report also says what an
          attack that was fitted on two architectures finds on the third (docs/method.md, section 9)
Command   python launch.py run --config=configs/families.py --workdir=runs/families
"""

from shadow.config import Config, DenoiserConfig, FamilyConfig, UNet2DConfig


def get_config() -> Config:
    """The recipe."""
    config = Config()
    config.attack.same_generator = "true"
    config.challenge.train.steps = 2200
    config.membership.block = 4
    config.fleet.shadows = 12  # a block of each family; grows by twelve
    config.train.steps = 1200
    unet = UNet2DConfig(block_out_channels=(16, 32))
    config.fleet.families = (
        FamilyConfig("dit8", DenoiserConfig(patch=8, width=96, depth=4)),
        FamilyConfig("dit4", DenoiserConfig(patch=4, width=48, depth=3)),
        FamilyConfig("unet", DenoiserConfig(kind="unet2d", unet=unet), learning_rate=1e-3),
    )
    return config
