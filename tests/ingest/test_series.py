"""From files of a series to its volumes, by what the journal holds of each."""

import json

import numpy as np
import pytest

from synthcohort.formats.image import ReadOptions
from synthcohort.ingest.decode import Task
from synthcohort.ingest.journal import read_chunk
from synthcohort.ingest.scan import SourceFile
from synthcohort.ingest.series import is_certain, places_in, summary, volumes_file, volumes_of
from synthcohort.ingest.survey import survey


@pytest.fixture
def slices(ct_slice, tmp_path):
    """Reads slices of one MR series, given as (z, elements), in files under shuffled names; the survey of them.

    The value of the pixels is the number of the slice among those given.
    """

    def make(given):
        names = [f"{n:03d}.dcm" for n in np.random.default_rng(4).permutation(len(given))]
        for number, (name, (z, elements)) in enumerate(zip(names, given, strict=True)):
            ds = ct_slice(number, z=z)
            ds.Modality, ds.RescaleIntercept, ds.StudyInstanceUID = "MR", "0", "2.25.99"
            ds.PixelData = np.full((16, 16), number, np.int16).tobytes()
            for key, value in elements.items():
                setattr(ds, key, value)
            ds.save_as(tmp_path / name, enforce_file_format=True)
        files = [SourceFile(name, (tmp_path / name).stat().st_size, "dicom") for name in names]
        task = Task(tmp_path, None, "pad", bytes(32), ReadOptions())
        return survey([read_chunk(0, list(enumerate(files)), task, None)], names, [])

    return make


def indices(volumes):
    return [list(volume.indices) for volume in volumes]


def groups(*rows):
    return sorted(map(list, rows))


def test_each_echo_is_a_volume(slices):
    # Slice by slice, both echoes; instance numbers that say nothing.
    found = slices([(3.0 * n, {"EchoTime": echo, "InstanceNumber": 1}) for n in range(5) for echo in (4.9, 80)])
    volumes = volumes_of(found)
    assert sorted(indices(volumes)) == groups(range(0, 10, 2), range(1, 10, 2))
    assert all(volume.regular and is_certain(volume) for volume in volumes)


def test_each_b_value_is_a_volume_and_directions_are_told_apart_by_their_number(slices):
    plan = [(0, 0), (800, 1), (800, 2)]
    given = [
        (3.0 * n, {"DiffusionBValue": float(b), "InstanceNumber": 4 * time + n}) for n in range(4) for b, time in plan
    ]
    volumes = volumes_of(slices(given))
    assert sorted(indices(volumes)) == groups(range(0, 12, 3), range(1, 12, 3), range(2, 12, 3))
    assert all(volume.regular for volume in volumes)


def test_magnitude_and_phase_of_one_series_are_two_volumes(slices):
    kinds = (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])
    found = slices([(3.0 * n, {"ImageType": kind}) for n in range(4) for kind in kinds])
    assert sorted(indices(volumes_of(found))) == groups(range(0, 8, 2), range(1, 8, 2))


def test_acquisitions_counted_by_slice_take_no_volume_to_pieces(slices):
    given = [
        (3.0 * n, {"EchoTime": float(echo), "AcquisitionNumber": n + 1}) for n in range(4) for echo in (5, 10, 15, 20)
    ]
    volumes = volumes_of(slices(given))
    assert sorted(indices(volumes)) == groups(*(range(e, 16, 4) for e in range(4)))
    every = [(z, said | {"AcquisitionNumber": i}) for i, (z, said) in enumerate(given)]
    assert sorted(indices(volumes_of(slices(every)))) == groups(*(range(e, 16, 4) for e in range(4)))


def test_repetitions_that_nothing_tells_apart_are_counted_and_written_nowhere(slices):
    found = slices([(3.0 * n, {}) for n in range(4) for _ in range(2)])
    volumes = volumes_of(found)
    assert not any(is_certain(volume) for volume in volumes)
    assert summary(volumes)["findings"]["ambiguous repetitions"] == 2
    assert json.loads(volumes_file(volumes, found.column("image_id")))["volumes"] == []
    assert places_in(volumes) == {}


def test_the_journal_holds_a_pseudonym_of_the_study(slices):
    (study,) = set(slices([(0.0, {}), (3.0, {})]).column("study"))
    assert study.startswith("e-")
    assert "2.25.99" not in study
