"""A request to edit one image, carried out: the edits become a small cohort with the original beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synthcohort.core.code import code_identity
from synthcohort.core.cohort import LabelColumn, partial_path, record_schema
from synthcohort.core.cohort_writer import open_partial, publish, save_shards
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, InputError, Problem, Refused
from synthcohort.core.files import check_writable, digest_array, digest_json, json_text
from synthcohort.generation.config import GenerateConfig
from synthcohort.generation.edit import Edit, EditConfig, Subject, change, redraw, sweep, sweep_values
from synthcohort.generation.gan_edit import gan_edits
from synthcohort.generation.gan_latent import LatentRequest, latent_edits
from synthcohort.generation.given import read_image, read_mask
from synthcohort.generation.screen import Screen, ScreenedOut, as_mappings
from synthcohort.generation.strip import strip
from synthcohort.generation.synthesize import METHODS, canaries_of, facts_of, refuse_shadow
from synthcohort.imaging.geometry import Fit
from synthcohort.models.condition import PROMPT
from synthcohort.models.generator import Generator, load_generator

STRIP = "strip.png"
OWNER_STRIP = "owner/strip.png"  # shows a real image: the owner's alone


@dataclass(frozen=True)
class EditRequest:
    """What to edit and how, in the user's words. Raises InputError with everything that does not go together.

    image, seed   the image to edit: a real one from a file, or the one that this seed draws; exactly one of the two
    old           the condition of the image
    to            what of it becomes another: columns to values, `prompt` to text
    sweep         an ordinal column, all of whose values are wanted
    mask          file of the region that alone may change
    variation     number of the fresh noise to draw again with; None keeps the image's own noise
    fit           how a real image is brought to the model's size
    latent        what only a GAN can do: directions, steps between grades, projection
    """

    image: Path | None = None
    seed: int | None = None
    old: Mapping[str, Any] = field(default_factory=dict)
    to: Mapping[str, Any] = field(default_factory=dict)
    sweep: str | None = None
    mask: Path | None = None
    variation: int | None = None
    fit: Fit = "pad"
    latent: LatentRequest = field(default_factory=LatentRequest)

    def __post_init__(self) -> None:
        problems: list[Problem | str] = []
        if (self.image is None) == (self.seed is None):
            found = "given together" if self.image is not None else "not given"
            problems.append(Problem("--image and --seed", found, "one of the two"))
        for name, number in (("--seed", self.seed), ("--variation", self.variation)):
            if number is not None and not 0 <= number < 2**63:
                problems.append(Problem(name, str(number), "0 up to 2^63 - 1"))
        if self.sweep is not None and (self.to or self.variation is not None):
            problems.append(Problem("--sweep", "given with --to, --prompt or --variation", "alone or with --mask"))
        if self.latent.changes and (self.to or self.sweep is not None or self.variation is not None):
            found = "given with --to, --prompt, --sweep or --variation"
            problems.append(Problem("--project" if self.latent.project else "--along", found, "alone"))
        if self.latent.project and (self.image is None or self.mask is not None):
            problems.append(Problem("--project", "given without --image, or with --mask", "with --image alone"))
        if self.latent.between and self.sweep is None:
            problems.append(Problem("--between", "given without --sweep"))
        if not self._says_a_change:
            allowed = "--to, --prompt, --sweep, --mask or --variation; of a GAN, --along or --project"
            problems.append(Problem("edit", "nothing says what is to change", allowed))
        if problems:
            raise InputError(*problems)

    @property
    def _says_a_change(self) -> bool:
        said = bool(self.to) or self.latent.changes
        return said or any(value is not None for value in (self.sweep, self.mask, self.variation))

    @property
    def fresh(self) -> bool:
        """Whether to draw from fresh noise: when asked to, and when a region is to change under the same condition."""
        return self.variation is not None or (not self.to and self.sweep is None and not self.latent.changes)


def edit(
    run: Path, out: Path, config: GenerateConfig, request: EditRequest, settings: EditConfig | None = None
) -> dict[str, Any]:
    """Edits one image; the cohort depends on the run, the image, the settings and the request alone.

    Edits of a real image are marked `derived_from_real`, which release refuses, and their strip is the owner's alone.
    Drawn images and their edits pass the copy screen; an edit that fails it is left out. An edit of a real image that
    changed nothing is left out too: it would be that image. Returns {cohort, count, screened_out}, of a GAN's latent
    space also how well a direction holds and how near a projection comes. Raises InputError
    for what the request gets wrong, ArtifactError for an unfinished run, Refused when nothing passes the screen.
    """
    run, out, settings = Path(run), Path(out), settings or EditConfig()
    if out.exists():
        raise ArtifactError(Problem(f"cohort {out}", "already exists", remedy="choose another --out or remove it"))
    if settings.local and (request.mask is not None or request.fresh):
        raise InputError(Problem("--local", "given with --mask or for fresh noise", "alone with --to or --sweep"))
    generator = load_generator(run, config.sampling)
    refuse_shadow(run, generator)
    asked = _checked(generator, request)
    check_writable(out)
    spec = generator.image_of(request.old)
    pixels, size = (None, None) if request.image is None else read_image(request.image, spec, request.fit)
    mask = None if request.mask is None else read_mask(request.mask, spec, size, request.fit)
    subject = Subject(generator, request.old, pixels, request.seed or 0)
    screen = Screen(run / "train_features", generator.spec.images) if config.screen and subject.drawn else None
    edits, facts = _edits(run, subject, request, settings, mask)
    if not subject.drawn:
        edits = [item for item in edits if not np.array_equal(item.image, item.original)]
        if not edits:
            raise InputError(Problem("edit", "changed nothing", remedy="give a larger --strength or --mask"))
    edits, left_out = _screened(subject, edits, screen)
    provenance = {
        "method": f"edit of {'a drawn' if subject.drawn else 'a real'} image by a {METHODS[generator.spec.kind]}",
        "model_digest": generator.digest,
        "config": to_mapping(config),
        "edit": {**to_mapping(settings), **asked, "masked": mask is not None, **facts},
        "seed": request.seed,
        "copy_thresholds": screen.thresholds if screen else None,
        **canaries_of(generator),
    }
    count = _write(out, config.name, generator, subject, edits, left_out, provenance, screen is not None)
    return {"cohort": out.as_posix(), "count": count, "screened_out": len(left_out), **facts}


def _checked(generator: Generator, request: EditRequest) -> dict[str, Any]:
    """The conditions asked, each value in its label's own type; what is wrong with any of them is raised at once."""
    vocabulary = generator.spec.vocabulary
    problems: list[Problem | str] = []
    said: dict[str, Any] = {"sweep": request.sweep, "variation": request.variation}
    for name, condition in (("from", request.old), ("to", request.to)):
        try:
            said[name] = vocabulary.check(condition)
        except InputError as error:
            problems.extend(error.problems)
    try:
        if request.sweep is not None:
            sweep_values(generator, request.sweep)
    except InputError as error:
        problems.extend(error.problems)
    if problems:
        raise InputError(*problems)
    if said["to"] and not request.fresh and all(said["from"].get(name) == value for name, value in said["to"].items()):
        raise InputError(Problem("--to", "says what --from says: nothing would change", "another value"))
    return said


