"""The families of files, recognised by keys and shapes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from surgrec_jax.convert import dinov3, hf_read, huggingface, levjepa, videomae, vjepa, vjepa_probe
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Shape, listing

Reader = Callable[[Any, ImportOptions], Plan]

FAMILIES: dict[str, Reader] = {
    "videomae": videomae.read,
    "vjepa1": lambda f, o: vjepa.read(f, o, "vjepa1"),
    "vjepa2": lambda f, o: vjepa.read(f, o, "vjepa2"),
    "vjepa21": lambda f, o: vjepa.read(f, o, "vjepa21"),
    "levjepa": levjepa.read,
    "hf_videomae": hf_read.read_videomae,
    "hf_vjepa2": hf_read.read_vjepa2,
    "dinov2": lambda f, o: dinov3.read(f, o, "dinov2"),
    "dinov3": lambda f, o: dinov3.read(f, o, "dinov3"),
    "hf_dinov2": lambda f, o: dinov3.read(f, o, "hf_dinov2"),
    "hf_dinov3": lambda f, o: dinov3.read(f, o, "hf_dinov3"),
}
# SurgRec's files are VideoMAE's and V-JEPA 1's under names of their own.
ALIASES = {"surgrec_mae": "videomae", "surgrec_jepa": "vjepa1"}
# Families that no key tells apart, so that a user's word is taken.
ALIKE = ({"vjepa1", "vjepa2"},)


def recognise(shapes: Mapping[str, Shape]) -> str | None:
    """The family of a file: a name of FAMILIES, "vjepa_probe", or None."""
    return (
        huggingface.recognise(shapes)
        or ("videomae" if videomae.recognise(shapes) else None)
        or ("vjepa_probe" if vjepa_probe.recognise(shapes) else None)
        or ("levjepa" if levjepa.recognise(shapes) else None)
        or vjepa.recognise(shapes)
        or dinov3.recognise(shapes)
    )


def choose(file: Any, family: str) -> str:
    """The family to read a file as: `family` if the file may be of it, or for "auto" its own.

    Raises:
        ConvertError: an unknown family, or a file of another or of none.
    """
    family = ALIASES.get(family, family)
    if family not in ("auto", *FAMILIES):
        names = ("auto", *FAMILIES, *ALIASES)
        raise ConvertError(f"--family={family!r}: choose from {names}")
    shapes = file.shapes()
    try:
        recognised = recognise(shapes)
    except ConvertError:
        if family == "auto":
            raise
        recognised = family  # the file may be of two families, and the user says which
    if recognised is None:
        anchored = any(re.search(r"patch_embed.*weight$", key) for key in shapes)
        why = "" if anchored else "it has no patch embedding (patch_embed.proj.weight), and "
        raise ConvertError(
            f"{file.name} is of no family known here ({', '.join(FAMILIES)}): {why}its keys are "
            f"{listing(shapes) or 'none'}"
        )
    if family in ("auto", recognised) or any({family, recognised} <= alike for alike in ALIKE):
        return recognised if family == "auto" else family
    raise ConvertError(f"{file.name} has the keys of {recognised}, not of {family}")
