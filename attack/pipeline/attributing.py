"""The commands of a run that asks whose data generated images were made from (data.edition = 2025-2)."""

from __future__ import annotations

from pathlib import Path

from attack.decision import submission
from attack.decision.attribution.predicting import RESULT
from attack.decision.submission_formats import Format
from attack.pipeline import Run
from attack.report.attribution import sentences
from attack.results.attributed import Attribution
from attack.stages import ATTRIBUTION
from shadow.data import subsets
from shadow.data.manifest import Manifest
from shadow.errors import UserError


class AttributionRun(Run):
    """As `attack.pipeline.Run`, but of subsets: `fit` belongs to `predict`, and `images` is refused."""

    stages = ATTRIBUTION
    commands = ("plan", "sample", "signals", "predict", "report")
    scored = False

    def fit(self) -> None:
        """Refused: it is a part of `predict`."""
        raise UserError("fit: with data.edition = 2025-2 it is a part of `launch.py predict`")

    def images(self, folder: Path) -> None:
        """Refused: vectors of one's own are for the question of membership."""
        raise UserError("images: data.edition = 2025-2 takes attack.embeddings alone")

    def candidate_ids(self) -> list[str]:
        """Ids of the images that are asked about, as the submission has them."""
        found = self._manifest()
        return submission.ids_of_piles(found.id[found.rows("generated_test")].tolist())

    def submission_format(self) -> Format:
        """How its submission is written."""
        return submission.of_subsets(self.config, subsets.read(self._manifest()).names)

    def _headline(self) -> str:
        return sentences.headline(Attribution.read(self.folder / "attack" / RESULT))

    def _check_references(self, manifest: Manifest) -> None:
        """Nothing: `predict` says where a subset has too few shadows."""
