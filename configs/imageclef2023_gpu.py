"""ImageCLEFmedical GANs 2023 with one GPU: the recipe for two cores with four times as many shadows.

Data      --config.data.root=FOLDER holding the unpacked dev and test folders; README says how they are found
Hardware  one GPU with 8 GiB of memory, 2 CPU cores, 4 GiB of memory, 8 GiB of disk
Time      derived, not measured (no GPU was at hand): .2 hours for the shadows and .25 for the attack. 4.1 million
          images of training at .07 GFLOP and 192,000 generated ones at .6 GFLOP are 390 TFLOP: 11 minutes at .6
          TFLOP/s, 1 % of what a card of 60 TFLOP/s states. The attack runs on one CPU core, and its `fit` grows with
          the square of the shadows (docs/scaling.md): 11 minutes, with `signals` and `predict` 15
Expected  as configs/imageclef2023.py, with narrower intervals
Command   python launch.py run --config=configs/imageclef2023_gpu.py --workdir=runs/clef --config.data.root=FOLDER
"""

from configs import imageclef2023
from shadow.config import Config


def get_config() -> Config:
    """The recipe."""
    config = imageclef2023.get_config()
    config.fleet.shadows = 128
    config.fleet.pack = 32  # one dispatch a step for 32 shadows: a small network alone leaves a GPU idle
    config.pile.batch_size = 250
    return config
