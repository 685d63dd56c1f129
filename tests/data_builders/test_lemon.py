"""LEMON: labels of YouTube videos in one JSON; ids that differ by case, a video uploaded twice."""

import json

import pytest

from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

ENTRIES = [
    {"youtubeId": "-bCdEfGhIj_", "procedureName": ["colectomy"], "robotic": True, "md5": "a"},
    {"youtubeId": "-bCdEfGhIJ_", "procedureName": ["colectomy", "hartmanns"], "robotic": False},
    {"youtubeId": "twice000001", "procedureName": ["cecectomy"], "robotic": False, "md5": "b"},
    {"youtubeId": "twice000002", "procedureName": ["cecectomy"], "robotic": False, "md5": "b"},
    {"youtubeId": "removed0001", "procedureName": ["cecectomy"], "robotic": False, "md5": "c"},
]
ENTRIES[0]["informative"] = True


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "lemon"
    for k, entry in enumerate(ENTRIES[:4]):
        write_video(root / "videos" / f"{entry['youtubeId']}.mp4", 8 + k, size=(96, 72))
    (root / "labels.json").write_text(json.dumps(ENTRIES))
    return root


def test_every_video_has_its_procedures(download, tmp_path):
    summary, splits = build_all("lemon", download, tmp_path)
    assert not summary.partial
    videos = together(splits)
    assert len(videos) == 3 and set(dealt(splits).values()) == {"train"}
    for k, entry in enumerate(ENTRIES[:3]):
        video = videos[entry["youtubeId"]]
        assert video.numbers == list(range(8 + k))
        labels = dict(video.video_labels)
        assert labels.pop("robotic") == ("yes" if entry["robotic"] else "no")
        assert labels.pop("informative") == ("yes" if k == 0 else None)
        present = [name for name, value in labels.items() if value == "present"]
        assert present == [f"procedure_{name}" for name in sorted(entry["procedureName"])]
        assert len(labels) == 35 and set(labels.values()) == {"present", "absent"}
        assert video.fields["domain"] == ("robotic" if entry["robotic"] else "laparoscopy")
        assert video.fields["case_id"] == entry["youtubeId"]
    ((path, reason),) = skipped(summary, download).items()
    assert path == "videos/twice000002.mp4" and "md5 of twice000001" in reason


def test_faults_are_listed(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    entries = [dict(entry) for entry in ENTRIES[:3]]
    entries[0]["procedureName"] = ["colektomy"]
    entries[2]["robotic"] = "perhaps"
    entries.append(dict(entries[1], youtubeId="_otherEntry"))
    write_video(root / "videos" / "_otherEntry.mp4", 5, size=(96, 72))
    (root / "videos" / "my video.mp4").write_bytes(b"")
    (root / "labels.json").write_text(json.dumps(entries))
    summary, splits = build_all("lemon", root, tmp_path / "out")
    assert sorted(together(splits)) == ["-bCdEfGhIJ_", "_otherEntry"]
    found = skipped(summary, root)
    assert "procedureName is ['colektomy']" in found["videos/-bCdEfGhIj_.mp4"]
    assert "not true or false" in found["videos/twice000001.mp4"]
    assert "has 0 entries" in found["videos/twice000002.mp4"]
    assert "does not parse" in found["videos/my video.mp4"]
    assert len(found) == 4


@pytest.mark.parametrize("text", ["[{", "{}", "[1]", "[{}]"])
def test_a_broken_list_stops_the_build(download, tmp_path, text):
    root = copy_of(download, tmp_path / "in")
    (root / "labels.json").write_text(text)
    with pytest.raises(BuildError, match=r"labels\.json.*download it anew"):
        build_all("lemon", root, tmp_path / "out")
