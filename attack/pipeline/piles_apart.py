"""Several test piles: a run for each, one after the other, with one fleet (data.piles = apart)."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from attack.decision.submission_formats import Format
from attack.pipeline import Run
from shadow import files
from shadow.config import Config
from shadow.data import mapping
from shadow.errors import UserError
from shadow.validate import validate

TABLE = "piles.csv"
_COLUMNS = ("score", "probability", "decision")  # of predictions.csv, as far as they are there


class RunOfPiles:
    """The commands of a run, for every pile below WORKDIR/piles. The first run trains the shadows and the others take
    them over: shadows are trained on dev slices alone, which all piles have in common.

    kind: of each run. Other arguments and errors as of `Run`, and UserError as `mapping.apart`.
    """

    def __init__(
        self,
        kind: type[Run],
        folder: Path,
        config: Config,
        executor: str = "local",
        reuse: Sequence[Path] = (),
        settle: bool = True,
    ) -> None:
        validate(config)
        root, self.folder, self.config = Path(config.data.root), folder, config
        if (folder / "config.json").exists():
            raise UserError(f"--workdir={folder} holds a run about one pile; name another folder")
        self.runs: dict[str, Run] = {}
        for name, roles in mapping.apart(root, config.data.edition, config.data.roles).items():
            data = dataclasses.replace(config.data, piles="together", roles=roles)
            own = dataclasses.replace(config, data=data)
            first = [run.folder for run in self.runs.values()][:1]
            others = [*reuse, *(first if config.fleet.shadows else [])]
            self.runs[name] = kind(folder / "piles" / name, own, executor, others, settle)

    def everything(self) -> None:
        """Does every stage that is not done for every pile, says each verdict, and writes piles.csv."""
        for name, run in self.runs.items():
            print(f"pile {name}")
            run.everything()
        write_table(self.folder / TABLE, {name: run.folder / "predictions.csv" for name, run in self.runs.items()})
        print(f"all piles: {self.folder / TABLE} (each verdict is of its pile alone)")

    def status(self, flags: str = "") -> None:
        """Prints how far the run of every pile is."""
        for name, run in self.runs.items():
            print(f"pile {name}")
            run.status(f"--workdir={run.folder}")

    def each(self, command: str) -> None:
        """Does one step for every pile."""
        for run in self.runs.values():
            getattr(run, command)()

    def challenge(self) -> None:
        """Refused: the data are given."""
        self.each("challenge")

    def plan(self) -> None:
        """As `Run.plan`."""
        self.each("plan")

    def train(self) -> None:
        """As `Run.train`."""
        self.each("train")

    def sample(self) -> None:
        """As `Run.sample`."""
        self.each("sample")

    def signals(self) -> None:
        """As `Run.signals`."""
        self.each("signals")

    def fit(self) -> None:
        """As `Run.fit`."""
        self.each("fit")

    def predict(self) -> None:
        """As `Run.predict`."""
        self.each("predict")

    def report(self) -> None:
        """As `Run.report`."""
        self.each("report")

    def images(self, folder: Path) -> None:
        """Refused: vectors of an encoder belong to the run of a pile."""
        raise UserError(f"images: with data.piles = 'apart', name the run of a pile: --workdir={self._first.folder}")

    @property
    def _first(self) -> Run:
        return next(iter(self.runs.values()))

    def candidate_ids(self) -> list[str]:
        """Ids of the candidates, which all piles have in common."""
        return self._first.candidate_ids()

    def submission_format(self) -> Format:
        """How each submission is written."""
        return self._first.submission_format()


def write_table(path: Path, predictions: dict[str, Path]) -> None:
    """Writes a csv with a row for each candidate and, for each pile, its columns of the pile's predictions.csv."""
    columns: dict[str, list[str]] = {}
    for pile, source in predictions.items():
        with source.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        columns.setdefault("id", [row["id"] for row in rows])
        for name in _COLUMNS:
            if name in rows[0]:
                columns[f"{name}_{pile}"] = [row[name] for row in rows]
    files.write_csv(path, tuple(columns), zip(*columns.values(), strict=True))
