"""Measuring encoders; nothing here trains one and nothing here imports the trainer.

Read in this order: `tasks` (what is asked), `features` (a frozen encoder's arrays), `heads` (what
is trained on them), `metrics` (scores and their intervals over cases), `benchmark` (the table of
encoders and tasks), `vlm` (language models as columns of it), `report` (the HTML pages). `online`
has the cheap probes of a training run. docs/evaluation.md tells the rest.
"""
