"""Public encoders that the readers are written for, with the commands that import and compare them.

Names and clips are those of their authors' pages. Tests hold every reader to its family's keys with
random weights; `read` says whether this code has read the published file itself.
"""

import dataclasses
import shlex
from collections.abc import Sequence

from surgrec_jax.convert.hub import SCHEME
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.convert.torch_file import SUFFIXES
from surgrec_jax.safety.terminal import aligned

NON_COMMERCIAL = "CC BY-NC 4.0"
PERMISSIVE = "MIT/Apache (code)"
DINOV3 = "DINOv3 License"
PAGE = "see its page"
META = "https://dl.fbaipublicfiles.com"
FOLDER = "runs/zoo"  # of the workdirs that the commands make


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public encoder.

    Attributes:
        name: its name here, and of its workdir and column.
        family: of `families.FAMILIES`.
        encoder: size and patch.
        frames, side: of the clips that its import takes; an image encoder sees every frame alone.
        where: a name of the hub, the address of a file, or a page that gives one on request.
        licence: of the weights, or of the code where it says so; it is theirs to state, and the
            page that gives the weights is to be read before they are used.
        options: of the import.
        read: whether this code has read the published file.
    """

    name: str
    family: str
    encoder: str
    frames: int
    side: int
    where: str
    licence: str
    options: str = ""
    read: bool = False


ENTRIES = (
    Entry("videomae-b", "hf_videomae", "ViT-B/16", 16, 224, "hf://MCG-NJU/videomae-base",
          NON_COMMERCIAL),
    Entry("videomae-l", "hf_videomae", "ViT-L/16", 16, 224, "hf://MCG-NJU/videomae-large",
          NON_COMMERCIAL),
    Entry("videomae2-b", "videomae", "ViT-B/16", 16, 224, "hf://OpenGVLab/VideoMAEv2-Base", PAGE),
    Entry("surgrec-mae", "videomae", "ViT-B/16", 16, 224,
          "hf://SichengLu/SurgRec:surgrec_mae.pth", NON_COMMERCIAL),
    Entry("vjepa1-l", "vjepa1", "ViT-L/16", 16, 224, f"{META}/jepa/vitl16/vitl16.pth.tar",
          NON_COMMERCIAL),
    Entry("vjepa1-h", "vjepa1", "ViT-H/16", 16, 224, f"{META}/jepa/vith16/vith16.pth.tar",
          NON_COMMERCIAL),
    Entry("surgrec-jepa", "vjepa1", "ViT-L/16", 16, 224,
          "hf://SichengLu/SurgRec:surgrec_jepa.pt", NON_COMMERCIAL),
    Entry("vjepa2-l", "hf_vjepa2", "ViT-L/16", 64, 256, "hf://facebook/vjepa2-vitl-fpc64-256",
          PERMISSIVE),
    Entry("vjepa2-h", "hf_vjepa2", "ViT-H/16", 64, 256, "hf://facebook/vjepa2-vith-fpc64-256",
          PERMISSIVE),
    Entry("vjepa2-g", "hf_vjepa2", "ViT-g/16", 64, 256, "hf://facebook/vjepa2-vitg-fpc64-256",
          PERMISSIVE),
    Entry("vjepa2-g-384", "hf_vjepa2", "ViT-g/16", 64, 384,
          "hf://facebook/vjepa2-vitg-fpc64-384", PERMISSIVE),
    Entry("vjepa2-l-original", "vjepa2", "ViT-L/16", 64, 256, f"{META}/vjepa2/vitl.pt",
          PERMISSIVE),
    Entry("vjepa21-b", "vjepa21", "ViT-B/16", 64, 384,
          f"{META}/vjepa2/vjepa2_1_vitb_dist_vitG_384.pt", PERMISSIVE),
    Entry("vjepa21-l", "vjepa21", "ViT-L/16", 64, 384,
          f"{META}/vjepa2/vjepa2_1_vitl_dist_vitG_384.pt", PERMISSIVE),
    Entry("vjepa21-g", "vjepa21", "ViT-g/16", 64, 384, f"{META}/vjepa2/vjepa2_1_vitg_384.pt",
          PERMISSIVE),
    Entry("vjepa21-gg", "vjepa21", "ViT-G/16", 64, 384, f"{META}/vjepa2/vjepa2_1_vitG_384.pt",
          PERMISSIVE),
    Entry("levjepa-l", "levjepa", "ViT-L/16", 16, 224,
          "hf://galilai-group/LeVJEPA-VideoMix-Large", NON_COMMERCIAL),
    Entry("dinov2-b", "hf_dinov2", "ViT-B/14", 16, 224, "hf://facebook/dinov2-base", PAGE,
          "--resize_to=16x224x224"),
    Entry("dinov2-l", "hf_dinov2", "ViT-L/14", 16, 224, "hf://facebook/dinov2-large", PAGE,
          "--resize_to=16x224x224"),
    Entry("dinov2-b-original", "dinov2", "ViT-B/14", 16, 224,
          f"{META}/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth", PAGE,
          "--resize_to=16x224x224"),
    Entry("dinov3-b", "hf_dinov3", "ViT-B/16", 16, 224,
          "hf://facebook/dinov3-vitb16-pretrain-lvd1689m", DINOV3),
    Entry("dinov3-l", "hf_dinov3", "ViT-L/16", 16, 224,
          "hf://facebook/dinov3-vitl16-pretrain-lvd1689m", DINOV3),
    Entry("dinov3-b-original", "dinov3", "ViT-B/16", 16, 224,
          "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads", DINOV3),
)  # fmt: skip


def chosen(names: Sequence[str]) -> list[Entry]:
    """The entries of these names, in their order; all of them for none.

    Raises:
        ConvertError: a name that no entry has.
    """
    known = {entry.name: entry for entry in ENTRIES}
    for name in names:
        if name not in known:
            raise ConvertError(f"zoo has no {name!r}; it has {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def table(entries: Sequence[Entry]) -> str:
    """The entries as lines of aligned columns."""
    head = ("name", "family", "encoder", "clip", "licence", "real file read", "where")
    rows = [
        (
            *(entry.name, entry.family, entry.encoder),
            *(f"{entry.frames} x {entry.side}", entry.licence, "yes" if entry.read else "no"),
            entry.where,
        )
        for entry in entries
    ]
    return "\n".join(aligned([head, *rows]))


def import_command(entry: Entry) -> str:
    """The shell command that makes a workdir of an entry.

    A file at an address is fetched first; one that is given on request is FILE, below a comment.
    """
    file, before = entry.where, ""
    if not file.startswith(SCHEME):
        at_address = file.endswith(SUFFIXES)
        file = file.rsplit("/", 1)[1] if at_address else "FILE"
        before = f"curl -fLO {entry.where} && " if at_address else f"# FILE: {entry.where}\n"
    options = f" {entry.options}" if entry.options else ""
    return (
        f"{before}python -m surgrec_jax.convert import {shlex.quote(file)} "
        f"--out {FOLDER}/{entry.name} --family={entry.family}{options}"
    )


def compare_command(entries: Sequence[Entry]) -> str:
    """The shell command that compares imported entries on one's own labelled data set."""
    columns = ",".join(f"{entry.name}={FOLDER}/{entry.name}" for entry in entries)
    return (
        "python -m surgrec_jax.benchmark --config=configs/benchmark.py:zoo "
        f"--config.sources=MY_DATA --config.checkpoints={columns}"
    )
