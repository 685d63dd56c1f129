"""One case in two spellings would be two, and stand in two splits."""

import unicodedata

import pytest

from data_builders.video_folder.cases import check_spellings, spelling
from data_builders.video_folder.table import read_table
from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig
from surgrec_jax.records.errors import BuildError

DECOMPOSED = unicodedata.normalize("NFD", "Müller")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", DECOMPOSED),
        ("12", "12.0"),
        ("12", "012,0"),
        ("P01", "p 1"),
        ("P_01", "P-1"),
        ("P01", "P01\u200b"),
        ("P01", "\uff3001"),
        ("7", '="007"'),
        ("'7", "7"),
    ],
)
def test_spellings_of_one_case(tmp_path, one, other):
    assert spelling(one) == spelling(other)
    path = tmp_path / "t.tsv"
    cell = other.replace('"', '""')
    path.write_text(f'path\tcase_id\na.mp4\t{one}\nb.mp4\t"{cell}"\n')
    with pytest.raises(BuildError, match=r"t.tsv:3: case_id is .* before: one case or two\?"):
        read_table(path, ["a.mp4", "b.mp4"])


@pytest.mark.parametrize(
    ("one", "other"), [("1-12", "11-2"), ("P1", "P11"), ("a/1", "a1"), ("1.5", "15"), ("0", "00x")]
)
def test_two_cases(one, other):
    check_spellings([one, other])


def test_numbers_of_thousands_of_digits_are_names():
    assert spelling("0" * 9999 + "1" * 9999) == "1" * 9999


def test_cases_told_by_names_of_folders():
    with pytest.raises(BuildError, match=r"cases 'P01' and 'p1' differ in their spelling alone"):
        check_spellings(["P01", "P02", "P01", "p1"])
    with pytest.raises(BuildError, match=r"'M\\xfcller' and 'Mu\\u0308ller' differ"):
        check_spellings(["Müller", DECOMPOSED])


def test_two_videos_whose_names_differ_in_encoding_alone(tmp_path):
    (tmp_path / "t.csv").write_text("path,phase\nMüller.mp4,a\n")
    with pytest.raises(BuildError, match="two videos are called M"):
        read_table(tmp_path / "t.csv", ["Müller.mp4", f"{DECOMPOSED}.mp4"])


def listed(tmp_path, names, labels=None, **options):
    """A builder that has listed videos of these names; none of them is opened."""
    for name in names:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    if labels:
        (tmp_path / "cases.csv").write_text(labels)
        options["labels"] = str(tmp_path / "cases.csv")
    config = VideoFolderConfig(**options)
    builder = Builder(config=config, data_dir=tmp_path / "data", manual_dir=tmp_path / "in")
    builder.list_videos(tmp_path / "in")
    return builder


def test_folders_of_one_case(tmp_path):
    names = ["Müller/a.mp4", f"{DECOMPOSED}/b.mp4", "P2/c.mp4"]
    with pytest.raises(BuildError, match="differ in their spelling alone"):
        listed(tmp_path, names, case_from="folder")
    listed(tmp_path, names, case_from="folder", split=(1.0, 0.0, 0.0))
    listed(tmp_path, names, case_from="folder", join="none")


def test_videos_whose_case_a_table_leaves_out_are_noted(tmp_path):
    names = ["a.mp4", "b.mp4", "c.mp4"]
    (note,) = listed(tmp_path, names, "path,case_id\na.mp4,P1\nb.mp4,P1\n").remarks
    assert (
        note.startswith("1 video(s) have no case_id in --labels") and "(the first: c.mp4)" in note
    )
