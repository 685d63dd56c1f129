"""Vision-language baselines: strict parsing, hostile answers, a real HTTP server, saved answers."""

import base64
import dataclasses
import http.server
import json
import threading

import cv2
import numpy as np
import pytest

from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.evaluation.vlm import answers, column
from surgrec_jax.evaluation.vlm import endpoint as vlm
from tests.evaluation.arrays import TASK, made_task

ONE = vlm.question("phase", ("CalotTriangle", "clip_cut", "packing"), False, 0, 4)
MANY = vlm.question("instruments", ("hook", "clip", "bag"), True, 2, 4)  # reversed order
SETTINGS = Settings(heads=("ridge",), seeds=2, resamples=100)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2", (1,)),
        (" (3). ", (2,)),
        ("**1**", (0,)),
        ("1. Calot Triangle", (0,)),
        ("2) clip cut.", (1,)),
        ("2. packing", None),  # number and name disagree
        ("0", None),
        ("4", None),
        ("1, 2", None),
        ("packing", None),
        ("The answer is 2", None),
        ("2" * 500, None),
        ("", None),
        ("²", None),
        ("-1", None),
    ],
)
def test_answers_to_one_class_are_parsed_strictly(answer, expected):
    assert vlm.parse(ONE, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("1, 3", (2, 0)), ("0", ()), ("2", (1,)), ("1,1", None), ("0, 1", None), ("none", None)],
)
def test_answers_to_several_classes_are_parsed_strictly(answer, expected):
    assert vlm.parse(MANY, answer) == expected


