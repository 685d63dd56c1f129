"""Measuring encoders: features, heads, metrics, intervals over cases, benchmark and report.

Nothing here trains an encoder and nothing here imports the trainer. Read in this order: `tasks`,
`task_list` and `own_tasks` (what is asked), `features` and `feature_cache` (frozen encoder ->
arrays), `heads` and what it names, `metrics` and `bootstrap` (scores and their uncertainty),
`labelled` and `protocol` (the whole procedure for one task), `runner` (one source) or `matrix`,
`cells` and `assemble` (the benchmark), `vlm*` (language models), `report*` (the HTML pages).
docs/evaluation.md tells the rest.
"""
