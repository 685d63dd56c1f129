"""Which format a file is of, told by its keys and shapes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from surgrec_jax.convert import dinov3, hf_read, huggingface, videomae, vjepa, vjepa_probe
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Shape, listing

Reader = Callable[[Any, ImportOptions], Plan]

FAMILIES: dict[str, Reader] = {
    "videomae": videomae.read,
    "vjepa1": lambda f, o: vjepa.read(f, o, "vjepa1"),
    "vjepa2": lambda f, o: vjepa.read(f, o, "vjepa2"),
    "vjepa21": lambda f, o: vjepa.read(f, o, "vjepa21"),
    "hf_videomae": hf_read.read_videomae,
    "hf_vjepa2": hf_read.read_vjepa2,
    "dinov2": lambda f, o: dinov3.read(f, o, "dinov2"),
    "dinov3": lambda f, o: dinov3.read(f, o, "dinov3"),
    "hf_dinov2": lambda f, o: dinov3.read(f, o, "hf_dinov2"),
    "hf_dinov3": lambda f, o: dinov3.read(f, o, "hf_dinov3"),
}
# SurgRec's files are VideoMAE's and V-JEPA 1's under names of their own.
ALIASES = {"surgrec_mae": "videomae", "surgrec_jepa": "vjepa1"}
# These differ in what no key shows, so that a user's word is taken.
ALIKE = ({"vjepa1", "vjepa2"},)


def recognise(shapes: Mapping[str, Shape]) -> str | None:
    """A name of FAMILIES, "vjepa_probe", or None."""
    return (
        huggingface.recognise(shapes)
        or ("videomae" if videomae.recognise(shapes) else None)
        or ("vjepa_probe" if vjepa_probe.recognise(shapes) else None)
        or vjepa.recognise(shapes)
        or dinov3.recognise(shapes)
    )


def choose(file: Any, asked: str) -> str:
    """The family to read a file as: the one asked for, if the file may be of it, or its own.

    Raises:
        ConvertError: an unknown family, or a file of another or of none.
    """
    asked = ALIASES.get(asked, asked)
    if asked not in ("auto", *FAMILIES):
        names = ("auto", *FAMILIES, *ALIASES)
        raise ConvertError(f"--family={asked!r}: choose from {names}")
    shapes = file.shapes()
    try:
        found = recognise(shapes)
    except ConvertError:
        if asked == "auto":
            raise
        found = asked  # it could be one of two, and the user says which
    if found is None:
        anchored = any(re.search(r"patch_embed.*weight$", key) for key in shapes)
        why = "" if anchored else "it has no patch embedding (patch_embed.proj.weight), and "
        raise ConvertError(
            f"{file.name} is of no family known here ({', '.join(FAMILIES)}): {why}its keys are "
            f"{listing(shapes) or 'none'}"
        )
    if asked in ("auto", found) or any({asked, found} <= alike for alike in ALIKE):
        return found if asked == "auto" else asked
    raise ConvertError(f"{file.name} has the keys of {found}, not of {asked}")
