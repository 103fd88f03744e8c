"""Every option of a run, as typed dataclasses.

A recipe in `configs/` returns a `Config`; `--config.train.steps=500` overrides a field. Unknown fields and wrong
types are refused by `ml_collections.config_flags`; contradictions by `validate` below. Units are in the names or in
the comment beside the field.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from shadow.denoisers import unet2d_config
from shadow.denoisers.unet2d_config import UNet2DConfig
from shadow.diffusion import rules
from shadow.errors import UserError

SUPPLIED = "supplied"  # the embedding whose vectors attack.embeddings_from holds
FEATURES = "features"  # the embedding that a block of shadows is set apart for


@dataclass
class DataConfig:
    """Which images, and at what size the shadows see them."""

    root: str = ""  # folder of the challenge; empty: WORKDIR/challenge, made from `challenge.pool`
    edition: str = "2023"  # names of the role folders and the submission format
    resolution: int = 32  # pixels a side at which shadows are trained and signals computed
    patients: str = ""  # csv `file,patient`; empty: patients.csv beside the data if there is one, else clusters
    group_distance: float = 0.5  # near-duplicates: RMS distance of standardised slices, complete linkage


@dataclass(unsafe_hash=True)  # compiled functions are kept by config
class DenoiserConfig:
    """The network. `kind` chooses which of the other fields are used."""

    kind: str = "dit"  # dit | unet2d
    dtype: str = "float32"  # of the computation: float32 | bfloat16; weights, and sums over many numbers, are float32
    patch: int = 8  # dit: pixels a side of a token
    width: int = 96  # dit: features of a token
    depth: int = 4  # dit: blocks
    heads: int = 4  # dit: attention heads; divides width
    unet: UNet2DConfig = field(default_factory=UNet2DConfig)  # unet2d


@dataclass(unsafe_hash=True)  # compiled functions are kept by config
class DiffusionConfig:
    """The forward process and what the network predicts."""

    timesteps: int = 1000
    schedule: str = "cosine"  # cosine | linear | scaled_linear (linear in the root of beta)
    beta_start: float = 1e-4  # linear, scaled_linear: variance that the first step adds
    beta_end: float = 0.02  # linear, scaled_linear: variance that the last step adds
    zero_terminal_snr: bool = False  # shift and stretch the schedule until the last time holds noise alone
    prediction: str = "sample"  # sample | v | epsilon; "sample" memorises soonest (docs/results.md)
    max_weight: float = 4.0  # cap of the weight of the error of x_0 in the loss; gamma of min-SNR
    weighting: str = "min_snr_plus_1"  # what is capped: min_snr_plus_1 (1 + SNR; SNR for epsilon) | min_snr (SNR)


@dataclass(unsafe_hash=True)  # compiled functions are kept by config
class TrainConfig:
    """Training of one generator."""

    steps: int = 1600
    batch_size: int = 8  # images a step of one shadow, drawn with replacement from its members
    learning_rate: float = 4e-3  # peak; linear warm-up, cosine decay to a tenth
    warmup_steps: int = 50
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_halflife_images: int = 2000  # half-life of the parameter average, in images seen
    checkpoint_every: int = 400  # steps between resumable checkpoints
    log_every: int = 50  # steps between rows of metrics.jsonl
    flip: bool = False  # augmentation: half of the images are mirrored, left to right
    shift: int = 0  # augmentation: pixels by which an image is moved at most, down and across; its edge is repeated


@dataclass(unsafe_hash=True)
class PileConfig:
    """Generated images of one generator."""

    count: int = 250  # images a pile
    sampler: str = "ddim"  # ddim | ddpm | dpmpp_2m
    sampler_steps: int = 25  # denoising steps an image
    eta: float = 0.0  # ddim: 0 is deterministic, 1 has as much noise as ddpm
    timestep_spacing: str = "trailing"  # trailing (from the last time) | leading (to time 0) | linspace (both)
    steps_offset: int = 0  # leading: added to every time
    clip_sample: bool = True  # clip each prediction of x_0
    clip_sample_range: float = 1.0  # clip_sample: to [-clip_sample_range, clip_sample_range]
    use_clipped_model_output: bool = True  # ddim: the noise is computed anew from the clipped x_0
    set_alpha_to_one: bool = True  # ddim: end at the clean image; else at the noise of time 0
    variance_type: str = "fixed_small"  # ddpm: fixed_small | fixed_small_log (the same) | fixed_large (beta)
    solver_type: str = "midpoint"  # dpmpp_2m, second-order steps: midpoint | heun
    final_sigmas_type: str = "zero"  # dpmpp_2m: end at the clean image (zero) or the noise of time 0 (sigma_min)
    lower_order_final: bool = True  # dpmpp_2m, sigma_min: with fewer than 15 steps the last is of first order
    euler_at_final: bool = False  # dpmpp_2m, sigma_min: the last step is of first order
    batch_size: int = 50  # images sampled together by one shadow
    steps: tuple[int, ...] = ()  # training steps at which piles are drawn; empty: the last one
    png: bool = False  # also write every pile as PNG files, beside its .npy


@dataclass
class MembershipConfig:
    """Which image is in which shadow."""

    unit: str = "mixed"  # image | group | mixed (half of the groups whole, half split in two)
    block: int = 8  # shadows drawn together, even; in a block a unit is in exactly half of them


@dataclass
class FamilyConfig:
    """One architecture of a fleet that mixes several. What it does not name is the same for all of them."""

    name: str = ""  # letters, digits, "-", "_" and "."; what reports call it
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    batch_size: int = 8  # in place of train.batch_size
    learning_rate: float = 4e-3  # in place of train.learning_rate


@dataclass
class FleetConfig:
    """How many shadows, how they are trained together, and by whom."""

    shadows: int = 8  # may grow later, by whole blocks of each family; 0: none, baselines only (configs/baselines.py)
    families: tuple[FamilyConfig, ...] = ()  # in a recipe only; empty: one, made of `denoiser` and `train`
    pack: object = 4  # shadows trained together in one step: a number, or "auto" to measure what is fastest here
    workers: int = 2  # processes at once on this machine; on GPUs one a `devices`, whatever this says
    threads: int = 1  # CPU threads a worker
    devices: int = 1  # devices over which the batch of one pack is spread
    sbatch: str = ""  # --executor=slurm: options for sbatch, as on its command line
    tensorboard: bool = False  # also write TensorBoard event files beside metrics.jsonl (extra `tensorboard`)


@dataclass
class ChallengeConfig:
    """A challenge of our own: a target generator trained on a hidden subset of a pool."""

    pool: str = "phantom"  # phantom, or a folder of real slices
    patients: str = ""  # csv `file,patient` for a folder pool
    publish_patients: bool = False  # write patients.csv beside the data (the 2023 task ships none)
    split: str = "slice"  # slice: a patient may have slices of every role | group: of one alone
    slices_a_patient: int = 2  # phantom pool only
    dev_generated: int = 250
    dev_used: int = 20
    dev_not_used: int = 20
    test_generated: int = 250
    test_used: int = 30
    test_not_used: int = 30
    denoiser: DenoiserConfig = field(default_factory=lambda: DenoiserConfig(width=128, depth=3))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=3000, batch_size=16))
    threads: int = 2  # CPU threads of the target's training
    seed: int = 1  # of the target; the shadows use `seed`


@dataclass
class ProxyConfig:
    """Of the signal `proxy`: a small diffusion model is trained on every pile, and its loss asked for."""

    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    steps: int = 3000
    batch_size: int = 16  # images a step of one proxy, drawn with replacement from its pile
    learning_rate: float = 2e-3  # peak; linear warm-up, cosine decay to a tenth
    prediction: str = "v"  # v | epsilon | sample
    times: tuple[int, ...] = (50, 100, 200)  # of 1000, cosine schedule: at which the loss is asked for
    noises: int = 8  # the same for all images: even, one half is the other with its sign turned
    pack: int = 4  # proxies trained together in one step


@dataclass
class AttackConfig:
    """From piles to probabilities."""

    allow_missing: bool = False  # go on with the shadows that are done where others are missing
    pile: int = 250  # images of each pile that are compared
    subsamples: int = 1  # disjoint lots of so many images of each pile; evidence is the mean over them
    embeddings: tuple[str, ...] = ("pixels", "highpass", "laplacian")
    embeddings_from: str = ""  # NPZ of vectors of an encoder of your own, by the ids of `launch.py images`
    signals: tuple[str, ...] = ("mosaic",)  # others (proxy takes minutes): docs/method.md, section 6
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    references: int = 8  # OUT shadows a calibration uses at most
    stand_ins: bool = False  # a candidate's references lack a dev slice of its group, as a dev slice's lack itself
    draws: int = 4  # repetitions with other OUT references
    folds: int = 5  # folds over groups of the two-way cross-fitting
    model: str = "logistic"  # combiner of the signals: logistic | boosting | mean | auto (chosen on the shadows)
    ridge: float = 0.1  # pull of the logistic weights towards equal weights
    ablation: bool = False  # also measure what each part of the attack is worth: models, signals, number of shadows
    prior: float = 0.5  # probability of membership before looking
    fpr: float = 0.1  # false positive rate of the decision `used`
    redraws: int = 19  # memberships redrawn for the control: two-way AUCs of an answer that means nothing
    bootstrap: int = 100  # resamples of shadows and groups behind probability_low/high
    same_generator: bool = False  # the dev pile and the test pile come from one generator
    recalibrate: str = "none"  # none | dev: probabilities and thresholds set on dev labels (needs same_generator)
    baseline: str = ""  # without shadows: whose labels submission.csv has; empty: see attack/quick/choice.py
    objective: str = "f1"  # what submission.csv maximises in expectation: f1 | kappa | accuracy
    seed: int = 0


@dataclass
class ReportConfig:
    gallery: bool = True  # show real slices beside generated ones; false where the report leaves the house
    gallery_rows: int = 8


@dataclass
class CompareConfig:
    """Checkpoints side by side (`launch.py compare`)."""

    count: int = 250  # images drawn from every checkpoint, all from the same noise
    batch_size: int = 50  # images drawn together
    embedding: str = "pixels"  # of distances between piles and to real slices; as in attack.embeddings
    axes: int = 32  # principal axes of the real slices in which FD and KID are computed, at most
    images: int = 64  # real slices whose features are compared, at most
    noises: int = 4  # of the denoising loss, at every noise level
    references: int = 7  # other shadows of a run whose loss says how hard a slice is, at most; 0: none
    sheet: int = 16  # images of a contact sheet
    seed: int = 0  # of the noises


@dataclass
class Config:
    """A whole run."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    challenge: ChallengeConfig = field(default_factory=ChallengeConfig)
    membership: MembershipConfig = field(default_factory=MembershipConfig)
    fleet: FleetConfig = field(default_factory=FleetConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    pile: PileConfig = field(default_factory=PileConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)


def from_dict(content: dict[str, Any], kind: type = Config) -> Any:
    """A `Config` from the nested dict in WORKDIR/config.json. Raises UserError on unknown or missing fields."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    wrong = sorted(fields.keys() ^ content.keys())
    if wrong:
        raise UserError(f"config.json: field {wrong[0]!r} of {kind.__name__} is unknown or missing; use a new workdir")
    default = kind()
    values: dict[str, Any] = {}
    for name, value in content.items():
        like = getattr(default, name)
        if dataclasses.is_dataclass(like):
            values[name] = from_dict(value, type(like))
        elif kind is FleetConfig and name == "families":
            values[name] = tuple(from_dict(family, FamilyConfig) for family in value)
        else:
            values[name] = tuple(value) if isinstance(like, tuple) else value
    return kind(**values)


def _positive(config: Config) -> dict[str, float]:
    """Fields that must be above zero, by their names on the command line."""
    c = config
    named = {"data.resolution": c.data.resolution, "data.group_distance": c.data.group_distance}
    for prefix, train in (("train", c.train), ("challenge.train", c.challenge.train)):
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "checkpoint_every", "log_every"):
            named[f"{prefix}.{name}"] = getattr(train, name)
    for i, family in enumerate(c.fleet.families):
        for name in ("batch_size", "learning_rate"):
            named[f"fleet.families[{i}].{name}"] = getattr(family, name)
    for name in ("count", "sampler_steps", "batch_size"):
        named[f"pile.{name}"] = getattr(c.pile, name)
    for name in ("workers", "threads", "devices"):
        named[f"fleet.{name}"] = getattr(c.fleet, name)
    for name in ("pile", "subsamples", "references", "draws", "redraws", "bootstrap"):
        named[f"attack.{name}"] = getattr(c.attack, name)
    for name in ("steps", "batch_size", "learning_rate", "noises", "pack"):
        named[f"attack.proxy.{name}"] = getattr(c.attack.proxy, name)
    for name in ("batch_size", "axes", "noises", "sheet"):
        named[f"compare.{name}"] = getattr(c.compare, name)
    for name in ("dev_used", "dev_not_used", "test_used", "test_not_used", "dev_generated", "test_generated"):
        named[f"challenge.{name}"] = getattr(c.challenge, name)
    named["challenge.slices_a_patient"] = c.challenge.slices_a_patient
    named["challenge.threads"] = c.challenge.threads
    return named | {
        "diffusion.timesteps": c.diffusion.timesteps,
        "diffusion.max_weight": c.diffusion.max_weight,
    }


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is no dataclass and no tuple of them, by its name on the command line or in a recipe."""
    for f in dataclasses.fields(value):
        inner = getattr(value, f.name)
        if dataclasses.is_dataclass(inner):
            yield from _leaves(inner, f"{prefix}{f.name}.")
        elif isinstance(inner, tuple) and any(map(dataclasses.is_dataclass, inner)):
            for i, element in enumerate(inner):
                yield from _leaves(element, f"{prefix}{f.name}[{i}].")
        else:
            yield prefix + f.name, inner


# Fields with few values, and those that may be zero: by the end of their name, for the shadows and the target alike.
_CHOICES = {
    "denoiser.kind": ("dit", "unet2d"),
    "denoiser.dtype": ("float32", "bfloat16"),
    "membership.unit": ("image", "group", "mixed"),
    "challenge.split": ("slice", "group"),
    "attack.objective": ("f1", "kappa", "accuracy"),
    "attack.recalibrate": ("none", "dev"),
    "attack.proxy.prediction": ("v", "epsilon", "sample"),
    "attack.model": ("logistic", "boosting", "mean", "auto"),
}
_NOT_NEGATIVE = (
    *("train.shift", "warmup_steps", "weight_decay", "ema_halflife_images", "pile.eta", "attack.ridge"),
    "compare.references",
)
_PROXY_TIMES = 1000  # of the process of proxies
SEEDS = 2**32  # JAX uses 32 bits of a seed


def _validate_denoiser(prefix: str, denoiser: DenoiserConfig, size: int, timesteps: int) -> None:
    """Refuses a network that cannot be, or that cannot take images of `size` x `size`."""
    if denoiser.kind == "unet2d":
        unet2d_config.check(denoiser.unet, f"{prefix}.unet")
        unet2d_config.check_trained(denoiser.unet, f"{prefix}.unet", timesteps)
        halvings = len(denoiser.unet.block_out_channels) - 1
        divisions = [("data.resolution", size, f"2 ** {halvings} ({prefix}.unet.block_out_channels)", 2**halvings)]
    else:
        divisions = [
            ("data.resolution", size, f"{prefix}.patch", denoiser.patch),
            (f"{prefix}.width", denoiser.width, f"{prefix}.heads", denoiser.heads),
            (f"{prefix}.width", denoiser.width, "4", 4),
        ]
    for name, value, by, divisor in divisions:
        if divisor < 1 or value < 1 or value % divisor:
            raise UserError(f"{name} = {value}: must be divisible by {by} = {divisor}")


def _validate_families(config: Config) -> None:
    """Refuses families that are none or share a name, and options beside them that would do nothing."""
    families = config.fleet.families
    if not isinstance(families, tuple) or not all(type(family) is FamilyConfig for family in families):
        raise UserError(
            f"fleet.families = {families!r}: must be a tuple of FamilyConfig, in a recipe (as configs/families.py does)"
        )
    names: set[str] = set()
    for i, family in enumerate(families):
        where = f"fleet.families[{i}]"
        for name, kind in (("name", str), ("batch_size", int), ("learning_rate", float), ("denoiser", DenoiserConfig)):
            if type(getattr(family, name)) is not kind:
                raise UserError(f"{where}.{name} = {getattr(family, name)!r}: must be of type {kind.__name__}")
        if not re.fullmatch(r"[\w.-]+", family.name) or family.name in names:
            raise UserError(
                f"{where}.name = {family.name!r}: use letters, digits, '-', '_' and '.', another name for each family"
            )
        names.add(family.name)
    if not families:
        return
    known = dict(_leaves(Config()))
    replaced = ("denoiser.", "train.batch_size", "train.learning_rate")
    for name, value in _leaves(config):
        if name.startswith(replaced) and value != known[name]:
            raise UserError(f"{name} = {value!r}: does nothing, as each of fleet.families has its own; leave it")


def _validate_proxy(proxy: ProxyConfig, size: int) -> None:
    """Refuses proxies that cannot be, or cannot be asked."""
    _validate_denoiser("attack.proxy.denoiser", proxy.denoiser, size, _PROXY_TIMES)
    if not proxy.times or len(set(proxy.times)) < len(proxy.times):
        raise UserError(f"attack.proxy.times = {proxy.times}: name one or more times, each once")
    if not all(isinstance(t, int) and 0 <= t < _PROXY_TIMES for t in proxy.times):
        raise UserError(f"attack.proxy.times = {proxy.times}: must be whole numbers from 0 to {_PROXY_TIMES - 1}")
    if proxy.noises % 2:
        raise UserError(f"attack.proxy.noises = {proxy.noises}: must be even, since each comes with its negative")


def _validate_encoders(config: Config) -> None:
    """Refuses the embedding `features` where no block of shadows can be spared for it."""
    block, count = config.membership.block, config.fleet.shadows
    rounds = block * max(1, len(config.fleet.families))
    least = max(rounds + block, block * -(-(block + 6) // block))
    if config.fleet.families:
        least = 2 * rounds
    if count < least:
        raise UserError(
            f"attack.embeddings: {FEATURES!r} sets a whole block of shadows apart, membership.block = {block}, as "
            f"encoders: fleet.shadows = {count} is too few, use {least} or more, or leave it out"
        )


def _validate_subsamples(config: Config) -> None:
    """Refuses several lots of a pile where there are not enough images, or what is measured knows one lot only."""
    attack = config.attack
    said = f"attack.subsamples = {attack.subsamples}"
    if not config.fleet.shadows:
        raise UserError(f"{said}: only with shadows; baselines do not use it")
    if attack.subsamples * attack.pile > config.pile.count:
        raise UserError(f"{said}, times attack.pile = {attack.pile}, is above pile.count = {config.pile.count}")
    if "proxy" in attack.signals or attack.embeddings_from:
        raise UserError(f"{said}: the signal 'proxy' and attack.embeddings_from are of one lot of images alone; use 1")


def validate(config: Config) -> None:
    """Refuses values that contradict each other or make no sense, by field. Raises UserError.

    The fields are frozen by the first command on a workdir, so a mistake found later costs the workdir.
    """
    _validate_families(config)
    for name, value in _leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} = {value}: must be a finite number")
        for end, allowed in _CHOICES.items():
            if name.endswith(end) and value not in allowed:
                raise UserError(f"{name} = {value!r}: use {' or '.join(map(repr, allowed))}")
        if name.endswith(_NOT_NEGATIVE) and value < 0:
            raise UserError(f"{name} = {value}: must be 0 or more")
        if name.split(".")[-1] == "seed" and not 0 <= value < SEEDS:
            raise UserError(f"{name} = {value}: must lie between 0 and {SEEDS - 1}")
    for name, value in _positive(config).items():
        if not value > 0:
            raise UserError(f"{name} = {value}: must be above 0")
    attack, block = config.attack, config.membership.block
    if config.fleet.shadows and attack.baseline:
        raise UserError(f"attack.baseline = {attack.baseline!r}: only without shadows, with fleet.shadows = 0")
    if config.fleet.shadows and config.fleet.shadows < 6:
        raise UserError(
            f"fleet.shadows = {config.fleet.shadows}: use at least 6, so that a held-out shadow, the one "
            "asked about and a reference are three; or 0 for baselines without shadows"
        )
    if block < 2 or block % 2 or config.fleet.shadows % block:
        raise UserError(
            f"membership.block = {block}: use an even number that divides fleet.shadows = {config.fleet.shadows}"
        )
    families = [(f"fleet.families[{i}].", family) for i, family in enumerate(config.fleet.families)]
    if families and config.fleet.shadows % (block * len(families)):
        raise UserError(
            f"fleet.shadows = {config.fleet.shadows}: use a multiple of {block * len(families)}, which is "
            f"membership.block = {block} times the number of fleet.families, so that each has whole blocks"
        )
    if config.data.edition == "own" and not config.data.root:
        raise UserError("data.edition = 'own': give the folder of your data, --config.data.root=FOLDER")
    if config.data.edition == "own" and attack.same_generator:
        raise UserError(
            "attack.same_generator: data.edition = 'own' has no dev pile and no used slices; leave it false, or use "
            "the layout of edition 2023"
        )
    pack = config.fleet.pack
    if pack != "auto" and (isinstance(pack, bool) or not isinstance(pack, int) or pack < 1):
        raise UserError(f"fleet.pack = {pack!r}: use a number of shadows, 1 or more, or 'auto'")
    denoisers = [(f"{prefix}denoiser", family.denoiser) for prefix, family in families]
    denoisers = denoisers or [("denoiser", config.denoiser)]
    trained = [("train", config.train)]
    if not config.fleet.shadows:
        denoisers, trained = [], []
    batches = [(f"{prefix}batch_size", family.batch_size) for prefix, family in families]
    for name, batch in batches or [("train.batch_size", config.train.batch_size)]:
        if batch % config.fleet.devices:
            raise UserError(f"{name} = {batch}: must be divisible by fleet.devices = {config.fleet.devices}")
    if not config.data.root:  # else no challenge is made
        denoisers.append(("challenge.denoiser", config.challenge.denoiser))
        trained.append(("challenge.train", config.challenge.train))
    for name, denoiser in denoisers:
        _validate_denoiser(name, denoiser, config.data.resolution, config.diffusion.timesteps)
    for name, train in trained:
        if train.shift >= config.data.resolution:
            raise UserError(
                f"{name}.shift = {train.shift}: must be below data.resolution = {config.data.resolution}, or "
                "nothing is left of an image"
            )
    rules.check(config.diffusion, config.pile)
    rules.check_times(config.pile, config.diffusion.timesteps)
    if not all(1 <= step <= config.train.steps for step in config.pile.steps):
        raise UserError(f"pile.steps = {config.pile.steps}: must lie between 1 and train.steps = {config.train.steps}")
    if attack.subsamples > 1:
        _validate_subsamples(config)
    if config.fleet.shadows and attack.pile > config.pile.count:
        raise UserError(f"attack.pile = {attack.pile} is above pile.count = {config.pile.count}: shadows have no more")
    for name, value, below in (("prior", attack.prior, 1.0), ("fpr", attack.fpr, 0.5)):
        if not 0 < value < below:
            raise UserError(f"attack.{name} = {value}: must lie between 0 and {below}")
    if attack.recalibrate == "dev" and not config.fleet.shadows:
        raise UserError("attack.recalibrate = 'dev': only with shadows; baselines have no probabilities")
    if attack.recalibrate == "dev" and not attack.same_generator:
        raise UserError(
            "attack.recalibrate = 'dev': labels of the dev slices say nothing of another generator; use 'none', or set "
            "attack.same_generator where one generator made both piles"
        )
    if "proxy" in attack.signals:  # else its network need not fit the images
        _validate_proxy(attack.proxy, config.data.resolution)
    for name, value, least in (("count", config.compare.count, 3), ("images", config.compare.images, 4)):
        if value < least:
            raise UserError(f"compare.{name} = {value}: use {least} or more")
    if attack.folds < 2:
        raise UserError(f"attack.folds = {attack.folds}: use 2 or more")
    if SUPPLIED in attack.embeddings:
        raise UserError(f"attack.embeddings: {SUPPLIED!r} comes with attack.embeddings_from = FILE; leave it out here")
    if attack.embeddings_from and not config.fleet.shadows:
        raise UserError(
            f"attack.embeddings_from = {attack.embeddings_from!r}: only with shadows; baselines do not use it"
        )
    if FEATURES in attack.embeddings:
        _validate_encoders(config)
    if not (attack.embeddings or attack.embeddings_from) or not attack.signals:
        raise UserError("attack.embeddings and attack.signals must not be empty")
