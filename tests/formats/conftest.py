import io

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from synthcohort.formats import Unreadable, dicom


def build(pixels, compress=None, plugin="", syntax=ExplicitVRLittleEndian, encapsulated=None, **elements):
    """The bytes of a small DICOM file; an element set to None is left out.

    compress       a transfer syntax that pydicom's `plugin` encodes
    encapsulated   the element's value, or a list of codestreams, in place of the pixels, with their `syntax`
    NumberOfFrames says that the first axis of the pixels counts frames
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = "2.25.2"
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    ds = FileDataset(None, {}, b"\0" * 128, meta, is_implicit_VR=implicit, is_little_endian=little)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, "2.25.1"
    frame = pixels[0] if elements.get("NumberOfFrames") else pixels
    ds.Rows, ds.Columns = frame.shape[:2]
    ds.SamplesPerPixel = 3 if frame.ndim == 3 else 1
    if frame.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if frame.ndim == 3 else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder("<" if little else ">")).tobytes()
    ds["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    if encapsulated is not None:
        ds.PixelData = encapsulated if isinstance(encapsulated, bytes) else encapsulate(encapsulated)
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    for name, value in elements.items():
        if value is None:
            del ds[name]
        else:
            setattr(ds, name, value)
    if elements.get("BitsStored") and "HighBit" not in elements:
        ds.HighBit = ds.BitsStored - 1
    if compress:
        ds.compress(compress, encoding_plugin=plugin, generate_instance_uid=False)
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def item(**elements):
    """A data set of these elements, as an item of a sequence."""
    ds = Dataset()
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def one(source):
    """The only image of a DICOM source."""
    (image,) = dicom.read(source)
    return image


def refusal(data):
    """Why a DICOM file is refused."""
    with pytest.raises(Unreadable) as caught:
        list(dicom.read(data))
    return str(caught.value)


@pytest.fixture
def make_dicom():
    return build


@pytest.fixture
def dicom_item():
    return item


@pytest.fixture
def gray12():
    return np.random.default_rng(0).integers(0, 4096, (9, 7)).astype(np.uint16)
