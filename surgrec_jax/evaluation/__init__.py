"""Measuring frozen encoders: features, heads, metrics, intervals over cases, and the report.

Nothing here trains an encoder and nothing here imports the trainer. Read in this order: `tasks`
(what is asked), `features` (frozen encoder -> arrays), `linear` and `knn` (heads), `metrics` and
`bootstrap` (scores and their uncertainty), `protocol` (the whole procedure for one task), `report`
(the HTML page).
"""
