"""Finds the stored clips that are nearest to a moment of a video: cases, leaks, near-duplicates.

    python -m surgrec_jax.search VIDEO --at 120 --embeddings runs/mae/curation/embeddings

The index is the embeddings that `python -m surgrec_jax.curation` makes of prepared sources, with
the same checkpoint; --to makes the moment a span. The page has a contact sheet of every record
that was found.
"""

import argparse
import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from data_builders.common.commands import settings
from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import ReadReport
from surgrec_jax.curation.rows import fit_space
from surgrec_jax.curation.shards import Embeddings
from surgrec_jax.curation.sheets import contact_sheet
from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.evaluation.report.page import card, page, pairs
from surgrec_jax.evaluation.report.svg import escape
from surgrec_jax.frozen.encoder import Encoder, load_encoder
from surgrec_jax.next_commands import look_at, say
from surgrec_jax.prediction.answers import answer_moments
from surgrec_jax.prediction.frames import moments, pictures_of, storing_of
from surgrec_jax.prediction.page import clock
from surgrec_jax.records.names import parse_sources
from surgrec_jax.records.source import Source, open_source
from surgrec_jax.safety import files, paths, untrusted
from surgrec_jax.safety.errors import ConfigError, DataError, run_command
from surgrec_jax.safety.terminal import command_parser

SHEET_HEIGHT = 150
SPACE_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Query:
    """A moment of a video: its mean feature, float32 [D], and up to five JPEG files of it."""

    feature: np.ndarray
    thumbnails: list[bytes]


@dataclasses.dataclass(frozen=True)
class Hit:
    """A record that was found: its row among the embeddings, and the cosine with the query."""

    row: int
    cosine: float


