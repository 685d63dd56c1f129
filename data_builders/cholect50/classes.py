"""Classes and splits of CholecT50, in its order of ids."""

INSTRUMENTS = ("grasper", "bipolar", "hook", "scissors", "clipper", "irrigator")
VERBS = (
    *("grasp", "retract", "dissect", "coagulate", "clip", "cut", "aspirate", "irrigate", "pack"),
    "null_verb",
)
TARGETS = (
    "gallbladder",
    "cystic_plate",
    "cystic_duct",
    "cystic_artery",
    "cystic_pedicle",
    "blood_vessel",
    "fluid",
    "abdominal_wall_cavity",
    "liver",
    "adhesion",
    "omentum",
    "peritoneum",
    "gut",
    "specimen_bag",
    "null_target",
)
TRIPLETS = tuple(f"{k:03d}" for k in range(100))  # by number; label_mapping.txt names the parts
PHASES = (
    "preparation",
    "carlot-triangle-dissection",  # spelled this way
    "clipping-and-cutting",
    "gallbladder-dissection",
    "gallbladder-packaging",
    "cleaning-and-coagulation",
    "gallbladder-extraction",
)
# The split of the Rendezvous paper ("rdv").
RDV = {
    "train": frozenset(
        [
            *(1, 15, 26, 40, 52, 65, 79, 2, 18, 27, 43, 56, 66, 92, 4, 22, 31, 47, 57, 68, 96),
            *(5, 23, 35, 48, 60, 70, 103, 13, 25, 36, 49, 62, 75, 110),
        ]
    ),
    "val": frozenset([8, 12, 29, 50, 78]),
    "test": frozenset([6, 51, 10, 73, 14, 74, 32, 80, 42, 111]),
}
CHALLENGE = {
    "val": frozenset([5, 18, 36, 65, 74]),
    "test": frozenset([92, 96, 103, 110, 111]),
}
FOLDS = (  # of cross-validation: the test videos of each
    (79, 2, 51, 6, 25, 14, 66, 23, 50, 111),
    (80, 32, 5, 15, 40, 47, 26, 48, 70, 96),
    (31, 57, 36, 18, 52, 68, 10, 8, 73, 103),
    (42, 29, 60, 27, 65, 75, 22, 49, 12, 110),
    (78, 43, 62, 35, 74, 1, 56, 4, 13, 92),
)
