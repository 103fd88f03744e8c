"""Every option of a run, as typed dataclasses.

A recipe in `configs/` returns a `Config`; `--config.train.steps=500` overrides a field. Unknown fields and wrong
types are refused by `ml_collections.config_flags`; contradictions by `shadow/validate.py`. Units are in the names or in
the comment beside the field.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from shadow.denoisers.unet2d_config import UNet2DConfig
from shadow.errors import UserError

SUPPLIED = "supplied"  # the embedding whose vectors attack.embeddings_from holds
SEEDS = 2**32  # JAX uses 32 bits of a seed


@dataclass
class DataConfig:
    """Which images, and at what size the shadows see them."""

    root: str = ""  # folder of the challenge; empty: WORKDIR/challenge, made from `challenge.pool`
    edition: str = "2023"  # names of the role folders and the submission format
    roles: tuple[str, ...] = ()  # "ROLE=GLOB" of folders below root, where they have other names than the edition's
    piles: str = "together"  # several folders of test piles: together (one pile) | apart (a run for each, one fleet)
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
    overlap: bool = False  # dit: a token sees and writes half a patch beyond its own on every side, against seams
    block: int = 1  # unet2d: pixels a side of the blocks that it sees as channels; 8 where slices are 256 x 256
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
    min_weight: float = 0.0  # min_snr: floor of that weight
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

    unit: str = "auto"  # auto (by how candidates and dev slices share patients) | image | group | mixed (between)
    block: int = 8  # shadows drawn together, even; in a block a unit is in exactly half of them
    candidates: bool = False  # online: shadows are trained on test candidates too; new candidates need new shadows


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
    subsets: int = 5  # data.edition = 2025-2: generators, each trained on a subset of its own
    subset_slices: int = 20  # data.edition = 2025-2: slices of each subset
    denoiser: DenoiserConfig = field(default_factory=lambda: DenoiserConfig(width=128, depth=3))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=3000, batch_size=16))
    threads: int = 2  # CPU threads of the target's training
    seed: int = 1  # of the target; the shadows use `seed`


@dataclass
class AttackConfig:
    """From piles to probabilities."""

    allow_missing: bool = False  # go on with the shadows that are done where others are missing
    pile: int = 250  # images of each shadow's pile that are compared
    target_pile: int = 0  # images of the target's piles that distances see, `pile` at least; 0: all
    embeddings: tuple[str, ...] = ("pixels", "highpass", "laplacian")
    embeddings_from: str = ""  # NPZ of vectors of an encoder of your own, by the ids of `launch.py images`
    signals: tuple[str, ...] = ("ratio", "mosaic", "votes")  # also nearest: docs/method.md, section 6
    flips: str = "auto"  # piles are looked at flipped too: none | left_right | up_down | both | auto (if training did)
    references: int = 8  # OUT shadows a calibration uses at most
    draws: int = 4  # repetitions with other OUT references
    folds: int = 5  # folds over groups of the two-way cross-fitting
    ridge: float = 1.0  # pull of the logistic weights towards equal weights
    ablation: bool = False  # also measure what each part of the attack is worth: signals, embeddings, number of shadows
    prior: float = 0.5  # probability of membership before looking
    none: float = 0.1  # data.edition = 2025-2: probability before looking that no subset made an image; 0: one did
    fpr: float = 0.1  # false positive rate of the decision `used`
    redraws: int = 19  # memberships redrawn for the control: two-way AUCs of an answer that means nothing
    bootstrap: int = 100  # resamples of shadows and groups behind probability_low/high
    same_generator: str = "auto"  # did one generator make the dev and the test pile? auto (tested) | true | false
    recalibrate: str = "auto"  # weights, probabilities and thresholds by dev labels: auto (where they count), none, dev
    baseline: str = ""  # without shadows: whose labels submission.csv has; empty: see attack/baselines/alone/choice.py
    objective: str = "f1"  # what submission.csv maximises in expectation: f1 | kappa | accuracy
    seed: int = 0


@dataclass
class ReportConfig:
    """The page: which images it shows."""

    gallery: str = "auto"  # real slices beside generated ones: true | false | auto (of phantoms alone: nobody's slices)
    gallery_rows: int = 8


@dataclass
class SubmissionConfig:
    """How submission.csv is written where nobody's rules fix it: data.edition=own, and folders of data.roles."""

    header: tuple[str, ...] = ()  # names of the two columns, ("image", "label"); empty: no header
    extension: str = ""  # that follows an id, as ".png"; "none": none; empty: the edition's
    delimiter: str = ","  # , | ; | tab | "|"
    used: str = "1"  # the label of a used slice
    not_used: str = "0"  # the label of a slice that was not used


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
    submission: SubmissionConfig = field(default_factory=SubmissionConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)


_ADDED = (  # fields that older runs lack, and had by their defaults
    *((DataConfig, "roles"), (DataConfig, "piles"), (Config, "submission"), (AttackConfig, "none")),
    *((ChallengeConfig, "subsets"), (ChallengeConfig, "subset_slices")),
    *((DenoiserConfig, "block"), (DenoiserConfig, "overlap"), (DiffusionConfig, "min_weight")),
)
_REMOVED = ((AttackConfig, "proxy"),)  # fields that older runs have, and that nothing rests on any more
_ONCE_BOOLS = ((AttackConfig, "same_generator"), (ReportConfig, "gallery"))


def from_dict(content: dict[str, Any], kind: type = Config) -> Any:
    """A `Config` from the nested dict in WORKDIR/config.json. Raises UserError on unknown or missing fields.

    `attack.same_generator` and `report.gallery` were bools in older runs: true and false become "true" and "false".
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    lacking = {name for owner, name in _ADDED if owner is kind and name not in content}
    removed = {name for owner, name in _REMOVED if owner is kind}
    wrong = sorted((fields.keys() - lacking) ^ (content.keys() - removed))
    if wrong:
        raise UserError(f"config.json: field {wrong[0]!r} of {kind.__name__} is unknown or missing; use a new workdir")
    default = kind()
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name in removed:
            continue
        like = getattr(default, name)
        if dataclasses.is_dataclass(like):
            values[name] = from_dict(value, type(like))
        elif kind is FleetConfig and name == "families":
            values[name] = tuple(from_dict(family, FamilyConfig) for family in value)
        elif (kind, name) in _ONCE_BOOLS and isinstance(value, bool):
            values[name] = "true" if value else "false"
        else:
            values[name] = tuple(value) if isinstance(like, tuple) else value
    return kind(**values)
