"""Measuring encoders: features, heads, metrics, intervals over cases, tables and reports.

Nothing here trains an encoder and nothing here imports the trainer. A reader goes from `tasks`,
`task_list` and `own_tasks` (the questions) to `features` and `feature_cache` (frozen encoder ->
arrays), `heads` and the modules that it names, `metrics` and `bootstrap` (scores and their
uncertainty), `labelled_task` and `run_head` (the whole procedure for one task), `columns`,
`answers`, `run_cells`, `summarise` and `compare` (the table, under the `rules` of a protocol),
`vlm*` (language models) and `report*` (the HTML pages). docs/evaluation.md tells the rest.
"""