def _edits(
    run: Path, subject: Subject, request: EditRequest, settings: EditConfig, mask: np.ndarray | None
) -> tuple[list[Edit], dict[str, Any]]:
    """The edits, and what is to be known of them."""
    if subject.generator.spec.kind == "gan":
        if request.latent.changes or request.latent.between:
            return latent_edits(run, subject, request.latent, request.sweep, mask, request.fit, settings)
        return gan_edits(subject, request.to, request.sweep, request.fresh, settings, mask)
    if request.latent.changes or request.latent.between:
        found = "given for a diffusion model, which has no such latent space"
        raise InputError(Problem("--along, --project and --between", found, "a run of train --gan"))
    if request.sweep is not None:
        return sweep(subject, request.sweep, settings, mask), {}
    if request.fresh:
        return [redraw(subject, request.to, settings, mask, request.variation or 0)], {}
    return change(subject, [request.to], settings, mask), {}


def _screened(subject: Subject, edits: list[Edit], screen: Screen | None) -> tuple[list[Edit], list[ScreenedOut]]:
    """The edits that are no near copies of training images, and those that are."""
    if screen is None:
        return edits, []
    types = [subject.spec.name, *(subject.generator.image_of(item.condition).name for item in edits)]
    similarity = screen.near_copies([subject.pixels, *(item.image for item in edits)], types)
    if not np.isnan(similarity[0]):
        raise Refused(
            Problem(f"seed {subject.seed}", "draws a near copy of a training image", remedy="choose another --seed")
        )
    kept, left_out = [], []
    for number, (item, value) in enumerate(zip(edits, similarity[1:], strict=True)):
        if np.isnan(value):
            kept.append(item)
        else:
            left_out.append(ScreenedOut(_image_id(number), subject.seed, round(float(value), 4), False))
    if not kept:
        raise Refused(
            Problem(f"seed {subject.seed}", "every edit is a near copy of a training image", remedy="choose another")
        )
    return kept, left_out


