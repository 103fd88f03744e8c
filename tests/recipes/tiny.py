"""The smallest whole run: phantom slices at 8 x 8 pixels and generators that are hardly trained, in seconds."""

from shadow.config import Config


def get_config() -> Config:
    config = Config()
    config.data.resolution = 8
    for denoiser in (config.denoiser, config.challenge.denoiser):
        denoiser.patch, denoiser.width, denoiser.depth, denoiser.heads = 4, 16, 1, 2
    for train in (config.train, config.challenge.train):
        train.steps, train.batch_size, train.warmup_steps = 30, 4, 5
        train.checkpoint_every, train.log_every = 10, 5
    challenge = config.challenge
    challenge.dev_used = challenge.dev_not_used = challenge.test_used = challenge.test_not_used = 8
    challenge.dev_generated = challenge.test_generated = 24
    config.fleet.workers = 1  # a second one would import and trace everything again, for two packs
    config.pile.count, config.pile.batch_size, config.pile.sampler_steps = 20, 8, 3
    config.attack.pile = 20
    config.attack.draws, config.attack.folds, config.attack.bootstrap = 1, 2, 5
    config.attack.same_generator = "true"
    config.report.gallery_rows = 2
    return config
