"""A video that crashes, stalls or bloats what reads it costs itself, and the build goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data_builders.contract import read_back
from tests.data_builders.fake_video import write_video

REPOSITORY = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, os, signal, sys, time
from data_builders.common.build import decode_process
from data_builders.common.build.build import build
from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig

decode_process.OPEN_S = decode_process.STALL_S = 3.0  # in the workers too, which import this file

open_as_usual = Builder.open_video

def open_video(builder, item, scratch):
    if "crash" in item.video_id:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "bloat" in item.video_id:
        return bytearray(3 * 2**30)
    if "stall" in item.video_id:
        time.sleep(100)
    return open_as_usual(builder, item, scratch)

Builder.open_video = open_video

if __name__ == "__main__":
    config = VideoFolderConfig(split=(1.0, 0.0, 0.0))
    summary = build(Builder, data_dir=sys.argv[1], manual_dir=sys.argv[2], config=config,
                    num_workers=2, progress=False)
    print(json.dumps([str(summary.directory), summary.skipped, summary.partial]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_odd_videos_are_named_and_the_others_are_built(tmp_path):
    for name in ("a_good", "b_crash", "c_bloat", "d_stall", "e_good"):
        write_video(tmp_path / "in" / f"{name}.avi", 30, fourcc="MJPG")
    script = tmp_path / "odd.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "out", tmp_path / "in"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    directory, skipped, partial = json.loads(done.stdout.splitlines()[-1])
    why = {Path(path).stem: reason for path, reason in skipped}
    assert why == {
        "b_crash": "crashes the decoder (SIGSEGV)",
        "c_bloat": "cannot be processed: it needs too much memory",
        "d_stall": "stalls the decoder: no frame came for 3 s",
    }
    assert not partial
    assert {v.split("/")[-1] for v in read_back(Path(directory))["train"]} == {
        "a_good.avi",
        "e_good.avi",
    }
