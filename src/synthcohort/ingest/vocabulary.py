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
# Words in the name of a column that say its values may identify somebody; in English, German, French, Spanish, Italian,
# without accents. `date` and the like as categories narrow down who somebody is; numbers of records do so for good.
IDENTIFYING = _words(
    """
    name names surname surnames firstname lastname fullname forename forenames initials dob yob date datetime time
    timestamp day month year hour weekday street house city town village zip zipcode postal postcode address addr phone
    mobile telephone fax email mail contact by radiologist operator technician technologist nurse clinician gp mta
    attending consultant surgeon pathologist photographer staff author rater reader readers reviewer annotator
    examiner observer signature signed institution hospital clinic practice department dept ward room bed accession
    mrn ssn nhs passport insurance insurer occupation job employer religion comment comments note notes remark remarks
    history uid url user username login account serial pat pid id ids nr number lfd index case record chart
    vorname nachname familienname datum tag monat jahr uhrzeit zeit stunde ort wohnort strasse hausnummer plz stadt
    gemeinde telefon handy arzt arztin aerztin hausarzt doktor befunder radiologe radiologin pathologe klinik
    krankenhaus praxis abteilung station zimmer raum bett beruf kasse krankenkasse konfession bemerkung bemerkungen
    kommentar notiz anamnese nummer fallnummer kurzel mitarbeiter
    nom noms prenom prenoms naissance jour mois annee heure rue ville adresse medecin docteur hopital chambre lit
    service remarque remarques profession numero dossier
    nombre nombres apellido apellidos fecha dia mes ano hora calle ciudad direccion correo telefono medico medica
    doctor doctora cama habitacion sala observaciones comentario
    nome cognome giorno mese anno ora via citta indirizzo telefonia dottore dottoressa ospedale reparto stanza letto
    osservazioni commento
    """
)
# Parts of words that say so wherever they stand.
IDENTIFYING_PARTS = (
    "patient", "pacient", "pazient", "subject", "proband", "geburt", "birth", "naissance", "nacimiento", "nascita",
    "datum", "nachname", "vorname", "surname", "cognome", "apellido", "physician", "arzt", "aerzt", "medecin", "dokto",
    "untersucher", "zuweis", "ueberweis", "uberweis", "einsend", "auftraggeb", "anforder", "referr", "request",
    "dictat", "diktat", "telefon", "telephone", "strasse", "adress", "anschrift", "wohn", "versicher", "krankenkasse",
    "nationality", "nationalitat", "staatsang", "religion", "ethnie", "institut", "hospital", "passport", "username",
)  # fmt: skip
# Before `name` in a column's name these say that a class is meant.
NAMED_THINGS = _words("class label disease diagnosis finding lesion category organ tumor condition abnormality type")
# Words in the name of a column that say it holds labels; in the same languages, without accents.
LABEL_WORDS = _words(
    """
    label labels lbl target targets class classes cls category categories outcome outcomes diagnosis diagnoses
    diagnostic diagnostics dx dg finding findings grade grades grading stage stages staging severity score scores
    scoring scale rating density type subtype histology histo pathology malignancy malignant benign disease diseases
    condition conditions status result results tumor tumour lesion aetiology etiology localization localisation
    location abnormality abnormalities group arm cohort side positive negative birads rads acr lungrads lirads
    tirads pirads kl kellgren gleason isup tnm pt pn pm ct cn cm fitzpatrick retinopathy response progression klasse
    klassen kategorie zielgrosse diagnose diagnosen befund befunde grad stadium stadien schweregrad schwere wert
    bewertung einstufung dichte typ histologie pathologie krankheit erkrankung zustand ergebnis ergebnisse ursache
    lokalisation gruppe seite dignitat verdacht classe etiquette categorie diagnostique stade gravite severite
    resultat resultats maladie groupe densite clase etiqueta categoria diagnostico diagnosticos hallazgo hallazgos
    grado estadio gravedad resultado resultados enfermedad localizacion grupo densidad tipo classi etichetta
    diagnosi reperto reperti stadio gravita risultato risultati malattia gruppo densita esito
    """
)
# What columns are called in the world, without case, spaces and punctuation, the likeliest first.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "file": (
        "file", "filename", "filepath", "path", "image", "imagename", "imagefile", "imagefilename", "imagepath",
        "imagefilepath", "imageid", "img", "imgname", "imgpath", "imgid", "imageindex", "dicompath", "dicomfile",
        "relativepath", "filelocation", "dateiname", "datei",
        "bilddatei", "bildname", "bild", "bildpfad", "pfad", "fichier", "nomfichier", "cheminimage", "archivo",
        "nombrearchivo", "imagen", "nomefile", "immagine", "nomeimmagine",
    ),
    "sop_instance_uid": ("sopinstanceuid", "sopuid", "instanceuid", "imageuid", "dicomid"),
    "patient_id": (
        "patientid", "patient", "patientnumber", "patientno", "patientnr", "patientkey", "subjectid", "subject",
        "subjectnumber", "subjectkey", "participantid", "participant", "caseid", "case", "personid", "pid", "ptid",
        "rid", "mrn", "medicalrecordnumber", "patientennummer", "patientenid", "patnr", "patid",
        "patientnr", "idpatient", "numeropatient", "idpaciente", "paciente", "idpaziente", "paziente", "patientname",
        "patientenname", "nompatient",
    ),
    "group_id": (
        "groupid", "group", "lesionid", "lesion", "smearid", "smear", "slideid", "slide", "slidename", "wsiid",
        "specimenid", "specimen", "sampleid", "sample", "biopsyid", "blockid", "studyinstanceuid", "studyuid",
        "studyid", "examid", "accessionnumber", "accession", "accessionid", "seriesinstanceuid", "seriesuid",
        "volumeid", "scanid",
    ),
    "split": ("split", "subset", "partition", "datasetsplit", "datasplit", "set"),
    "sex": ("sex", "gender", "patientsex", "patientgender", "sexatbirth", "geschlecht", "sexe", "sexo", "sesso"),
    "age": (
        "age", "patientage", "ageyears", "ageinyears", "ageyrs", "ageatscan", "ageatstudy", "ageatexam", "ageatimaging",
        "ageatdiagnosis", "ageapprox", "approxage", "alter", "patientenalter", "edad", "eta",
    ),
    "laterality": (
        "laterality", "eye", "side", "imagelaterality", "eyelaterality", "eyeside", "leftorrightbreast", "leftright",
        "kneeside", "bodyside", "seite", "lateralitat", "koerperseite", "cote", "lado", "lato",
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
