"""A bundle sent to a real Orthanc by C-STORE and by STOW-RS; the images come back pixel for pixel."""

import io

import numpy as np
import pydicom
import pytest

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import InputError
from synthcohort.core.files import artifact_text, write_artifact
from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.core.seeds import rng
from synthcohort.release import release
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.push import PushConfig, push

pytestmark = pytest.mark.pacs

KINDS = (  # modality, dtype, shape, and what else the record says
    ("DX", "uint8", (40, 30), {"body_part": "KNEE", "laterality": "R"}),
    ("CT", "int16", (24, 20), {"body_part": "CHEST", "view": "axial", "pixel_spacing_mm": [0.7, 0.7]}),
    ("MR", "uint16", (24, 20), {"body_part": "BRAIN", "view": "axial", "pixel_spacing_mm": [1, 1], "bits_stored": 12}),
    ("US", "uint8", (20, 30, 3), {"body_part": "BREAST", "laterality": "L"}),
    ("XC", "uint8", (20, 30, 3), {"body_part": "SKIN"}),
    ("SM", "uint8", (20, 30, 3), {"body_part": "COLON"}),
    ("OP", "uint8", (20, 30, 3), {"body_part": "RETINA", "laterality": "L"}),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Five images of each kind and one CT volume."""
    folder = tmp_path_factory.mktemp("push")
    writer = CohortWriter(folder / "c", "toy", "synthetic", [LabelColumn("grade", "ordinal", (0, 1))],
                          {"model_digest": "sha256:0", "seed": 1}, "toy")  # fmt: skip
    volume = []
    for kind, (modality, dtype, shape, record) in enumerate(KINDS):
        for i in range(5):
            name = f"image-{kind}-{i}"
            pixels = rng("push", kind, i).integers(0, 200, shape).astype(dtype)
            writer.add(pixels, {"image_id": name, "grade": i % 2, "modality": modality, "seed": i, **record})
            volume += [name] if modality == "CT" else []
    affine = [[0, 0, 0.7, 0], [0, 0.7, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]]
    volumes = artifact_text("volumes", 1, {"volumes": [{"image_ids": volume, "affine_lps": affine}]})
    cohort = writer.finish(extra_files={"volumes.json": volumes}, screened=True)
    policy = load_policy("internal")
    scores = {
        "real": {"digest": "sha256:1", "name": "r", "images": {"train": 9}, "patients": {"train": 9}},
        "synthetic": {"digest": cohort.digest, "name": "toy", "images": len(cohort), "screened": True,
                      "provenance": cohort.info["provenance"]},
        "scores": [], "families": {name: {"verdict": "pass", "reason": "fine", "figures": {}} for name in FAMILIES},
        "verdict": "pass", "failed": [], "inconclusive": [], "policy": policy.summary(), "settings": {},
    }  # fmt: skip
    write_artifact(folder / "e" / "scores.json", "scores", 1, scores)
    release(cohort.path, folder / "e", folder / "bundle", ReleaseConfig(license="CC0"), "internal")
    return folder / "bundle"


@pytest.fixture
def pacs(script, tmp_path):
    if problem := script.missing():
        pytest.exit(problem, returncode=2)
    with script.pacs(tmp_path / "o") as server:
        yield server


def check(bundle, server):
    """Everything in the archive is what the bundle holds, and says that it is synthetic."""
    sent = {str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, bundle.rglob("*.dcm"))}
    found = server.ask("GET", "/instances?expand")
    assert {item["MainDicomTags"]["SOPInstanceUID"] for item in found} == set(sent)
    for item in found:
        data = server.raw(f"/instances/{item['ID']}/file")
        dataset = pydicom.dcmread(io.BytesIO(data))
        assert dataset.SyntheticData == "YES"
        assert np.array_equal(dataset.pixel_array, sent[str(dataset.SOPInstanceUID)].pixel_array)
    assert server.ask("GET", "/statistics")["CountPatients"] == 31  # 30 images of their own, and one volume


@pytest.fixture(autouse=True)
def raw(script, monkeypatch):
    """Orthanc's answer as bytes."""
    import base64
    import urllib.request

    def get(self, path):
        request = urllib.request.Request(self.rest + path)
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.read()

    monkeypatch.setattr(script.Pacs, "raw", get, raising=False)


def test_c_store(bundle, pacs):
    url = f"pacs://{pacs.aet}@127.0.0.1:{pacs.dicom_port}"
    assert push(bundle, url, PushConfig(title="SENDER")) == {"sent": 35, "failed": 0, "statuses": {"stored": 35}}
    check(bundle, pacs)
    assert push(bundle, url, PushConfig(title="SENDER"))["sent"] == 35, "a second time is no error"
    assert pacs.ask("GET", "/statistics")["CountInstances"] == 35
    with pytest.raises(InputError, match="knows ours"):
        push(bundle, url, PushConfig(title="STRANGER"))


def test_stow(bundle, pacs, tmp_path):
    logins = tmp_path / "netrc"
    logins.write_text(f"machine 127.0.0.1 login {pacs.user} password {pacs.password}\n")
    logins.chmod(0o600)
    with pytest.raises(InputError, match="credentials"):
        push(bundle, pacs.url)
    found = push(bundle, pacs.url, PushConfig(netrc=logins))
    assert found == {"sent": 35, "failed": 0, "statuses": {"stored": 35}}
    check(bundle, pacs)
