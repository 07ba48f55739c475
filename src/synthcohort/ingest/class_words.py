"""Words that classes of medical images are made of, in five languages: what may become a label by itself.

A list, not a rule: no rule tells "Lymphom" from a surname, and a surname that becomes a class names a patient in every
report. Whatever is not here is proposed and taken when a person says so. Words are lower case
without accents (`folded`). Surnames such as Klein, Stark or Lang are left out even where they describe something.
"""

import re
import unicodedata

__all__ = ["all_known", "class_words_of", "folded", "is_class_value", "is_lower_case"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Each of these alone may be the name of a class.
_CLASSES = _words(
    """
    normal normals normalno abnormal abnormality norm healthy unhealthy well ill sick diseased disease diseases benign
    bengin malignant malign malignancy premalignant precancerous suspicious suspected suspect positive negative pos neg
    yes true false indeterminate equivocal uncertain infected uninfected infection control controls affected unaffected
    treated untreated treatment placebo finding findings unremarkable remarkable typical atypical mild moderate severe
    advanced acute chronic subacute recurrent residual stable progressive progression regression response relapse
    remission tumor tumour tumors tumours notumor nontumor neoplasm neoplasia neoplastic nonneoplastic cancer cancers
    cancerous noncancerous precancer lesion lesions mass masses nodule nodules nodular cyst cysts cystic polyp polyps
    calcification calcifications microcalcification microcalcifications distortion asymmetry fracture fractures
    fractured nonfractured dislocation stone stones calculus hernia hiatal edema oedema effusion effusions opacity
    opacities opacification consolidation atelectasis cardiomegaly emphysema infiltration infiltrate infiltrates
    pneumothorax pneumonia fibrosis fibrotic pleural thickening tuberculosis tb covid covid19 influenza sars mers virus
    viral bacteria bacterial fungal fungus parasite parasitized parasitic glioma gliomas glioblastoma astrocytoma
    meningioma pituitary stroke ischemic ischemia ischaemia infarct infarction hemorrhage haemorrhage hemorrhagic
    haemorrhages hemorrhages bleeding hematoma haematoma aneurysm embolism thrombosis stenosis occlusion dissection
    epidural subdural subarachnoid intraparenchymal intraventricular ulcer ulcers ulcerative ulceration inflammation
    inflammatory demented nondemented dementia alzheimer alzheimers cognitive impairment parkinson parkinsons sclerosis
    cataract cataracts glaucoma glaucomatous drusen cnv dme amd armd maculopathy macular proliferative proliferate
    nonproliferative myopia myopic hyperopia pathological pathologic pathology hypertension hypertensive diabetic
    diabetes retinopathy retinitis pigmentosa npdr pdr dr rop degeneration epiretinal membrane detachment exudate
    exudates microaneurysm microaneurysms hemangioma haemangioma angioma angiectasia laserspots tessellated atrophy
    atrophic chorioretinal mel melanoma melanomas nv nevus nevi naevus naevi bcc scc bkl akiec vasc vascular df
    dermatofibroma keratosis keratoses actinic seborrheic seborrhoeic lentigo lentigines eczema acne psoriasis
    dermatitis rosacea vitiligo urticaria wart warts melasma melanocytic nonmelanocytic histo histopathology follow_up
    followup consensus confocal biopsy serial osteoarthritis arthritis arthrosis osteopenia osteoporosis
    osteoporotic osteophyte osteophytes scoliosis doubtful minimal adenocarcinoma adenocarcinomas carcinoma carcinomas
    sarcoma sarcomas lymphoma lymphomas leukemia leukaemia myeloma adenoma adenomas adenomatous hyperplastic
    hyperplasia dysplasia metaplasia papilloma fibroadenoma phyllodes lipoma lipomas teratoma blastoma neuroblastoma
    hepatoma seminoma mesothelioma schwannoma ductal lobular papillary mucinous medullary tubular adenosis squamous
    serrated metastasis metastases metastatic primary secondary invasive noninvasive insitu dcis lcis luad lusc aca adi
    back deb lym muc mus str tum stroma stromal mucosa mucus mucous muscle adipose debris complex lymph lymphocyte
    lymphocytes neutrophil neutrophils eosinophil eosinophils basophil basophils monocyte monocytes erythroblast
    erythroblasts platelet platelets thrombocyte ig myeloblast myelocyte metamyelocyte promyelocyte blast blasts
    granulocyte erythrocyte leukocyte reticulocyte cirrhosis hepatitis steatosis fatty pancreatitis colitis esophagitis
    oesophagitis gastritis barrett barretts nephritis cystitis bronchitis bronchiectasis bronchiolitis asthma copd ild
    ipf honeycombing ards sinusitis otitis appendicitis diverticulitis diverticulosis crohn crohns endometriosis
    cardiomyopathy valvular regurgitation insufficiency failure dilated hypertrophic arrhythmia atherosclerosis
    plaque plaques prosthesis pacemaker device devices implant implants catheter artifact artifacts
    survived deceased alive dead died survival recurrence
    kyste lesione
    normalbefund auffallig unauffallig pathologisch gesund krank erkrankt gutartig bosartig positiv negativ ja nein
    befund kein keine ohne leicht leichte mittel mittelschwer massig mittelgradig schwer schwere hochgradig
    geringgradig verdacht verdachtig tumore karzinom karzinome adenom adenome sarkom lymphom melanom metastase
    metastasen zyste zysten knoten herd rundherd verkalkung verkalkungen fraktur frakturen bruch arthrose gonarthrose
    coxarthrose arthritis entzundung entzundlich lungenentzundung pneumonie erguss pleuraerguss gelenkerguss stauung
    odem emphysem atelektase kardiomegalie infarkt blutung hirnblutung schlaganfall stenose thrombose embolie fibrose
    zirrhose sklerose tuberkulose osteoporose skoliose glaukom katarakt makulopathie retinopathie polypen geschwur
    geschwure narbe rezidiv stabil unklar unverandert fortgeschritten viral bakteriell links rechts beidseits beidseitig
    kreuzbandriss meniskusriss riss ruptur einblutung raumforderung raumforderungen verschattung infiltrat infiltrate
    anormal anormale normale normaux sain saine malade benin benigne maligne suspect suspecte positif positive negatif
    oui non tumeur tumeurs nodule kyste kystes fracture epanchement oedeme pneumopathie infarctus hemorragie cancereux
    adenocarcinome carcinome melanome arthrose cataracte glaucome modere moderee severe legere leger aucun aucune
    anormales sano sana enfermo enferma benigno benigna maligno maligna sospechoso sospechosa positivo positiva negativo
    negativa si tumores nodulo nodulos quiste quistes fractura fracturas derrame neumonia hemorragia infarto ictus
    carcinoma adenocarcinoma artrosis cataratas catarata leve moderado moderada grave severo severa ninguno ninguna
    hallazgo hallazgos normales anormales anormalidad calcificacion calcificaciones masa masas
    normali anormale anomalia sano malato malata benigni maligni sospetto sospetta tumore tumori nodulo noduli cisti
    frattura fratture versamento polmonite emorragia artrosi cataratta lieve moderato moderata assente presente
    nessuno nessuna absent present
    axial coronal sagittal oblique frontal lateral left right bilateral unilateral
    abdomen abdominal ankle anterior aorta arm arms axilla bladder bowel brain breast breasts cervical cervix chest
    choroidal colon cornea ear ears elbow esophagus extremity eye eyes face facial femur finger fingers foot feet
    fundus genital acral oral palms soles gallbladder glottis hand hands head heart hilum hip humerus ileum jaw joint
    kidney kidneys knee knees larynx leg legs lens ligament liver lower lumbar lung lungs mediastinum mouth neck nerve
    nose optic orbit ovary pancreas pelvis penis periphery pleura posterior prostate pylorus cecum radius rectum retina
    retinal rib ribs sacrum scalp shoulder sinus skin skull spine spleen sternum stomach superior inferior temporal
    testis thigh thoracic thorax throat thyroid tibia toe toes tongue torso trachea trunk ulna upper ureter uterus vein
    artery vessel vessels vitreous wrist
    gehirn lunge lungenflugel leber niere nieren milz magen darm haut auge knie hufte schulter wirbelsaule brust becken
    poumon foie rein cerveau genou hanche epaule sein peau oeil pulmon higado rinon cerebro rodilla cadera mama piel ojo
    polmone fegato rene cervello ginocchio anca seno pelle occhio
    ct cxr xray xrays mr mri us ultrasound pet mammogram mammography histology dermoscopy oct
    """
)
# Between others these say nothing of a person, and alone they say nothing at all.
_BETWEEN = _words(
    """
    a an and any are as at be by case cases class classes cell cells change changes changed clinical consistent
    compatible cat category central demonstrates demonstrating diagnosis diagnostic diffuse disc disk dry due dust
    early echographic evidence evident exhibiting fibers fibres features field focal for from grade group grayscale
    has high image images imaging impression in indicating indicative is it its kind late lead lens level lesser
    likely line lobe low medial medium media mode more myelinated near no none not of old on one or other others
    over part partial patient photo photocoagulation picture possible post presenting probable radiograph refractive
    related sample scan scans score section several shows showing side sign signs single site slice slide small
    large some sonogram sonographic spot spots spotted stage subtype suggesting suggestive support suggests tear
    texture the there this to two three tortuosity tube type types unknown unspecified very view wet white with
    within without x appearance characteristics intraretinal membranous appears seen visible laser age all bi rads
    birads pi pirads lung lungrads ti tirads li lirads acr kl kellgren lawrence gleason isup asa tnm ann arbor duke
    dukes figo fitzpatrick density grad stadium typ klasse gruppe stufe nach mit und oder der die das im am bei von
    des la le les du un une et ou avec sans el los las con sin y o il lo i gli di da senza e del della de pas
    ninguna tipo grado stadio estadio stade
    """
)
# With these a number or letter is a grade.
_SCALES = _words(
    "rads birads lungrads pirads tirads lirads acr kl kellgren lawrence gleason isup asa fitzpatrick grade"
)
# Ends that no surname has.
_ENDINGS = (
    "carcinoma", "carcinomas", "sarcoma", "sarcomas", "blastoma", "blastomas", "adenoma", "lymphoma", "melanoma",
    "cytoma", "opathy", "opathies", "plasia", "cytosis", "fibrosis", "sclerosis", "arthritis", "arthrosis", "penia",
    "karzinom", "karzinome", "adenom", "sarkom", "blastom", "fraktur", "frakturen", "arthrose", "fibrose", "stenose",
    "entzundung", "opathie", "plasie", "tumor", "tumoren", "blutung", "carcinome", "sarcome", "carcinomi", "sarcomi",
)  # fmt: skip
_ROMAN = re.compile(r"(?:i{1,3}|iv|vi{0,3}|ix|x)[a-d]?")
_CODE = re.compile(r"\d{1,2}[a-z]?|[a-z]|(?:[cpyra]{0,2}[tnmgsrc][0-4x][a-d]?(?:is|mi)?){1,4}|[cp]?tis")
_TOKEN = re.compile(r"[^\W_]+")


def folded(text: str) -> str:
    """Lower case without accents: however the accents are written."""
    plain = unicodedata.normalize("NFKD", text).replace("ß", "ss")
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()


def class_words_of(text: str) -> list[str]:
    """The words and numbers of a text, apart, folded: AbdomenCT, abdomen_ct and Abdomen CT alike."""
    apart = re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", text)
    return [folded(token) for token in _TOKEN.findall(apart)]


def _is_class_word(word: str) -> bool:
    if word in _CLASSES or (len(word) > 7 and word.endswith(_ENDINGS)):
        return True
    return re.search("[aou]e", word) is not None and re.sub("([aou])e", r"\1", word) in _CLASSES  # auffaellig


def is_class_value(text: str, codes: bool = False) -> bool:
    """Whether each word of a text is one that classes are named by; `codes`: grades such as 4a, IIIb, T2N0 suffice."""
    words = class_words_of(text)
    if not words or len(text) > 100:
        return False
    if folded(text) in _CLASSES or _is_class_word("".join(words)):  # follow_up, X-ray
        return True
    strong = [word for word in words if _is_class_word(word)]
    graded = [word for word in words if _CODE.fullmatch(word) or _ROMAN.fullmatch(word)]
    if set(words) - set(strong) - set(graded) - _BETWEEN:
        return False
    if graded and (codes or _SCALES & set(words)):
        return True
    return bool(strong) or (len(words) == 1 and words[0] in ("no", "none", "other", "others"))


def is_lower_case(text: str) -> bool:
    """Whether no word that is unknown here begins with a capital, or has a script without any, as names may."""
    apart = _TOKEN.findall(re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", text))
    unknown = [token for token in apart if not is_known(token)]
    return all(token.islower() and folded(token).isascii() for token in unknown)


def is_known(token: str) -> bool:
    """Whether a word alone says nothing of a person."""
    word = folded(token)
    return _is_class_word(word) or word in _BETWEEN or bool(_CODE.fullmatch(word) or _ROMAN.fullmatch(word))


def all_known(text: str) -> bool:
    """Whether a text has no word but those of the lists."""
    return all(map(is_known, class_words_of(text)))
