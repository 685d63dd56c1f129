"""Models x tasks, resumable cell by cell.

    python -m surgrec_jax.benchmark --config=configs/benchmark.py \
        --config.checkpoints=MAE=runs/mae,JEPA=runs/jepa --config.data_dir=DATA
    python -m surgrec_jax.benchmark --config=configs/benchmark.py:tiny --config.out=runs/benchmark \
        --config.checkpoints=MAE=runs/mae_tiny,JEPA=runs/jepa_tiny
    python -m surgrec_jax.benchmark --config=configs/benchmark.py:zoo --config.sources=MY_DATA

Variants: "default" asks the sixteen sets of the benchmark (those that are not prepared are listed
as missing), "tiny" the labelled data that the checkpoints were trained on, as in the quickstart,
and "zoo" compares public encoders, fetched from the hub, on a labelled data set of one's own.

Ends in results.json, results.md and index.html in --config.out. The same command goes on where it
was stopped; a cell is computed again only if what it depends on has changed.
"""

from ml_collections import ConfigDict

from configs.evaluation import evaluation

VARIANTS = ("default", "tiny", "zoo")
# Those that `python -m surgrec_jax.convert zoo` lists and anyone may fetch, which are imported
# without being told anything. Another choice is given as --config.checkpoints.
ZOO = (
    "videomae-b=hf://MCG-NJU/videomae-base",
    "videomae2-b=hf://OpenGVLab/VideoMAEv2-Base",
    "surgrec-mae=hf://SichengLu/SurgRec:surgrec_mae.pth",
    "videomae-l=hf://MCG-NJU/videomae-large",
    "surgrec-jepa=hf://SichengLu/SurgRec:surgrec_jepa.pt",
    "vjepa2-l=hf://facebook/vjepa2-vitl-fpc64-256",
    "levjepa-l=hf://galilai-group/LeVJEPA-VideoMix-Large",
)


def get_config(variant: str = "default") -> ConfigDict:
    """The config of a variant; lists are written with commas on the command line."""
    config = evaluation()  # values that the probe has too
    config.checkpoints = ""  # WORKDIR or NAME=WORKDIR (or a checkpoint step), with commas
    config.out = "runs/benchmark"
    # Data sets as name or name/config. sixteen: those of the benchmark; "": those that the
    # checkpoints were trained on and that have labels.
    config.sources = "sixteen"
    config.finetune = "configs/finetune.py"  # how protocol fine-tune trains; or ...py:tiny
    config.frames_in_report = True  # pictures of the hardest cases; False for gated data

    config.vlm = ConfigDict()
    config.vlm.name = ""  # column of a vision-language model; empty = none
    config.vlm.endpoint = ""  # an OpenAI-compatible address, e.g. http://localhost:8000/v1
    config.vlm.model = ""  # the model's name there
    config.vlm.key_env = ""  # environment variable that holds the key; empty = no key is sent
    config.vlm.answers = ""  # folder of saved answers; with an endpoint, answers are added to it
    config.vlm.frames = 4  # frames of every clip, evenly spaced
    config.vlm.side = 336  # largest side of the pictures that are sent, in pixels
    config.vlm.phrasings = 3  # phrasings of every question
    config.vlm.max_units = 0  # clips asked per task, chosen over all cases; 0 = all
    config.vlm.timeout_s = 60.0  # longest wait for a request

    if variant == "tiny":
        config.sources = ""
        config.finetune = "configs/finetune.py:tiny"
    if variant == "zoo":
        config.checkpoints = ",".join(ZOO)
        config.sources = ""  # is to be given: what is published says nothing of the data
        config.heads = "attentive,linear,knn"  # JEPA's features are meant for attentive ones
        config.out = "runs/zoo/benchmark"
    return config
