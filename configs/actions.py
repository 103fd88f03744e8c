"""What each command of `launch.py` does with its flags. Heavy modules are imported where a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs import flag, inspecting, options
from shadow.data.editions import SUBSETS


def run(settle: bool = True) -> Any:
    """Opens what has the commands as methods: a run, or one process of its fleet."""
    from shadow.fleet import worker

    folder, config, pack = options.folder(options.WORKDIR), options.CONFIG.value, options.PACK.value
    hosts = options.MULTIHOST.value
    if worker.is_worker() or ((pack is not None or hosts) and config.fleet.shadows):
        return worker.Worker(folder, config, pack, hosts)
    kind, reuse = _kind(), [Path(name) for name in options.REUSE.value]
    if config.data.piles == "apart":
        from attack.pipeline.piles_apart import RunOfPiles

        return RunOfPiles(kind, folder, config, options.EXECUTOR.value, reuse, settle)
    return kind(folder, config, options.EXECUTOR.value, reuse, settle)


def _kind() -> Any:
    """The class of runs for the question that the config asks: the floor above, which a worker has no time to wait
    for."""
    config = options.CONFIG.value
    if config.data.edition == SUBSETS:
        from attack.pipeline.attributing import AttributionRun

        return AttributionRun
    if config.fleet.shadows:
        from attack.pipeline import Run

        return Run
    from attack.baselines.alone.run import QuickRun

    return QuickRun


def plan() -> None:
    """Plans the run, or says what it will cost."""
    if not options.DRY_RUN.value:
        run().plan()
        return
    from attack.pipeline.costs import command

    print(command.dry_run(options.folder(options.WORKDIR), options.CONFIG.value))


def status() -> None:
    """Says how far a run is, and what comes next."""
    run(settle=False).status(options.words_after("status"))


def score() -> None:
    """Prints every figure of predictions against a truth."""
    from attack.metrics import score as scoring

    print(scoring.score_files(options.given(options.PREDICTIONS), options.given(options.TRUTH), options.JSON.value))


def inspect() -> None:
    """Writes the page about a folder."""
    inspecting.inspect(options.CONFIG.value, options.WORKDIR.value)


def validate() -> None:
    """Checks a submission as the organizers do."""
    from attack.decision import submission
    from shadow.config import Config

    path, config, ids = options.given(options.SUBMISSION), options.CONFIG.value, None
    layout = None
    if options.WORKDIR.value:
        opened = run()
        config, ids, layout = opened.config, opened.candidate_ids(), opened.submission_format()
        if options.is_given("edition") and options.EDITION.value != config.data.edition:
            config, layout = Config(), None  # another edition's rules, and not the run's own
    if options.is_given("edition") or not options.WORKDIR.value:
        config.data.edition = options.EDITION.value
    print(submission.check(path, layout or submission.of_config(config), ids))


def compare() -> None:
    """Compares checkpoints side by side."""
    from attack.compare import command

    command.check_options(flag.overrides())
    print(command.compare(options.given(options.CHECKPOINTS), options.folder(options.WORKDIR), options.CONFIG.value))


def export() -> None:
    """Writes a shadow as a pipeline of diffusers."""
    from shadow import hub

    workdir = Path(options.WORKDIR.value) if options.WORKDIR.value else None
    print(hub.export(options.given(options.CHECKPOINT), workdir, options.folder(options.TO)))


def import_pipeline() -> None:
    """Takes a pipeline of diffusers as a generator to draw from."""
    from shadow import imported

    print(imported.audit_pile(options.folder(options.PIPELINE), options.folder(options.TO), flag.overrides()))
