"""shadowprint: which real slices was a generator of medical images trained on?

python launch.py COMMAND --config=configs/NAME.py --workdir=DIR [--config.field.sub=value ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from configs import converting, flag
from shadow.errors import UserError, exits

_CONFIG = flag.define()
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run.")
_PACK = flags.DEFINE_integer("pack", None, "train, sample: this pack only, in this process.", 0)
_EXECUTOR = flags.DEFINE_enum("executor", "local", ["local", "slurm"], "run, train, sample: who does the packs.")
_REUSE = flags.DEFINE_list("reuse", [], "run, train, sample: folders of runs whose packs are taken where they match.")
_PREDICTIONS = flags.DEFINE_string("predictions", "", "score: predictions.csv of a run.")
_TRUTH = flags.DEFINE_string("truth", "", "score: csv id,label[,group].")
_JSON = flags.DEFINE_string("json", "", "score: also write every figure to this file.")
_SUBMISSION = flags.DEFINE_string("submission", "", "validate: the file to check.")
_EDITION = flags.DEFINE_string("edition", "2023", "validate: whose format.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "export: the shadow, RUN/shadows/0003[@STEP][:raw].")
_CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "compare: RUN/shadows/0003[@STEP][:raw] or diffusers folders.")
_PIPELINE = flags.DEFINE_string("pipeline", "", "import: the folder of a diffusers pipeline.")
_TO = flags.DEFINE_string("to", "", "convert, export, import, images: the folder to write.")


def _run(settle: bool = True) -> Any:
    """What has the commands as methods: a run, or one process of its fleet."""
    from shadow.fleet import worker

    if not _WORKDIR.value:
        raise UserError("--workdir is missing: name the folder of the run")
    folder, shadows = Path(_WORKDIR.value), _CONFIG.value.fleet.shadows
    if worker.is_worker() or (_PACK.value is not None and shadows):
        return worker.Worker(folder, _CONFIG.value, _PACK.value)
    # the floor above, which a worker has no time to wait for
    if shadows:
        from attack.pipeline import Run as Kind
    else:
        from attack.quick.run import QuickRun as Kind
    return Kind(folder, _CONFIG.value, _EXECUTOR.value, [Path(name) for name in _REUSE.value], settle)


def _proxies() -> None:
    run = _run()
    if hasattr(run, "proxies"):  # else a worker, of the floor below
        return run.proxies()
    from attack.proxies import working

    return working.work(run.folder, run.config, run.data_root)


def _score() -> None:
    from attack import score

    print(score.score_files(_PREDICTIONS.value, _TRUTH.value, _JSON.value))


def _inspect() -> None:
    from shadow.data import inspection

    print(inspection.report(_CONFIG.value.data, flag.overrides()))


def _validate() -> None:
    from attack import submission

    ids = _run().candidate_ids() if _WORKDIR.value else None
    print(submission.check(_given(_SUBMISSION), _EDITION.value, ids))


def _compare() -> None:
    from attack.compare import command

    command.check_options(flag.overrides())
    print(command.compare(_given(_CHECKPOINTS), Path(_given(_WORKDIR)), _CONFIG.value))


def _export() -> None:
    from shadow import hub

    print(hub.export(_given(_CHECKPOINT), Path(_WORKDIR.value) if _WORKDIR.value else None, Path(_given(_TO))))


def _import() -> None:
    from shadow import imported

    if _WORKDIR.value or not flags.FLAGS["config"].using_default_value:
        raise UserError(f"--workdir and --config=RECIPE are not for import: it takes {', '.join(imported.OPTIONS)}")
    print(imported.audit_pile(Path(_given(_PIPELINE)), Path(_given(_TO)), flag.overrides()))


def _given(asked: Any) -> Any:
    if not asked.value:
        raise UserError(f"--{asked.name} is missing: {flags.FLAGS[asked.name].help}")
    return asked.value


COMMANDS: dict[str, tuple[str, Callable[[], None]]] = {
    "run": ("every stage below that is not done yet, in order; resumes", lambda: _run().everything()),
    "challenge": ("make a challenge folder with a sealed truth", lambda: _run().challenge()),
    "plan": ("check the data; write manifest, membership and plan", lambda: _run().plan()),
    "train": ("train the shadows (all, or --pack=I)", lambda: _run().train()),
    "sample": ("draw the shadows' piles (all, or --pack=I)", lambda: _run().sample()),
    "status": ("what is done and what is not", lambda: _run(False).status()),
    "proxies": ("train a model on every pile, for the signal `proxy` (`signals` does, too)", _proxies),
    "images": ("--to=DIR: what attack.embeddings_from needs vectors of", lambda: _run().images(Path(_given(_TO)))),
    "signals": ("measure every candidate against every pile", lambda: _run().signals()),
    "fit": ("fit the attack, cross-fitted over shadows and groups", lambda: _run().fit()),
    "predict": ("predictions.csv and submission.csv", lambda: _run().predict()),
    "report": ("report.html", lambda: _run().report()),
    "score": ("--predictions=CSV --truth=CSV [--json=FILE]: every figure", _score),
    "compare": ("--checkpoints=A,B[,...]: what differs between them, and which leaks more", _compare),
    "export": ("--checkpoint=RUN/shadows/0003[@STEP][:raw] --to=DIR: a diffusers pipeline of a shadow", _export),
    "import": ("--pipeline=DIR --to=DIR: check a diffusers pipeline, and draw a pile from it", _import),
    "inspect": ("--config.data.root=DIR: what the folder holds, before anything is trained", _inspect),
    "convert": ("--source=DIR --to=DIR: DICOM, NIfTI, ... as PNG slices", lambda: converting.convert(_given(_TO))),
    "validate": ("--submission=CSV --edition=2023: would the organizers accept it?", _validate),
}


def main(argv: list[str]) -> None:
    if len(argv) != 2 or argv[1] not in COMMANDS:
        said = f"no command {argv[1]!r}; " if len(argv) > 1 else ""
        print(f"{said}usage: {__doc__.strip().splitlines()[-1]}\n", file=sys.stderr)
        for name, (what, _) in COMMANDS.items():
            print(f"  {name:10} {what}", file=sys.stderr)
        sys.exit(2 if said or len(argv) > 2 else 0)
    one, fleet = _PACK.value is not None, bool(_REUSE.value) or _EXECUTOR.value != "local"
    if (argv[1] not in ("train", "sample") and (one or (fleet and argv[1] != "run"))) or (one and fleet):
        raise UserError("--pack is for train and sample alone; --reuse and --executor for them and run, without --pack")
    logging.use_python_logging(quiet=True)
    logging.set_verbosity(logging.WARNING)  # libraries talk at INFO (matplotlib a line a label)
    COMMANDS[argv[1]][1]()


def cli() -> None:
    with exits(lambda: _WORKDIR.value or _TO.value):
        app.run(main, flags_parser=flag.parse)


if __name__ == "__main__":
    cli()
