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
    name names surname firstname lastname fullname initials dob yob birth birthdate birthday birthplace date datetime
    time timestamp address street city zip zipcode postal postcode phone telephone fax email mail physician doctor
    radiologist operator technician technologist nurse clinician referring referrer attending consultant surgeon
    pathologist photographer staff author reader reviewer annotator signature institution hospital accession mrn ssn
    nhs passport insurance occupation employer religion nationality comment comments note notes remark remarks history
    uid url user username login account serial vorname nachname geburtsdatum datum prenom nombre apellido fecha
    """
)
# What columns are called in the world, without case, spaces and punctuation, the likeliest first.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "file": (
        "file", "filename", "filepath", "path", "image", "imagename", "imagefile", "imagefilename", "imagepath",
        "imagefilepath", "imageid", "img", "imgname", "imgpath", "imgid", "imageindex", "dicompath", "dicomfile",
        "relativepath", "filelocation", "dateiname", "datei",
    ),
    "sop_instance_uid": ("sopinstanceuid", "sopuid", "instanceuid", "imageuid", "dicomid"),
    "patient_id": (
        "patientid", "patient", "patientnumber", "patientno", "patientnr", "patientkey", "subjectid", "subject",
        "subjectnumber", "subjectkey", "participantid", "participant", "caseid", "case", "personid", "pid", "ptid",
        "rid", "mrn", "medicalrecordnumber", "patientennummer", "patientenid", "patientname",
    ),
    "group_id": (
        "groupid", "group", "lesionid", "lesion", "smearid", "smear", "slideid", "slide", "slidename", "wsiid",
        "specimenid", "specimen", "sampleid", "sample", "biopsyid", "blockid", "studyinstanceuid", "studyuid",
        "studyid", "examid", "accessionnumber", "accession", "accessionid", "seriesinstanceuid", "seriesuid",
        "volumeid", "scanid",
    ),
    "split": ("split", "subset", "partition", "datasetsplit", "datasplit", "set"),
    "sex": ("sex", "gender", "patientsex", "patientgender", "sexatbirth", "geschlecht", "sexe"),
    "age": (
        "age", "patientage", "ageyears", "ageinyears", "ageyrs", "ageatscan", "ageatstudy", "ageatexam", "ageatimaging",
        "ageatdiagnosis", "ageapprox", "approxage", "alter",
    ),
    "laterality": (
        "laterality", "eye", "side", "imagelaterality", "eyelaterality", "eyeside", "leftorrightbreast", "leftright",
        "kneeside", "bodyside",
    ),
    "site": ("site", "siteid", "center", "centre", "centerid", "hospital", "hospitalid", "institution"),
    "modality": ("modality", "imagingmodality"),
    "body_part": ("bodypart", "bodypartexamined"),
    "view": ("view", "viewposition", "imageview", "viewname", "projection", "appa", "frontallateral"),
    "ethnicity": ("ethnicity", "race", "patientethnicity", "patientrace"),
    "caption": (
        "caption", "captions", "report", "reporttext", "radiologyreport", "impression", "text", "description",
        "prompt", "narrative",
    ),
}  # fmt: skip
# Names that mean an id only where the values look like ids, for they are used for labels as well.
DOUBTFUL_IDS = _words("case group lesion smear slide specimen sample")
# Words that classes of medical images are named by; a folder that bears one is taken for a class and not for a person.
CLASS_WORDS = _words(
    """
    normal abnormal norm healthy unhealthy sick diseased disease benign malignant malign malignancy premalignant
    suspicious positive negative pos neg infected uninfected control controls affected unaffected finding findings
    no non not without with very mild moderate severe early late low high grade stage class level birads
    tumor tumour tumors cancer cancers cancerous lesion lesions mass masses nodule nodules cyst cysts polyp polyps
    fracture fractured fractures stone stones hernia edema oedema effusion opacity consolidation atelectasis
    cardiomegaly emphysema infiltration infiltrate pneumothorax pleural thickening pneumonia tuberculosis tb covid
    covid19 virus viral bacteria bacterial fungal parasitized glioma meningioma pituitary notumor stroke ischemic
    hemorrhage haemorrhage hemorrhagic bleeding ulcer ulcers inflammation demented nondemented dementia alzheimer
    alzheimers parkinson cataract glaucoma drusen cnv dme amd proliferative proliferate nonproliferative myopia
    hypertension hypertensive diabetic retinopathy npdr pdr mel melanoma nv nevus nevi naevus bcc scc bkl akiec vasc
    keratosis eczema acne psoriasis dermatitis rosacea wart warts osteoarthritis osteopenia osteoporosis doubtful
    minimal adenocarcinoma carcinoma squamous aca adi lym muc mus str tum stroma mucosa mucus muscle adipose debris
    lymph lymphocyte neutrophil eosinophil basophil monocyte erythroblast platelet ig myeloblast blast cecum pylorus
    ct cxr xray mri ultrasound pet abdomen brain breast chest hand head heart kidney knee liver lung colon skin eye
    """
)
CLASS_ENDINGS = ("oma", "omas", "itis", "osis", "emia", "aemia", "opathy", "phil", "phils", "cyte", "cytes", "plasia")
