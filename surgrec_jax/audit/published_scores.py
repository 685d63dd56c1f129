"""What the paper of the published SurgRec benchmark (arXiv 2603.29966, table 2) reports.

Top-1 accuracy in percent on the test split of each folder of the release, by model.
"""

MODELS = (
    "DINOv3",
    "DINOv3-SurgeNetXL",
    "VideoMAE",
    "SurgRec-MAE without balancing",
    "V-JEPA",
    "SurgRec-MAE",
    "SurgRec-JEPA",
)
SCORES: dict[str, tuple[float, ...]] = {
    "AlxSuture": (32.61, 39.13, 39.13, 39.13, 39.13, 43.48, 39.13),
    "AutoLaparo": (17.74, 19.35, 19.35, 17.74, 20.97, 22.58, 17.74),
    "cat-21": (15.69, 15.69, 15.69, 15.69, 15.69, 15.69, 15.69),
    "cataract-101": (17.97, 19.53, 19.53, 21.09, 24.22, 35.16, 23.44),
    "cataract-1k-phase": (9.90, 14.85, 11.88, 16.83, 19.80, 18.81, 17.82),
    "cholec80": (22.34, 16.12, 14.65, 24.18, 26.01, 29.30, 31.14),
    "Colonoscopic-web": (53.33, 53.33, 53.33, 53.33, 53.33, 73.33, 53.33),
    "hyper-kvasir": (43.03, 41.81, 25.11, 36.91, 41.65, 55.28, 42.27),
    "JIGSAWS": (18.12, 17.11, 15.67, 21.23, 29.72, 47.49, 32.24),
    "kvasir-capsule": (46.34, 47.56, 19.51, 46.34, 48.78, 73.17, 60.98),
    "LapGyn_dataset": (62.68, 65.63, 62.68, 67.07, 60.66, 68.13, 64.13),
    "LDPolyVideo": (90.35, 90.35, 90.35, 90.35, 90.35, 90.76, 90.42),
    "M2CAI16-Workflow": (23.01, 25.66, 12.39, 30.09, 26.55, 38.05, 38.05),
    "MultiBypass140": (38.62, 42.63, 20.54, 51.56, 12.88, 56.92, 56.47),
    "SAR-RARP50": (23.01, 26.88, 25.97, 24.37, 22.10, 37.59, 36.67),
    "SurgicalActions160": (6.25, 6.25, 6.25, 18.75, 12.50, 18.75, 6.25),
}


def equal_to(folder: str, rate: float | None) -> list[str]:
    """The models whose published score on `folder` is `rate` (percent) to the last digit."""
    if rate is None or folder not in SCORES:
        return []
    scores = zip(MODELS, SCORES[folder], strict=True)
    return [name for name, score in scores if f"{score:.2f}" == f"{rate:.2f}"]


def means() -> dict[str, float]:
    """The mean over all folders, by model."""
    columns = zip(*SCORES.values(), strict=True)
    return {m: sum(c) / len(SCORES) for m, c in zip(MODELS, columns, strict=True)}
