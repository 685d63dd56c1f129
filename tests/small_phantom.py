"""A phantom corpus small enough to be rendered within a test."""

from data_builders.phantom_surgery.corpus import CorpusSpec
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import PhantomConfig
from surgrec_jax.records.schema import RecordSpec


def small_phantom(minutes: float) -> PhantomConfig:
    """Six patients of every domain, a video each, 32 pixels high."""
    return PhantomConfig(
        name="small",
        version="2.0.0",
        description="for tests",
        record=RecordSpec(frames=32, fps=4.0, short_side=32, jpeg_quality=90),
        corpus=CorpusSpec(
            seed=3,
            patients=(6, 6, 6, 6),
            minutes=minutes,
            videos_per_patient=(1, 1, 1, 1),
            short_sides=(32,),
            rates=(4.0,),
        ),
    )
