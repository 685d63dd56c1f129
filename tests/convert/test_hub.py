"""Names of the hub, fetched from a server of this machine that speaks its endpoints."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from surgrec_jax import benchmark, checkpoint, load_encoder
from surgrec_jax.convert import import_file
from surgrec_jax.convert.__main__ import main
from surgrec_jax.prediction.command import main as predict
from surgrec_jax.safety.errors import ConfigError
from tests.convert import cases
from tests.convert.cases import read_golden, save_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Repositories as {name: {file: bytes}}; what is asked is kept."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories, self.asked, self.cut = {}, [], set()


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def say(self, code, body=b"", **headers):
        self.send_response(code)
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0].strip("/")
        server.asked.append((self.command, path))
        if path.startswith("api/models/"):
            repo, _, revision = path.removeprefix("api/models/").partition("/revision/")
            if repo.endswith("gated"):
                return self.say(403, X_Error_Code="GatedRepo")
            if repo not in server.repositories:
                return self.say(404, X_Error_Code="RepoNotFound")
            if revision not in ("main", "v1", COMMIT):
                return self.say(404, X_Error_Code="RevisionNotFound")
            siblings = [{"rfilename": name} for name in server.repositories[repo]]
            body = json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
            return self.say(200, body, Content_Type="application/json")
        repo, _, rest = path.partition("/resolve/")
        commit, _, name = rest.partition("/")
        if repo not in server.repositories:
            return self.say(404)
        body = server.repositories[repo][name]
        etag = hashlib.sha256(body).hexdigest()
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": commit, "Accept_Ranges": "none"}
        if name in server.cut and self.command == "GET":
            self.close_connection = True
            return self.say(200, body[: len(body) // 2], Content_Length=str(len(body)), **headers)
        return self.say(200, body, **headers)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()


def put(hub, repo, folder):
    hub.repositories[repo] = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories[repo]["README.md"] = b"not wanted"


@pytest.fixture
def videomae(tmp_path):
    tensors, _ = read_golden("hf_videomae")
    return save_folder(tmp_path / "local", tensors, cases.VIDEOMAE)


def test_a_name_is_the_folder_and_its_commit_is_recorded(hub, videomae, tmp_path):
    put(hub, "lab/videomae-tiny", videomae)
    meta = import_file("hf://lab/videomae-tiny@v1", tmp_path / "by_name")
    import_file(videomae, tmp_path / "by_folder")
    assert meta["import"]["hub"] == {
        "repository": "lab/videomae-tiny", "revision": "v1", "commit": COMMIT, "file": None,
    }  # fmt: skip
    assert meta["name"] == "videomae-tiny"
    one, other = load_encoder(tmp_path / "by_name"), load_encoder(tmp_path / "by_folder")
    assert one.fingerprint == other.fingerprint
    assert np.isfinite(one.fps) and not any("README" in path for _, path in hub.asked)
    files = [path for command, path in hub.asked if "/resolve/" in path and command == "GET"]
    assert files and all(f"/resolve/{COMMIT}/" in path for path in files)
    # A second time the files are there.
    hub.asked.clear()
    import_file("hf://lab/videomae-tiny@v1", tmp_path / "again")
    assert not [path for command, path in hub.asked if command == "GET" and "/resolve/" in path]


@pytest.mark.parametrize(
    "name, said",
    [
        ("hf://lab/unknown", "no such repository, or it needs a token"),
        ("hf://lab/gated", "agreed to its terms.*HF_TOKEN"),
        ("hf://lab/tiny@v9", "no revision 'v9'"),
        ("hf://lab/tiny:model.pth", r"has no model.pth; give :FILE \(weights there: model"),
        ("hf://tiny", "give hf://OWNER/NAME"),
        ("hf://lab/../../x", "give hf://OWNER/NAME"),
        ("hf://lab/tiny:../x.pth", "give hf://OWNER/NAME"),
    ],
)
def test_a_name_that_cannot_be_used_is_one_sentence(hub, videomae, tmp_path, capsys, name, said):
    put(hub, "lab/tiny", videomae)
    assert main(["import", name, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told and not (tmp_path / "out").exists()
    assert re.search(said, told), told


def test_one_file_of_a_repository_that_is_no_folder(hub, videomae, tmp_path):
    stored = {f"small/{path.name}": path.read_bytes() for path in videomae.iterdir()}
    stored["small/weights.safetensors"] = stored.pop("small/model.safetensors")
    hub.repositories["lab/many"] = stored
    meta = import_file("hf://lab/many:small/weights.safetensors", tmp_path / "out")
    assert meta["import"]["hub"]["file"] == "small/weights.safetensors"


@pytest.mark.parametrize("path", ["hf://lab/tiny", Path("hf://lab/tiny")])
def test_a_name_where_a_workdir_is_wanted_says_how(path):
    with pytest.raises(ConfigError, match="convert import hf://lab/tiny --out"):
        load_encoder(path)


def test_a_name_where_a_checkpoint_is_compared_is_imported_once(
    hub, videomae, tmp_path, monkeypatch
):
    monkeypatch.setenv("SURGREC_CACHE", str(tmp_path / "imported"))
    put(hub, "lab/tiny", videomae)
    one, other = benchmark.candidates("hf://lab/tiny@v1,B=hf://lab/tiny")
    assert [one.name, other.name] == [f"lab--tiny@{COMMIT}", "B"]
    assert one.checkpoint == other.checkpoint == str(tmp_path / "imported" / one.name)
    assert one.encoder.meta["import"]["hub"]["commit"] == COMMIT
    import_file(videomae, tmp_path / "by_folder")
    assert one.encoder.fingerprint == load_encoder(tmp_path / "by_folder").fingerprint
    # A commit that is there is not asked for, and a command that takes a workdir finds it.
    hub.asked.clear()
    assert predict([f"--checkpoint=hf://lab/tiny@{COMMIT}", "gone.mp4", "--out=unused"]) == 1
    assert not hub.asked


def test_a_name_whose_import_needs_options_says_the_command(
    hub, videomae, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SURGREC_CACHE", str(tmp_path / "imported"))
    tensors, _ = read_golden("videomae")
    repository = save_folder(tmp_path / "pth", tensors, {})
    (repository / "config.json").unlink()
    put(hub, "lab/pth", repository)
    assert predict(["--checkpoint=hf://lab/pth", "gone.mp4", "--out=unused"]) == 1
    told = capsys.readouterr().err
    assert "cannot be imported without being asked" in told and "give --" in told
    assert "python -m surgrec_jax.convert import hf://lab/pth --out WORKDIR" in told
    assert not checkpoint.steps_in(tmp_path / "imported" / f"lab--pth@{COMMIT}" / "checkpoints")
    with pytest.raises(ConfigError, match="gs:// is not a folder of this machine"):
        benchmark.candidates("gs://bucket/run")


def test_a_download_that_is_cut_off_goes_on(hub, videomae, tmp_path, capsys):
    put(hub, "lab/tiny", videomae)
    hub.cut.add("model.safetensors")
    command = ["import", "hf://lab/tiny", "--out", str(tmp_path / "out")]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "could not be fetched" in told and "the same command goes on" in told
    assert not (tmp_path / "out").exists()
    hub.cut.clear()
    assert main(command) == 0
    assert checkpoint.find(tmp_path / "out").step == 0


def test_a_server_that_is_not_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["import", "hf://lab/tiny", "--out", str(tmp_path / "out")]) == 1
    assert "could not be fetched" in capsys.readouterr().err