def test_phrasings_differ_and_name_every_option():
    texts = [vlm.question("phase", ("a1", "b2"), False, p, 4).text for p in range(vlm.PHRASINGS)]
    assert len(set(texts)) == vlm.PHRASINGS
    assert all("a1" in t and "b2" in t and "4 " in t for t in texts)
    assert "1. Calot Triangle" in ONE.text and "2. clip cut" in ONE.text


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as `server.reply` says: a function of (question text, pictures) -> (code, bytes)."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        content = body["messages"][0]["content"]
        pictures = [
            base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
            for part in content
            if part["type"] == "image_url"
        ]
        code, reply = self.server.reply(content[-1]["text"], pictures)
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen = []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    made.address = f"http://127.0.0.1:{made.server_port}/v1"
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def says(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def endpoint(server, **options):
    options = {"attempts": 3, "pause_s": 0.01, "timeout_s": 5, **options}
    return vlm.Endpoint(server.address, "m", "secret", **options)


def test_the_client_sends_pictures_and_key_and_survives_busy_servers(server):
    codes = iter([(503, b"busy"), (429, b"slow"), (200, says("3"))])
    server.reply = lambda text, pictures: next(codes)
    assert endpoint(server).ask("which?", [b"one", b"two"]) == "3"
    path, key, body = server.seen[-1]
    assert (path, key, len(server.seen)) == ("/v1/chat/completions", "Bearer secret", 3)
    assert body["model"] == "m" and body["temperature"] == 0
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url"] * 2 + ["text"]
    assert "secret" not in repr(endpoint(server))


@pytest.mark.parametrize(
    ("code", "reply", "error"),
    [
        (400, b"no such model", "HTTP 400: b'no such model'"),
        (500, b"x", "HTTP 500"),
        (200, b"<html>", "OpenAI format"),
        (200, b'{"choices": []}', "OpenAI format"),
        (200, says(["a", "list"]), "with a list"),
        (200, b"x" * (vlm.MAX_RESPONSE + 1), "more than 1048576 bytes"),
        (302, b"", "HTTP 302"),
    ],
)
def test_bad_endpoints_are_named(server, code, reply, error):
    server.reply = lambda text, pictures: (code, reply)
    with pytest.raises(vlm.EndpointError, match=error):
        endpoint(server).ask("which?", [])
    assert len(server.seen) == (3 if code == 500 else 1)


def test_long_answers_are_cut_and_refusals_are_empty(server):
    server.reply = lambda text, pictures: (200, says("1" * 10_000))
    assert len(endpoint(server).ask("?", [])) == vlm.MAX_ANSWER + 1
    server.reply = lambda text, pictures: (200, says(None))
    assert endpoint(server).ask("?", []) == ""
    with pytest.raises(ValueError, match="not an http"):
        vlm.Endpoint("file:///etc/passwd", "m")


class Stored:
    """A source whose pictures carry their record's number as brightness."""

    def record(self, index):
        _, data = cv2.imencode(".jpg", np.full((40, 60, 3), index * 3, np.uint8))
        times = np.arange(8, dtype=np.float32) + 4 * (index % 12) - 4
        return type("Record", (), {"times": times, "frames": [data.tobytes()] * 8})()


def asker(folder, server=None, *, settings=SETTINGS, clip=(8, 32, 4.0), **options):
    reached = None if server is None else endpoint(server)
    return column.Asker("VLM", settings, clip, reached, folder, **options)


def ask(one, labelled):
    return one.ask(labelled, {"test": Stored()})


def test_a_model_that_sees_the_record_is_scored_and_goes_on_where_it_stopped(server, tmp_path):
    labelled, found = made_task()
    truth = found["test"].labels["phase"]
    stop = [5]

    def reply(text, pictures):
        if not stop[0]:
            return 400, b"quota"
        stop[0] -= 1
        record = round(cv2.imdecode(np.frombuffer(pictures[0], np.uint8), 1).mean() / 3)
        name = ("a", "b", "c")[truth[record]]
        number = next(s for s in text.splitlines() if s.endswith(f". {name}")).split(".")[0]
        return 200, says("perhaps " + number if record % 12 == 0 and "Task" in text else number)

    server.reply = reply
    one = asker(tmp_path, server, frames=2, phrasings=2)
    with pytest.raises(vlm.EndpointError, match="quota"):
        ask(one, labelled)
    (path,) = tmp_path.glob("made--phase.jsonl")
    assert len(answers.read(path)[0]) == 5
    with open(path, "a") as file:
        file.write('{"unit": "half a li')  # killed while it wrote
    stop[0], server.seen = 10_000, []
    cell = ask(one, labelled)
    assert len(server.seen) == 2 * 72 - 5
    assert len(server.seen[0][2]["messages"][0]["content"]) == 3  # two pictures and the question
    facts = cell.extra["vlm"]
    assert facts["unparseable"] == [0.0, pytest.approx(6 / 72)]
    assert facts["examples"][0].startswith("perhaps") and facts["missing"] == 0
    entry = cell.heads["ridge"]
    assert entry["seeds"][0] == 1.0 and entry["seeds"][1] < 1.0
    assert entry["metrics"]["top1"] == pytest.approx((1 + 66 / 72) / 2)
    ask(one, labelled)
    assert len(server.seen) == 2 * 72 - 5  # nothing is asked twice


def test_answers_of_another_model_or_about_other_pictures_are_not_taken(server, tmp_path):
    labelled, _ = made_task()
    server.reply = lambda text, pictures: (200, says("1"))
    about = {"frames": 1, "phrasings": 1, "max_units": 6}
    ask(asker(tmp_path, server, **about), labelled)
    ask(asker(tmp_path, **about), labelled)  # the folder alone
    assert len(server.seen) == 6
    other = dataclasses.replace(
        asker(tmp_path, **about), endpoint=vlm.Endpoint(server.address, "another")
    )
    with pytest.raises(ValueError, match='"model": "m".*asked is {"model": "another".*folder'):
        ask(other, labelled)
    for reached in (server, None):
        with pytest.raises(ValueError, match='"frames": 1.*"frames": 2'):
            ask(asker(tmp_path, reached, **about | {"frames": 2}), labelled)
    (path,) = tmp_path.glob("made--phase.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match="about what it does not say"):
        ask(asker(tmp_path, server, **about), labelled)
    ask(asker(tmp_path, **about), labelled)
    assert len(server.seen) == 6


def test_answers_hold_for_the_clips_that_their_pictures_depend_on(server, tmp_path):
    server.reply = lambda text, pictures: (200, says("1"))
    about = {"frames": 1, "phrasings": 1, "max_units": 2}
    skill = Task("skill", "made", "skill", unit="video", ordered=True)
    more = dataclasses.replace(SETTINGS, clips_per_record=3)
    for task, refuses in ((TASK, False), (skill, True)):
        labelled, _ = made_task(task)
        server.seen = []
        ask(asker(tmp_path, server, **about), labelled)
        ask(asker(tmp_path, server, clip=(8, 64, 4.0), **about), labelled)  # the encoder's side
        with pytest.raises(ValueError, match=r'"clip": \[8, 2.0\].*another folder'):
            ask(asker(tmp_path, server, clip=(8, 32, 2.0), **about), labelled)
        other = asker(tmp_path, server, settings=more, **about)  # other centres in a video
        if refuses:
            with pytest.raises(ValueError, match='"clips_per_record": 2.*"clips_per_record": 3'):
                ask(other, labelled)
        else:
            ask(other, labelled)
        assert len(server.seen) == 2


def test_saved_answers_alone_are_enough_and_gaps_are_counted(tmp_path):
    task = Task("tools", "made", "tool_*", "mean_average_precision", kind="instruments")
    labelled, found = made_task(task)
    one = asker(tmp_path, phrasings=1)
    with pytest.raises(ValueError, match="holds no answer about the 72 test units"):
        ask(one, labelled)
    (listed,) = tmp_path.glob("*.units.jsonl")
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    assert "1. x" in rows[0]["questions"][0] and len(rows) == 73
    labels = np.stack([found["test"].labels[t] for t in ("tool_x", "tool_y")], 1)
    path = tmp_path / "made--tools.jsonl"
    for row, label in zip(rows[1:-1], labels, strict=False):  # the last one is not answered
        said = ", ".join(str(k + 1) for k in np.flatnonzero(label)) or "0"
        answers.append(path, row["unit"], 0, said)
    before = one.column.facts["key"]
    cell = ask(one, labelled)
    assert cell.extra["vlm"]["missing"] == 1
    assert cell.heads["ridge"]["mean"] > 0.9
    answers.append(path, rows[-1]["unit"], 0, "<script>alert(1)</script>")
    assert one.column.facts["key"] != before  # other answers are another cell
    assert ask(one, labelled).extra["vlm"]["unparseable"] == [pytest.approx(1 / 72)]


def test_a_limited_number_of_units_covers_all_cases(tmp_path):
    labelled, _ = made_task()
    some = column._some_units(labelled, 9)
    assert len(some.test.rows) == 9 and len(set(some.test.case_id)) == 6
    video = made_task(Task("skill", "made", "skill", unit="video", ordered=True))[0]
    assert len(set(column._some_units(video, 4).test.video_id)) == 4


def test_broken_answer_files_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"unit": "x", "phrasing": "0", "answer": "1"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl:1 is not .*phrasing a number"):
        answers.read(path)
    assert answers.path_of(tmp_path, "../../etc", "x/y").parent == tmp_path
