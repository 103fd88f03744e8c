"""Any 2023-shaped folder on two CPU cores in under half an hour.

Data      --config.data.root=FOLDER holding dev and test folders of the 2023 edition (a pile of 10,000 included)
Hardware  2 CPU cores, 3 GiB of memory
Time      see docs/results.md
Expected  see docs/results.md: it depends on how far the generator memorised
Command   python launch.py run --config=configs/small.py --workdir=runs/small --config.data.root=FOLDER
"""

from shadow.config import Config


def get_config() -> Config:
    config = Config()
    config.fleet.shadows = 16
    # 80 members a shadow: 8 x 7,000 images are 700 a member, enough to leak clearly (docs/results.md)
    config.train.steps = 7000
    config.train.checkpoint_every = 1000
    config.train.log_every = 100
    config.train.ema_halflife_images = 8000
    config.pile.count = config.attack.pile = 1000
    config.pile.batch_size = 100
    config.pile.steps = (2500, 4500, 7000)
    return config