def _image_id(number: int) -> str:
    return f"edit-{number:06d}"


def _write(
    out: Path,
    name: str,
    generator: Generator,
    subject: Subject,
    edits: Sequence[Edit],
    left_out: Sequence[ScreenedOut],
    provenance: Mapping[str, Any],
    screened: bool,
) -> int:
    """The cohort with its strip; written anew from the start after a kill, for it is small."""
    labels: list[LabelColumn] = list(generator.labels.values())
    partial = partial_path(out)
    open_partial(partial, digest_json([provenance, digest_array(subject.pixels)]), "another edit")
    taken = {item.image_id for item in left_out}
    names = [label for label in map(_image_id, range(len(edits) + len(left_out))) if label not in taken]
    places, shards = save_shards(partial, 0, [item.image for item in edits])
    rows = []
    for image_id, item, (shard, row) in zip(names, edits, places, strict=True):
        spec = generator.image_of(item.condition)
        said = {"caption" if k == PROMPT else k: value for k, value in item.condition.items() if value is not None}
        rows.append(
            {
                "image_id": image_id,
                "patient_id": "subject-000000",  # all edits show one patient
                "group_id": "subject-000000",
                **facts_of(spec),
                **said,
                "seed": subject.seed if subject.drawn else None,
                "rows": item.image.shape[0],
                "columns": item.image.shape[1],
                "channels": spec.channels,
                "pixels_digest": digest_array(item.image),
                "derived_from_real": not subject.drawn,
                "shard": shard,
                "shard_row": row,
            }
        )
    info = {
        "name": name,
        "origin": "synthetic",
        "labels": [{"name": x.name, "kind": x.kind, "values": list(x.values)} for x in labels],
        "provenance": {**provenance, "code": code_identity()},
        "screened": screened,
    }
    report = {"thresholds": provenance["copy_thresholds"], "images": as_mappings(left_out)}
    public: dict[str, str | bytes] = {"screened.json": json_text({**report, "drawn": len(edits) + len(left_out)})}
    picture = strip(edits, subject.said, subject.spec)
    private: dict[str, str | bytes] = {}
    (public if subject.drawn else private)[STRIP if subject.drawn else OWNER_STRIP] = picture
    table = pa.Table.from_pylist(rows, schema=record_schema(labels))
    return len(publish(partial, out, info, table, range(shards), public, private))