def main(argv: Sequence[str] | None = None) -> int:
    """Searches; a user's mistake ends in one sentence and exit code 1."""
    args = _parser().parse_args(argv)
    return run_command("search", lambda: run(args))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("surgrec_jax.search", __doc__)
    add = parser.add_argument
    add("video", type=Path, help="a file, or a folder of pictures")
    add("--at", type=float, required=True, metavar="SECONDS", help="the moment")
    add("--to", type=float, metavar="SECONDS", help="its end, for a span")
    add("--embeddings", type=Path, required=True, metavar="FOLDER", help="that curation has made")
    add("--checkpoint", help="of the encoder (default: the one that the embeddings name)")
    add("--data_dir", default="data", help="root of the prepared data sets")
    add("--count", type=int, default=12, help="records to show (default: 12)")
    add("--out", type=Path, default=Path("search.html"), help="the page (default: search.html)")
    settings.add_decoding(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Searches and writes the page.

    Raises:
        UserError: an argument that cannot be used, or embeddings of another encoder.
    """
    paths.check_arguments(vars(args))
    end = args.at if args.to is None else args.to
    if not 0 <= args.at <= end < np.inf or not 1 <= args.count <= 1000:
        raise ConfigError(
            f"--at={args.at:g} --to={end:g} --count={args.count}: give a span that begins at 0 or "
            "later, and 1 to 1000 records"
        )
    embeddings = Embeddings(args.embeddings)
    with untrusted.interpreting(embeddings.folder / "index.json"):
        about = embeddings.index["encoder"]
        names = [entry["name"] for entry in embeddings.index["sources"]]
        checkpoint, fingerprint = args.checkpoint or about["checkpoint"], about["fingerprint"]
        prints = [entry["fingerprint"] for entry in embeddings.index["sources"]]
    encoder = load_encoder(checkpoint)
    if encoder.fingerprint != fingerprint:
        raise DataError(
            f"{args.embeddings} is of another encoder ({about.get('name')}) than {checkpoint}; "
            "give its --checkpoint, or embed again"
        )
    sources = [_open(name, args.data_dir, was) for name, was in zip(names, prints, strict=True)]
    query = embed_span(
        args.video, encoder, args.at, end, DecodeSpec(**settings.given(args, settings.DECODING))
    )
    hits = nearest(embeddings, query.feature, args.count)
    files.write_text(
        args.out, build(args.video.name, args.at, end, query, hits, sources, embeddings)
    )
    for hit in hits[:5]:
        print(f"{hit.cosine:.3f}  {_place(hit, sources, embeddings)}")
    print(f"{len(hits)} records in {args.out}")
    say(look_at(args.out))
    return 0


def _open(name: str, data_dir: str, fingerprint: str) -> Source:
    (parsed,) = parse_sources(name)
    source = open_source(data_dir, parsed.name, parsed.config, parsed.split)
    if source.fingerprint != fingerprint:
        raise DataError(
            f"{name} in {data_dir} has been built anew since it was embedded; embed again"
        )
    return source


def embed_span(
    video: Path, encoder: Encoder, start: float, end: float, decode: DecodeSpec
) -> Query:
    """The mean feature of the clips that end within start to end seconds of a video.

    Raises:
        BadInput: the video cannot be read. DataError: it ends before the span.
    """
    storing, _ = storing_of(encoder.meta)
    clip, rate = clip_of(encoder.clip), 2.0
    # The clip of a moment ends half a clip later, so that the moment is its middle.
    pictures = pictures_of(video, clip.size, storing, ReadReport(), decode)
    asked = (
        m
        for m in moments(_until(pictures, end + clip.frames / clip.fps + 1), clip, rate, "centre")
        if start - 0.5 / rate < m.time <= end + 0.5 / rate and m.clip is not None
    )
    found = [
        (row, moment.shown.thumbnail)
        for moment, row in answer_moments(encoder.features, asked, encoder.batch_size)
    ]
    if not found:
        raise DataError(f"{video} has no picture from {start:g} to {end:g} s")
    rows, thumbnails = zip(*found, strict=True)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(5, len(rows))).astype(int))
    return Query(np.mean(rows, 0), [thumbnails[i] for i in chosen])


def _until(pictures, end: float):
    for picture in pictures:
        if picture.time > end:
            return
        yield picture


def nearest(embeddings: Embeddings, feature: np.ndarray, count: int) -> list[Hit]:
    """The records nearest to a feature [D], by the cosine after the corpus's mean is taken out.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise ConfigError("search needs scikit-learn: pip install scikit-learn") from error
    space = fit_space(embeddings, "unit", 0, SPACE_SEED)
    rows = np.asarray(space(jnp.asarray(embeddings.block(0, len(embeddings)))))
    index = NearestNeighbors(metric="cosine").fit(rows)
    apart, found = index.kneighbors(
        np.asarray(space(jnp.asarray(feature)))[None], min(count, len(rows))
    )
    return [Hit(int(row), 1 - float(far)) for far, row in zip(apart[0], found[0], strict=True)]


def _place(hit: Hit, sources: Sequence[Source], embeddings: Embeddings) -> str:
    s = int(np.searchsorted(embeddings.offsets, hit.row, side="right")) - 1
    record = sources[s].record(hit.row - int(embeddings.offsets[s]))
    first, last = record.times[[0, -1]].tolist()
    return f"{sources[s].label}: {record.video_id}, {clock(first)} to {clock(last)}"


def build(
    video: str,
    start: float,
    end: float,
    query: Query,
    hits: Sequence[Hit],
    sources: Sequence[Source],
    embeddings: Embeddings,
) -> str:
    """The page of contact sheets as text."""
    asked = "".join(
        f'<figure><img src="data:image/jpeg;base64,{base64.b64encode(data).decode()}" alt="">'
        "</figure>"
        for data in query.thumbnails
    )
    title = f"Nearest to {video}, {clock(start)}" + (f" to {clock(end)}" if end > start else "")
    cards = []
    for hit in hits:
        rows = np.array([hit.row])
        sheet = contact_sheet(sources, embeddings.offsets, rows, SHEET_HEIGHT, frames=3)
        cards.append(
            f'<figure><img src="{sheet}" alt=""><figcaption><b>{hit.cosine:.3f}</b> '
            f"{escape(_place(hit, sources, embeddings))}</figcaption></figure>"
        )
    about = {
        "encoder": embeddings.index["encoder"].get("name", ""),
        "records searched": f"{len(embeddings):,}",
        "similarity": "cosine of mean features, after the mean of the corpus is taken out; where "
        "it is near 1, ask whether it is the same footage",
    }
    grid = "".join(card(text) for text in cards)
    return page(
        title,
        f'<h1>{escape(title)}</h1><div class="thumbs">{asked}</div>'
        f'<h2>Records, the nearest first</h2><div class="grid3">{grid}</div>'
        f"<h2>How</h2>{card(pairs(about))}",
    )
