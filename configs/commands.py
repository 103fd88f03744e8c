"""The commands of `launch.py`: one table, from which both the help and the dispatch come."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from configs import actions, converting, options
from shadow import workdir
from shadow.errors import UserError

WHOLE, STEPS, AROUND = "A whole run", "The steps of a run, in order", "Around a run"
_RUN = ("config", "config.FIELD", "workdir")
_FLEET = (*_RUN, "executor", "reuse")
_TRAINING = ("denoiser", "diffusion", "train", "membership", "fleet")


@dataclass(frozen=True)
class Command:
    """One command. example: what follows `python launch.py`; flags: those that it reads, any other is refused; fields:
    the options of a recipe on which its result depends, besides those of the steps before it."""

    name: str
    group: str
    does: str
    more: str
    example: str
    action: Callable[[], None]
    flags: tuple[str, ...]
    fields: tuple[str, ...] = ()


_DEMO = "--workdir=runs/demo"
_TABLE = (
    Command(
        "run",
        WHOLE,
        "do every step below that is not done yet, in order",
        "Run it again to resume: what is done stays as it is. Makes a challenge of its own where data.root is empty. "
        "Without --config, a folder that holds a run keeps its own config, and any other gets that of configs/demo.py.",
        f"run --config=configs/demo.py {_DEMO}",
        lambda: actions.run().everything(),
        _FLEET,
        ("data", "challenge", *_TRAINING, "pile", "attack", "submission", "report"),
    ),
    Command(
        "status",
        WHOLE,
        "say how far the run is, where its results are, and what the next command is",
        "Changes nothing. Lists packs that are running, stopped or failed, with the reason.",
        f"status {_DEMO}",
        actions.status,
        _RUN,
    ),
    Command(
        "challenge",
        STEPS,
        "make a challenge folder with a sealed truth",
        "Trains a target generator on hidden slices of a pool: phantoms, or a folder of your own (challenge.pool). "
        "Only for runs without data.root.",
        f"challenge --config=configs/demo.py {_DEMO}",
        lambda: actions.run().challenge(),
        _RUN,
        ("challenge", "diffusion", "pile", "data.resolution"),
    ),
    Command(
        "plan",
        STEPS,
        "check the data; write the manifest, the membership matrix and the plan",
        "Nothing is trained. From now on, options that training depends on are fixed in this workdir. With --dry_run "
        "nothing is written: a few steps are timed, and the cost is printed by stage and by number of shadows.",
        "plan --config=configs/small.py --workdir=runs/clef --config.data.root=DATA",
        actions.plan,
        (*_RUN, "dry_run"),
        ("data", "membership", "fleet"),
    ),
    Command(
        "train",
        STEPS,
        "train the shadows",
        "All packs that are missing, or --pack=I alone, in this process. May be stopped and started at any time.",
        f"train {_DEMO}",
        lambda: actions.run().train(),
        (*_FLEET, "pack", "multihost"),
        _TRAINING,
    ),
    Command(
        "sample",
        STEPS,
        "draw the piles of the shadows, and train those that are missing",
        "All packs that are missing, or --pack=I alone, in this process.",
        f"sample {_DEMO} --pack=0",
        lambda: actions.run().sample(),
        (*_FLEET, "pack", "multihost"),
        (*_TRAINING, "pile"),
    ),
    Command(
        "images",
        STEPS,
        "write every image that is measured, for an encoder of your own",
        "Embed these images, and give the vectors back with --config.attack.embeddings_from=vectors.npz.",
        f"images {_DEMO} --to=out",
        lambda: actions.run().images(options.folder(options.TO)),
        (*_RUN, "to"),
        ("attack.pile", "attack.target_pile", "attack.seed", "data.resolution"),
    ),
    Command(
        "signals",
        STEPS,
        "measure every candidate against every pile",
        "Needs `sample`.",
        f"signals {_DEMO}",
        lambda: actions.run().signals(),
        _RUN,
        workdir.LATER["signals"],
    ),
    Command(
        "fit",
        STEPS,
        "fit the attack, cross-fitted over shadows and groups",
        "Needs `signals`.",
        f"fit {_DEMO} --config.attack.ridge=2.0",
        lambda: actions.run().fit(),
        _RUN,
        workdir.LATER["fit"],
    ),
    Command(
        "predict",
        STEPS,
        "write predictions.csv and submission.csv",
        "Needs `fit`.",
        f"predict {_DEMO} --config.attack.objective=kappa",
        lambda: actions.run().predict(),
        _RUN,
        workdir.LATER["predict"],
    ),
    Command(
        "report",
        STEPS,
        "write report.html",
        "Needs `predict`. Slices that are no phantoms are shown only where report.gallery is `true`.",
        f"report {_DEMO} --config.report.gallery=true",
        lambda: actions.run().report(),
        _RUN,
        workdir.LATER["report"],
    ),
    Command(
        "inspect",
        AROUND,
        "say what a data folder holds, before anything is trained",
        "Numbers of images, sizes, modes, gray values and groups of each role, pictures that are there twice, and what "
        "sets generated images apart: as a table, and as a page with plots.",
        "inspect --config.data.root=DATA --out=inspect.html",
        actions.inspect,
        ("config", "config.FIELD", "workdir", "out"),
        ("data", "report.gallery"),
    ),
    Command(
        "convert",
        AROUND,
        "write DICOM, NIfTI, arrays and pictures as the PNG slices of a run",
        "--source is a folder or an archive. Patients' ids become hashes. conversions.csv names the sources and stays "
        "in the house.",
        "convert --source=RAW --to=DATA --window=-1350,150 --shape=pad",
        lambda: converting.convert(options.given(options.TO)),
        ("source", "to", "window", "shape", "colour", "salt"),
    ),
    Command(
        "validate",
        AROUND,
        "say whether the organizers would accept a submission",
        "Exit code 2 and the line at fault where they would not. With --workdir, its ids are those expected, and its "
        "edition and its format where --edition says nothing else.",
        "validate --submission=runs/clef/submission.csv --edition=2023",
        actions.validate,
        (*_RUN, "submission", "edition"),
        ("submission", "data.roles"),
    ),
    Command(
        "score",
        AROUND,
        "compute every figure of predictions against a truth",
        "AUC, TPR at low FPR, F1, kappa, calibration and more, with 95 % intervals.",
        "score --predictions=runs/demo/predictions.csv --truth=runs/demo/challenge/sealed/truth.csv",
        actions.score,
        ("predictions", "truth", "json"),
    ),
    Command(
        "compare",
        AROUND,
        "say what differs between checkpoints, and which leaks more",
        "Writes compare.json and compare.html. A checkpoint is of a shadow, or the folder of a diffusers pipeline.",
        f"compare {_DEMO} --checkpoints=shadows/0003@400,shadows/0003@1200",
        actions.compare,
        (*_RUN, "checkpoints"),
        ("compare", "data.root"),
    ),
    Command(
        "export",
        AROUND,
        "write a shadow as a diffusers pipeline",
        "Only shadows with denoiser.kind = unet2d. @STEP names a checkpoint, :raw the weights without averaging. "
        "Writes a model card beside, README.md.",
        "export --workdir=runs/mine --checkpoint=shadows/0003@1200 --to=shadow3",
        actions.export,
        ("workdir", "checkpoint", "to"),
    ),
    Command(
        "import",
        AROUND,
        "check a diffusers pipeline, and draw a pile from it to audit",
        "Reads safetensors only, and writes the images to TO/pile. All other options are the generator's own.",
        "import --pipeline=THEIRS --to=audit --config.pile.count=500",
        actions.import_pipeline,
        ("pipeline", "to", "config.FIELD"),
        ("pile.count", "pile.batch_size", "pile.sampler_steps", "pile.eta", "denoiser.dtype", "seed"),
    ),
)
COMMANDS = {command.name: command for command in _TABLE}


def named(name: str) -> Command:
    """The command of that name. UserError with the nearest one otherwise."""
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, [*COMMANDS, "help"], 1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise UserError(f"no command {name!r}: {hint}`python launch.py help` lists all of them")
    return COMMANDS[name]


def carry_out(command: Command) -> None:
    """Does the command. UserError on flags that it does not read."""
    for name in sorted({name for other in _TABLE for name in other.flags} - set(command.flags)):
        if options.is_given(name):
            taken = ", ".join(f"--{taken}" for taken in command.flags)
            raise UserError(f"--{name} is not for {command.name}, which takes {taken}; leave it out")
    if options.PACK.value is not None and (options.is_given("reuse") or options.EXECUTOR.value != "local"):
        raise UserError("--pack does one pack in this process: leave out --reuse and --executor")
    if options.MULTIHOST.value and (options.is_given("reuse") or options.EXECUTOR.value != "local"):
        raise UserError("--multihost does packs in these processes: leave out --reuse and --executor")
    command.action()
