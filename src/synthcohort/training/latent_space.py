"""The space that a diffusion model is trained in where it is not that of pixels: which autoencoder, and does it fit.

What the autoencoder loses bounds every image of the model, so its reconstruction figures stand in the run's run.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from synthcohort.core.errors import ArtifactError, ConfigError, Problem
from synthcohort.core.files import read_artifact
from synthcohort.core.run import RunFolder
from synthcohort.models.autoencoder import FOLDER, Autoencoder, AutoencoderSpec, copy_autoencoder, load_autoencoder
from synthcohort.models.checkpoint import ImageSpec, LatentSpec
from synthcohort.training import reconstruction
from synthcohort.training.config import TrainConfig
from synthcohort.training.data import column
from synthcohort.training.joint import ImageType, JointSet
from synthcohort.training.latents import latent_sets

REPORTED = 1_000  # validation images whose reconstructions are measured where the autoencoder's own run did not
SETTING = "setting train.latent"


@dataclass(frozen=True)
class LatentSpace:
    """An autoencoder and where it lies; `report` holds what it loses by image type, where that is known."""

    autoencoder: Autoencoder
    described: AutoencoderSpec
    spec: LatentSpec
    folder: Path
    cohorts: frozenset[str]
    report: dict[str, Any] | None

    def check(self, images: Sequence[ImageSpec]) -> None:
        """Raises ConfigError for color images where the autoencoder knows gray ones alone."""
        color = [image.name for image in images if image.channels > self.described.channels]
        if color:
            found = f"an autoencoder of gray images, for color ones ({', '.join(color)})"
            raise ConfigError(Problem(SETTING, found, remedy="train one on color images"))

    def sets(self, folder: Path, joint: JointSet, device: torch.device, mirrored: bool) -> JointSet:
        """The images of a training as latents, prepared below `folder`."""
        network = self.autoencoder.to(device)
        joint = replace(joint, channels=self.described.channels)
        return latent_sets(folder, joint, network, self.spec.digest, mirrored)

    def keep(self, model: Path) -> None:
        """A copy within the model's folder: a latent model carries its decoder."""
        copy_autoencoder(self.folder, model / FOLDER)

    def reconstruction(
        self, run: Path, images: tuple[ImageSpec, ...], validation: JointSet, types: Sequence[ImageType]
    ) -> dict[str, Any]:
        """What is lost, by image type: as its own run measured it, else measured on these validation images.

        The latter holds where it was trained on other patients or sizes. `validation` are pixels.
        """
        asked = {view.digest for kind in types for view in kind.train}
        if self.report is not None and self.described.images == images and asked <= self.cohorts:
            return self.report
        if not len(validation):
            return {}
        spec = replace(self.described, images=images)
        people = [column(kind.validation, "patient_id") for kind in types]
        device = self.autoencoder.shift.device
        try:
            return dict(
                reconstruction.write_report(run, self.autoencoder.cpu(), spec, validation, people, REPORTED)["images"]
            )
        finally:
            self.autoencoder.to(device)


def latent_space(config: TrainConfig, start: Path | None, parent: LatentSpec | None) -> LatentSpace | None:
    """The autoencoder that the settings name, or that of the run to start from; None for a model of pixels.

    `start` is the run to start from and `parent` what its model says of its latents.
    Raises ArtifactError for a run without a finished autoencoder, ConfigError for settings that do not go with one.
    """
    named = config.latent if config.latent is not None else start if parent is not None else None
    if named is None:
        return None
    space = _opened(named)
    problems = []
    if start is not None and parent != space.spec:
        was = "a model of pixels" if parent is None else "a model of another autoencoder's latents"
        problems.append(Problem(SETTING, f"the run to start from is {was}", remedy="leave train.latent out"))
    if config.augment:
        found = f"{config.augment:g}, in latent space"
        problems.append(Problem("setting train.augment", found, "0: latents are of whole, unchanged images"))
    if space.described.dimensions != 2:
        problems.append(Problem(SETTING, "an autoencoder of volumes", "one of images"))
    if problems:
        raise ConfigError(*problems)
    return space


def _opened(path: Path) -> LatentSpace:
    run = RunFolder.read(path)
    folder = path / FOLDER if run.info["kind"] == "autoencoder" else path / "model" / FOLDER
    remedy = "train one with synthcohort train COHORT --autoencoder"
    if not run.done:
        raise ArtifactError(Problem(f"autoencoder {path}", "its training is not finished", remedy="finish it"))
    if not folder.exists():
        raise ArtifactError(Problem(f"run {path}", "holds no autoencoder", remedy=remedy))
    autoencoder, described, content = load_autoencoder(folder)
    network = described.network
    spec = LatentSpec(network.latent_channels, network.factor, content["weights_digest"])
    report = run.info.get("reconstruction")
    file = path / "reconstruction.json"
    if report is None and file.exists():
        report = read_artifact(file, reconstruction.FORMAT, reconstruction.VERSION)["images"]
    return LatentSpace(autoencoder, described, spec, folder, frozenset(content["facts"]["cohorts"]), report)
