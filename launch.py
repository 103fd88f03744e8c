"""shadowprint: which real slices was a generator of medical images trained on?

python launch.py COMMAND --config=configs/NAME.py --workdir=DIR [--config.field.sub=value ...]
"""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from shadow.errors import Stopped, UserError


def _fail(line: str) -> NoReturn:
    sys.stderr.write(f"error: {line}\n")  # in one piece: libraries' threads may be writing there too
    sys.exit(2)


def _recipe() -> str:
    """What --config is where it is not given: the config of the run in --workdir, or else the demo's."""
    configs = Path(__file__).parent / "configs"
    given = []
    for word, after in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        name, equals, value = word.lstrip("-").partition("=")
        if name == "workdir" and word.startswith("-"):
            given.append(value if equals else after)
    if given and (Path(given[-1]) / "config.json").exists():
        return f"{configs / 'existing.py'}:{given[-1]}"
    return str(configs / "demo.py")


try:
    _CONFIG = config_flags.DEFINE_config_file("config", _recipe(), "Recipe; default: that of the run in --workdir.")
except (UserError, KeyError) as wrong:  # the flag reads its default, and the overrides in sys.argv, at once
    _fail(f"--config: {wrong.args[0]}")
_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run.")
_PACK = flags.DEFINE_integer("pack", None, "train, sample: this pack only, in this process.", 0)
_EXECUTOR = flags.DEFINE_enum("executor", "local", ["local", "slurm"], "run, train, sample: who does the packs.")
_REUSE = flags.DEFINE_list("reuse", [], "run, train, sample: folders of runs whose packs are taken where they match.")
_PREDICTIONS = flags.DEFINE_string("predictions", "", "score: predictions.csv of a run.")
_TRUTH = flags.DEFINE_string("truth", "", "score: csv id,label[,group].")
_JSON = flags.DEFINE_string("json", "", "score: also write every figure to this file.")
_SUBMISSION = flags.DEFINE_string("submission", "", "validate: the file to check.")
_EDITION = flags.DEFINE_string("edition", "2023", "validate: whose format.")


def _run(settle: bool = True) -> Any:
    """What has the commands as methods: a run, or one process of its fleet."""
    from shadow.fleet import worker

    if not _WORKDIR.value:
        raise UserError("--workdir is missing: name the folder of the run")
    folder = Path(_WORKDIR.value)
    if worker.is_worker() or _PACK.value is not None:
        return worker.Worker(folder, _CONFIG.value, _PACK.value)
    from attack.pipeline import Run  # the floor above, which a worker has no time to wait for

    return Run(folder, _CONFIG.value, _EXECUTOR.value, [Path(name) for name in _REUSE.value], settle)


def _score() -> None:
    from attack import score

    print(score.score_files(_PREDICTIONS.value, _TRUTH.value, _JSON.value))


def _validate() -> None:
    from attack import submission

    if not _SUBMISSION.value:
        raise UserError("validate: --submission is missing: name the file")
    ids = _run().candidate_ids() if _WORKDIR.value else None
    rows = submission.validate(_SUBMISSION.value, _EDITION.value, ids)
    print(f"{_SUBMISSION.value}: {rows} rows, valid for edition {_EDITION.value}")


_OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)  # not our errors

COMMANDS: dict[str, tuple[str, Callable[[], None]]] = {
    "run": ("every stage below that is not done yet, in order; resumes", lambda: _run().everything()),
    "challenge": ("make a challenge folder with a sealed truth", lambda: _run().challenge()),
    "plan": ("check the data; write manifest, membership and plan", lambda: _run().plan()),
    "train": ("train the shadows (all, or --pack=I)", lambda: _run().train()),
    "sample": ("draw the shadows' piles (all, or --pack=I)", lambda: _run().sample()),
    "status": ("what is done and what is not", lambda: _run(False).status()),
    "signals": ("measure every candidate against every pile", lambda: _run().signals()),
    "fit": ("fit the attack, cross-fitted over shadows and groups", lambda: _run().fit()),
    "predict": ("predictions.csv and submission.csv", lambda: _run().predict()),
    "report": ("report.html", lambda: _run().report()),
    "score": ("--predictions=CSV --truth=CSV [--json=FILE]: every figure", _score),
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
    """Exit codes: 0 done, 2 the user's mistake (one line on stderr), 1 a defect of ours, 143 ended by SIGTERM."""
    try:
        app.run(main, flags_parser=_parse)
    except UserError as error:
        _fail(str(error))
    except Stopped as stopped:
        sys.stderr.write(f"{stopped}; run the same command again to go on\n")
        sys.exit(143)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OUTSIDE:
            raise
        _fail(f"{error.filename or _WORKDIR.value}: {error.strerror}; nothing is half written, mend it and run again")
    except KeyboardInterrupt:
        _fail("stopped; run the same command again to go on")


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        dataclasses.fields(_CONFIG.value)  # a recipe that could not be loaded says so only when it is used
        return rest
    except flags.Error as error:
        raise UserError(str(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError, ImportError, SyntaxError, OSError) as error:
        raise UserError(f"--config: {error}") from error


if __name__ == "__main__":
    cli()
