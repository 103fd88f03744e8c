"""Any 2023-shaped folder on two free CPU cores in under half an hour.

Data      --config.data.root=FOLDER holding dev and test folders of the 2023 edition (a pile of 10,000 included)
Hardware  2 CPU cores, 3 GiB of memory
Time      25 minutes of processor time for the shadows (one worker, half of the fleet timed on busy cores), so about 13
          minutes on two free cores; then some minutes for the attack, by the number of generated images
Expected  AUC .5 where the generator copied nothing, .61 to .98 on leaking generators that other people's code trained
          (docs/results.md, "Strangers"), .99 where it copied most; where few slices leak the verdict is "Cannot tell"
Command   python launch.py run --config=configs/small.py --workdir=runs/small --config.data.root=FOLDER
"""

from shadow.config import Config


def get_config() -> Config:
    """The recipe."""
    config = Config()
    config.fleet.shadows = 16
    # 80 members a shadow: 40, 160 and 400 images a member, from "nothing is learned" to "all is copied"
    config.train.steps = 4000
    config.train.checkpoint_every = 800
    config.train.log_every = 100
    config.train.ema_halflife_images = 4000
    config.pile.count = config.attack.pile = 500
    config.pile.batch_size = 100
    config.pile.steps = (400, 1600, 4000)
    return config
