"""Facts about the sources for `list`: domain, task, size, licence, access.

None means "not known". Licences are those that the owners state; where none is stated, or it is not
established, keep what you build to yourself.
"""

import dataclasses

LOCAL = "keep derived records local"
NON_COMMERCIAL = "derived records non-commercial, same licence"
GATED = "derived records non-commercial, same licence; do not host pixels"
CREDIT = "derived records with credit"


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """The facts that `list` shows of a source.

    Attributes:
        domain: one of records.DOMAINS, or "any".
        task: purpose of its labels.
        videos, cases: number of videos (clips for clip sets), and of the units that splits are on.
        classes: number of classes of the main task.
        licence, sharing: the owner's licence, and the use of records that it allows.
        access, url: the way and the place to get it.
        patients: whether the owner tells which cases are one patient; where not, two splits may
            show the same one.
    """

    domain: str
    task: str
    videos: int | None = None
    cases: int | None = None
    classes: int | None = None
    licence: str | None = None
    sharing: str = LOCAL
    access: str | None = None
    url: str | None = None
    patients: bool = True


_CAMMA = "https://camma.unistra.fr/datasets/"
_ITEC = "http://ftp.itec.aau.at/datasets/"
_BY, _BY_NC, _BY_NC_SA, _BY_NC_ND = (
    "CC BY 4.0",
    "CC BY-NC 4.0",
    "CC BY-NC-SA 4.0",
    "CC BY-NC-ND 4.0",
)
# fmt: off
CATALOGUE: dict[str, SourceInfo] = {
    "cholec80": SourceInfo("laparoscopy", "phases, tools", 80, 80, 7, _BY_NC_SA, GATED,
                           "request form", _CAMMA),
    "m2cai16_workflow": SourceInfo("laparoscopy", "phases", 41, 41, 8, _BY_NC_SA, GATED,
                                   "request form", _CAMMA),
    "autolaparo": SourceInfo("laparoscopy", "phases (scene: a map)", 21, 21, 7, _BY_NC_SA, GATED,
                             "request form", "https://autolaparo.github.io"),
    "multibypass140": SourceInfo("laparoscopy", "phases, steps", 140, 140, 12, _BY_NC_SA,
                                 NON_COMMERCIAL, "open",
                                 "https://github.com/CAMMA-public/MultiBypass140"),
    "sar_rarp50": SourceInfo("robotic", "actions, scene (a map)", 54, 50, 8, _BY_NC_SA,
                             NON_COMMERCIAL, "open",
                             "https://rdr.ucl.ac.uk/articles/dataset/SAR-RARP50_train_set/24932529"),
    "jigsaws": SourceInfo("robotic", "gestures, skill", 206, 8, 15, "custom", LOCAL, "registration",
                          "https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release/"),
    "aixsuture": SourceInfo("open", "skill (OSATS)", 314, 157, 3, _BY_NC_ND, "no derived records",
                            "open", "https://zenodo.org/records/7940583"),
    "surgical_actions160": SourceInfo("laparoscopy", "actions (clips)", 160, None, 16, _BY_NC_SA,
                                      NON_COMMERCIAL, "open", _ITEC + "SurgicalActions160/",
                                      patients=False),
    "lapgyn4": SourceInfo("laparoscopy", "actions, anatomy (pictures)", None, None, 8, _BY_NC,
                          "derived records non-commercial", "open", _ITEC + "LapGyn4/"),
    "lapgyn_events": SourceInfo("laparoscopy", "events (clips)", 10733, 183, 4,
                                url="https://arxiv.org/abs/2312.00593"),
    "cataract101": SourceInfo("cataract", "phases", 101, 101, 10, _BY_NC,
                              "derived records non-commercial", "open", _ITEC + "ovid/cat-101/",
                              patients=False),
    "cataract1k": SourceInfo("cataract", "phases", 56, 56, 12, _BY, CREDIT, "free Synapse account",
                             "https://github.com/Negin-Ghamsarian/Cataract-1K",
                             patients=False),
    "cataract21": SourceInfo("cataract", "phases", 21, 21, 11, _BY_NC_SA, NON_COMMERCIAL, "open",
                             _ITEC + "ovid/cat-21/",
                             patients=False),
    "hyper_kvasir": SourceInfo("endoscopy", "findings", 373, 373, 9,
                               f"{_BY} (README: research only)", CREDIT, "open",
                               "https://datasets.simula.no/hyper-kvasir/",
                               patients=False),
    "kvasir_capsule": SourceInfo("endoscopy", "findings", 117, 117, 14, _BY, CREDIT, "open",
                                 "https://datasets.simula.no/kvasir-capsule/"),
    "ldpolypvideo": SourceInfo("endoscopy", "polyps", 263, 263, 2, None, LOCAL, "open",
                               "https://github.com/dashishi/LDPolypVideo-Benchmark",
                               patients=False),
    "colonoscopic": SourceInfo("endoscopy", "lesions", 152, 76, 3, _BY, CREDIT, "open",
                               "https://archive.ics.uci.edu/dataset/408",
                               patients=False),
    "cholecseg8k": SourceInfo("laparoscopy", "scene (a map)", 101, 17, 13, _BY_NC_SA,
                              NON_COMMERCIAL, "open",
                              "https://www.kaggle.com/datasets/newslab/cholecseg8k"),
    "kvasir_seg": SourceInfo("endoscopy", "polyp (a map)", 1000, None, 2,
                             "research and education only", LOCAL, "open",
                             "https://datasets.simula.no/kvasir-seg/", patients=False),
    "cvc_clinicdb": SourceInfo("endoscopy", "polyp (a map)", 29, 29, 2, None, LOCAL, "open",
                               "https://polyp.grand-challenge.org/CVCClinicDB/", patients=False),
    "endoscapes": SourceInfo("laparoscopy",
                             "cvs (critical view of safety), anatomy (a map, boxes)", 201, 201, 3,
                             _BY_NC_SA, NON_COMMERCIAL, "open",
                             "https://github.com/CAMMA-public/Endoscapes"),
    "endovis2017": SourceInfo("robotic", "instruments and their parts (maps)", 8, 8, 8, None,
                              LOCAL, "registration", "https://endovissub2017-"
                              "roboticinstrumentsegmentation.grand-challenge.org", patients=False),
    "endovis2018": SourceInfo("robotic", "scene (a map)", 16, 16, 12, None, LOCAL, "registration",
                              "https://endovissub2018-roboticscenesegmentation.grand-challenge.org"),
    "c3vd": SourceInfo("endoscopy", "depth (a map; phantom colons)", 22, 11, None, _BY_NC_SA,
                       NON_COMMERCIAL, "open", "https://durrlab.github.io/C3VD/",
                       patients=False),
    "scared": SourceInfo("robotic", "depth (a map; pigs)", 35, 7, None, None, LOCAL, "registration",
                         "https://endovissub2019-scared.grand-challenge.org"),
    "egosurgery": SourceInfo("open", "phases, tools, hands (boxes)", 23, 15, 9,
                             f"{_BY_NC_SA} (to verify)", LOCAL, "form",
                             "https://github.com/Fujiry0/EgoSurgery", patients=False),
    "polypdiag": SourceInfo("endoscopy", "diagnosis", 253, 253, 2, None, LOCAL, "open",
                            "https://github.com/med-air/Endo-FM", patients=False),
    "pmlr50": SourceInfo("laparoscopy", "phases", 50, 50, 5, "research and education only", LOCAL,
                         "open", "https://github.com/RascalGdd/PmNet"),
    "ophnet2024": SourceInfo("cataract", "phases", 743, 743, 52, None, LOCAL, "open",
                             "https://huggingface.co/datasets/xioamiyh/OphNet2024", patients=False),
    "pitvis": SourceInfo("endoscopy", "steps, instruments", 25, 25, 14,
                         f"{_BY_NC_ND} (to verify)", LOCAL, "open",
                         "https://doi.org/10.5522/04/26531686"),
    "cholect50": SourceInfo("laparoscopy", "triplets, phases", 50, 50, 7, _BY_NC_SA, GATED,
                            "request form", "https://github.com/CAMMA-public/cholect50"),
    "heichole": SourceInfo("laparoscopy", "phases, instruments, actions, skill", 24, 24, 7,
                           "CC BY-NC (to verify)", LOCAL, "Synapse registration",
                           "https://www.synapse.org/#!Synapse:syn20676772"),
    "grasp": SourceInfo("robotic", "phases, steps, instruments (a map, boxes)", 13, 13, 11, None,
                        LOCAL, "open", "https://github.com/BCV-Uniandes/GraSP"),
    "surgvu": SourceInfo("robotic", "tasks, tools", 280, None, 8, None, LOCAL, "open",
                         "https://storage.googleapis.com/isi-surgvu/surgvu24_videos_only.zip"),
    "lemon": SourceInfo("laparoscopy", "procedures", 4194, None, 35,
                        "metadata CC BY 4.0; videos are their owners'", "no pixels",
                        "frames on request", "https://github.com/visurg-ai/LEMON",
                        patients=False),
    "gensurgery": SourceInfo("laparoscopy", "none",
                             url="https://github.com/SamuelSchmidgall/GSViT",
                             patients=False),
    "surgenet_youtube": SourceInfo("laparoscopy", "none", 3253, None, None, _BY_NC,
                                   "derived records non-commercial", "click-through",
                                   "https://huggingface.co/datasets/TimJaspersTue/SurgeNetYoutube",
                                   patients=False),
    "phantom_surgery": SourceInfo("any", "rendered: phases, instruments, skill",
                                  licence="this project's", sharing="anything",
                                  access="none needed: rendered here"),
    "video_folder": SourceInfo("any", "your own labels", licence="yours", sharing="yours to decide",
                               access="your own folder"),
}
# fmt: on


def source_info(name: str, builder_class) -> SourceInfo:
    """The facts about a source, or the tracks of its builder if it is not in the catalogue."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    return SourceInfo("any", ", ".join(builder_class.TRACKS) or "none")
