"""Phantom videos as files: their table of phases says what the build says of every frame."""

import numpy as np

from data_builders.common.labels.tracks import Intervals
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import read_video
from data_builders.phantom_surgery.files import main
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from data_builders.video_folder.table import read_table


def test_the_table_labels_every_frame_as_the_build_does(tmp_path, capsys):
    command = ["--config=first_tiny", "--domains", "robotic", "--out", str(tmp_path / "files")]
    assert main(command) == 0
    table = tmp_path / "files/labels.csv"
    assert capsys.readouterr().out.strip() == str(table)
    (video,) = (path for path in table.parent.iterdir() if path != table)
    builder = Builder(config="first_tiny", data_dir=tmp_path)
    (item,) = (i for i in builder.list_videos(None) if i.video_id == video.stem)
    assert item.split == "test" and item.domain == "robotic"
    wanted = builder.open_video(item, tmp_path).tracks["phase"].values
    frames = list(read_video(video, short_side=32, report=ReadReport()))
    assert len(frames) == len(wanted)
    spans = read_table(table, [video.name]).videos[video.name].intervals["phase"]
    starts, ends, names, _ = zip(*spans, strict=True)
    track = Intervals(starts, ends, [builder.tracks()["phase"].index(name) for name in names])
    times = np.array([frame.time for frame in frames])
    np.testing.assert_array_equal(track.along(times, np.arange(len(times))), wanted)
    assert main([*command, "--count=0"]) == 1
    assert "--count=0: give 1 or more" in capsys.readouterr().err
