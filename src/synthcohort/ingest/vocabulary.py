"""The words a header may put into a cohort; whatever is not here stays behind."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODALITIES = _words(  # DICOM PS3.3 C.7.3.1.1.1
    """
    AR BDUS BI BMD CR CT CTPROTOCOL DG DMS DX ECG EPS ES FID GM HC IO IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP
    OPM OPT OPTBSV OPTENF OPV OSS OT PT PX RF RG SC SM SMR SR SRF TG US VA XA XAPROTOCOL XC
    """
)
BODY_PARTS = _words(  # DICOM PS3.16 annex L
    """
    ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS
    CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CORNEA CSPINE
    CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND
    HEAD HEADNECK HEART HIP HUMERUS ILEUM ILIUM IAC JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG
    MANDIBLE MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NOSE ORBIT OVARY PANCREAS PARATHYROID
    PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RADIUS RADIUSULNA RECTUM RETINA RIB SACRUM SCALP SCAPULA
    SCLERA SCROTUM SHOULDER SIJOINT SKIN SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR TESTIS THIGH
    THUMB THYMUS THYROID TIBIA TIBIAFIBULA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS
    VAGINA VULVA WHOLEBODY WRIST ZYGOMA
    """
)
VIEWS = _words(  # DICOM PS3.3 C.8.11.5, and what projection radiographs say
    """
    AP PA LL RL LLAT RLAT LAT LATERAL RLD LLD RLO LLO OBLIQUE AXIAL CORONAL SAGITTAL SUNRISE TUNNEL CC CV MLO ML
    LM LMO SIO XCC XCCL XCCM FB ISO
    """
)
# A maker is known by the first of these that its text contains; anything else is "other".
MANUFACTURERS = (
    "AGFA", "ALOKA", "AIRIS", "BRUKER", "CANON", "CARESTREAM", "DEL MEDICAL", "DRGEM", "ESAOTE", "FUJIFILM",
    "FUJI", "GE", "HITACHI", "HOLOGIC", "KODAK", "KONICA", "LODOX", "LORAD", "LUMISYS", "MINDRAY", "NEUSOFT",
    "OLYMPUS", "PHILIPS", "PICKER", "SAMSUNG", "SHIMADZU", "SIEMENS", "SWISSRAY", "TOPCON", "TOSHIBA",
    "UNITED IMAGING", "VARIAN", "VIEWORKS", "ZEISS", "PHANTOM WORKS", "INVENTED IMAGING",
)  # fmt: skip
# Words in the name of a column that say its values may identify somebody.
IDENTIFYING = _words(
    """
    name names surname firstname lastname fullname dob birth birthdate birthday date datetime time timestamp
    address street city zip zipcode postal postcode phone telephone email mail physician doctor radiologist
    operator technician technologist nurse clinician institution hospital accession mrn ssn insurance comment
    comments note notes remark remarks history uid url user username account serial
    """
)
