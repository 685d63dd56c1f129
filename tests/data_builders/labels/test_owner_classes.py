"""Class ids are the owners': written out here once more, so that a slip in a builder shows."""

import pytest

from data_builders.common.source.registry import builder_class
from data_builders.heichole.heichole_dataset_builder import INSTRUMENTS

CHOLEC = (
    "Preparation CalotTriangleDissection ClippingCutting GallbladderDissection "
    "GallbladderPackaging CleaningCoagulation GallbladderRetraction"
)
OWNERS = {
    ("cholec80", "phase"): CHOLEC,
    ("heichole", "phase"): CHOLEC,
    ("m2cai16_workflow", "phase"): "TrocarPlacement " + CHOLEC,
    ("autolaparo", "phase"): (
        "Preparation|Dividing Ligament and Peritoneum|Dividing Uterine Vessels and Ligament|"
        "Transecting the Vagina|Specimen Removal|Suturing|Washing"
    ),
    ("multibypass140", "phase"): (
        "preparation gastric_pouch_creation omentum_division gastrojejunal_anastomosis "
        "anastomosis_test jejunal_separation closure_petersen_space jejunojejunal_anastomosis "
        "closure_mesenteric_defect cleaning_coagulation disassembling other_intervention"
    ),
    ("sar_rarp50", "action"): (
        "other|picking-up the needle|positioning the needle tip|pushing the needle through the "
        "tissue|pulling the needle out of the tissue|tying a knot|cutting the suture|"
        "returning/dropping the needle"
    ),
    ("pitvis", "step"): (
        "nasal_corridor_creation anterior_sphenoidotomy septum_displacement "
        "sphenoid_sinus_clearance sellotomy durotomy tumour_excision haemostasis "
        "synthetic_graft_placement fat_graft_placement gasket_seal_construct dural_sealant "
        "nasal_packing debris_clearance"
    ),
    ("cholect50", "phase"): (
        "preparation carlot-triangle-dissection clipping-and-cutting gallbladder-dissection "
        "gallbladder-packaging cleaning-and-coagulation gallbladder-extraction"
    ),
    ("pmlr50", "phase"): (
        "Preparation stage|Knotting of the Foley catheter|Procedure of the liver resection|"
        "Release of the Foley catheter|Postprocessing stage"
    ),
    ("egosurgery", "phase"): (
        "disinfection design anesthesia incision dissection hemostasis irrigation closure dressing"
    ),
    ("grasp", "phase"): (
        "Idle LPIL RPIL Retzius_Space Dorsal_Venous_Complex Id_Bladder_Neck Seminal_Vesicles "
        "Denonvilliers_Fascia Pedicle_Control Severing_Prostate_Urethra Bladder_Neck_Rec"
    ),
}
# Some ids of the longer lists, from both ends and the middle.
ANCHORS = {
    ("multibypass140", "step"): {
        0: "null_step",
        6: "horizontal_stapling",
        18: "gastrojejunal_stapling",
        25: "visual_assessment",
        39: "coagulation",
        45: "specimen_retrieval",
    },
    ("grasp", "step"): {0: "Idle", 7: "Prostate_Dissection", 17: "Suction", 20: "Clip_Pedicles"},
    ("ophnet2024", "phase"): {
        0: "Viscoelastic Injection",
        7: "Capsulorhexis",
        26: "Use of Iris Expander",
        50: "Trabeculectomy",
        51: "Others",
    },
    ("jigsaws", "gesture"): {
        0: "G1 reaching for needle with right hand",
        7: "G8 orienting needle",
        14: "G15 pulling suture with both hands",
    },
}


@pytest.mark.parametrize(("name", "track"), OWNERS)
def test_ids(name, track):
    text = OWNERS[name, track]
    names = text.split("|") if "|" in text else text.split()
    assert list(builder_class(name).TRACKS[track]) == names


@pytest.mark.parametrize(("name", "track"), ANCHORS)
def test_ids_of_long_lists(name, track):
    names = builder_class(name).TRACKS[track]
    assert {k: names[k] for k in ANCHORS[name, track]} == ANCHORS[name, track]
    assert len(names) == max(ANCHORS[name, track]) + 1


def test_instruments():
    tools = ("grasper", "bipolar", "hook", "scissors", "clipper", "irrigator", "specimenbag")
    assert list(builder_class("cholec80").TRACKS)[1:] == [f"tool_{name}" for name in tools]
    assert INSTRUMENTS == {
        "Grasper": 0,
        "Clipper": 1,
        "Coagulation": 2,
        "Scissors": 3,
        "Suction-irrigation": 4,
        "Specimen bag": 5,
        "Stapler": 6,
        "undefined shaft": 20,
    }
    pitvis = [name for name in builder_class("pitvis").TRACKS if name.startswith("instrument_")]
    assert len(pitvis) == 18 and pitvis[7] == "instrument_kerrisons"
    assert (pitvis[4], pitvis[15], pitvis[17]) == (
        "instrument_freer_elevator",
        "instrument_suction",
        "instrument_tissue_glue",
    )
    cholect50 = list(builder_class("cholect50").TRACKS)
    assert cholect50.index("target_null_target") - cholect50.index("target_gallbladder") == 14
    assert cholect50.index("verb_null_verb") - cholect50.index("verb_grasp") == 9
    assert cholect50.index("instrument_irrigator") - cholect50.index("instrument_grasper") == 5


def test_surgical_actions():
    names = builder_class("surgical_actions160").VIDEO_LABELS["action"]
    assert (len(names), names[0], names[8], names[15]) == (
        16,
        "abdominal_access",
        "needle_positioning",
        "endobag-out",
    )
