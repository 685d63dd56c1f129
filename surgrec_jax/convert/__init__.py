"""Checkpoints in and out: VideoMAE, V-JEPA, DINO, SurgRec and transformers files.

`import_file` makes an ordinary checkpoint of this project, `export_checkpoint` goes back; both are
what `python -m surgrec_jax.convert` runs.
"""

from surgrec_jax.convert.exporter import export_checkpoint
from surgrec_jax.convert.import_plan import ImportOptions
from surgrec_jax.convert.importer import import_file
from surgrec_jax.convert.strict import ConvertError

__all__ = ["ConvertError", "ImportOptions", "export_checkpoint", "import_file"]
