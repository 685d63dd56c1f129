"""Vision-language models as baselines: questions in several phrasings, strict answers, a client.

Answers come from outside and are not trusted: their size is bounded before they are parsed, nothing
of them is evaluated, and whoever shows them escapes them.
"""

import base64
import dataclasses
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence

from surgrec_jax.safety.errors import ConfigError, UserError

MAX_RESPONSE = 1 << 20  # bytes of an HTTP response that are read
MAX_ANSWER = 400  # characters of an answer that are kept; a longer one is no number
_ASKS = {
    "phase": "which phase of the operation do they show",
    "step": "which step of the operation do they show",
    "gesture": "which gesture of the hands or instruments do they show",
    "action": "which surgical action do they show",
    "instruments": "which of these instruments can be seen in them",
    "triplets": "which of these actions are being done in them",
    "finding": "which finding do they show",
    "polyp": "do they show a polyp",
    "skill": "how skilled is the operator",
    "event": "which event do they show",
    "domain": "which kind of procedure are they from",
    "other": "which of these classes do they belong to",
}
_ONE = "Answer with the number of exactly one option, and nothing else."
_SEVERAL = (
    "Answer with the numbers of all options that apply, separated by commas, or with 0 if none "
    "does, and nothing else."
)
# Phrasings differ in words and in the order of the options: (template, options reversed).
_PHRASINGS = (
    (
        "These are {n} frames of a surgical video, in order of time: {asks}?\n{options}\n{how}",
        False,
    ),
    ("Task: look at the {n} pictures from an operation and say {asks}.\n{how}\n{options}", False),
    ("{options}\n\nAbove are options. Considering the {n} video frames, {asks}? {how}", True),
    (
        "You are an experienced surgeon who watches {n} frames of a video. {asks}?\n{options}\n"
        "{how}",
        True,
    ),
)
PHRASINGS = len(_PHRASINGS)


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about one clip: its text, and the class of each numbered option."""

    text: str
    options: tuple[int, ...]
    several: bool


def question(
    kind: str, classes: Sequence[str], several: bool, phrasing: int, frames: int
) -> Question:
    """A phrasing of what a task asks.

    Args:
        kind: of the task.
        classes: their names, in class order.
        several: any number of classes may apply.
        phrasing: 0..PHRASINGS-1.
        frames: number of pictures.
    """
    template, reverse = _PHRASINGS[phrasing]
    order = tuple(range(len(classes)))[:: -1 if reverse else 1]
    words = [f"{n}. {_words(classes[k])}" for n, k in enumerate(order, 1)]
    text = template.format(
        n=frames, asks=_ASKS[kind], options="\n".join(words), how=_SEVERAL if several else _ONE
    )
    return Question(text[0].upper() + text[1:], order, several)


def _words(name: str) -> str:
    """A class name as words: CalotTriangleDissection, anastomosis_test -> spaced."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
    return " ".join(spaced.split())


def parse(question: Question, answer: str) -> tuple[int, ...] | None:
    """Classes that an answer names, None where it is not exactly what was asked for.

    One number (a full stop, brackets or quotes around it are let pass), or several with commas
    where several may apply; 0 alone for none of them. "3. name of option 3" is let pass too.
    Anything else, also a correct name among other words, is no answer.
    """
    text = answer.strip()
    if len(text) > MAX_ANSWER:
        return None
    text = text.strip("\"'`*()[] \n\t").removesuffix(".").strip("\"'`*()[] ")
    count = len(question.options)
    if not question.several:
        named = re.fullmatch(r"(\d{1,4})[.):]?\s+(\S.*)", text, re.ASCII)
        if named and 1 <= int(named[1]) <= count:
            line = next(s for s in question.text.splitlines() if s.startswith(f"{int(named[1])}. "))
            text = named[2].strip().casefold()
            if text != line.split(". ", 1)[1].casefold():
                return None
            text = named[1]
    if not re.fullmatch(r"\d{1,4}(\s*,\s*\d{1,4})*", text, re.ASCII):
        return None
    numbers = [int(part) for part in text.split(",")]
    if question.several and numbers == [0]:
        return ()
    if any(not 1 <= n <= count for n in numbers) or len(set(numbers)) < len(numbers):
        return None
    if not question.several and len(numbers) != 1:
        return None
    return tuple(question.options[n - 1] for n in numbers)


class EndpointError(UserError, OSError):
    """An endpoint does not answer, or not in the format; the message names it and the reason."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry pictures and key to an address that nobody chose."""

    def redirect_request(self, *args):
        return None


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible chat endpoint.

    Attributes:
        address: up to and including the version, e.g. "http://localhost:8000/v1".
        model: its name there.
        key: sent as bearer token; "" = none.
        timeout_s: of a request.
        attempts: for answers 429, 5xx and lost connections.
    """

    address: str
    model: str
    key: str = dataclasses.field(default="", repr=False)
    timeout_s: float = 60.0
    attempts: int = 4
    pause_s: float = 1.0

    def __post_init__(self):
        parts = urllib.parse.urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"endpoint {self.address!r} is not an http or https address")

    def ask(self, text: str, pictures: Sequence[bytes]) -> str:
        """The model's answer to a question about JPEG pictures, cut to MAX_ANSWER + 1 characters.

        Raises:
            EndpointError: no answer after all attempts, or one in another format.
        """
        urls = ("data:image/jpeg;base64," + base64.b64encode(p).decode() for p in pictures)
        content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        content.append({"type": "text", "text": text})
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": 64,
        }
        reply = self._post(json.dumps(body).encode())
        try:
            answer = json.loads(reply)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EndpointError(
                f"{self.address} does not answer in the OpenAI format: {error!r} in {reply[:200]!r}"
            ) from error
        if answer is None:  # a refusal
            return ""
        if not isinstance(answer, str):
            raise EndpointError(f"{self.address} answers with a {type(answer).__name__}, not text")
        return answer[: MAX_ANSWER + 1]

    def _post(self, body: bytes) -> bytes:
        address = self.address.rstrip("/") + "/chat/completions"
        headers = {"Content-Type": "application/json", "User-Agent": "surgrec_jax"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        opener = urllib.request.build_opener(_NoRedirect)
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause_s * 2 ** (attempt - 1))
            try:
                request = urllib.request.Request(address, body, headers)
                with opener.open(request, timeout=self.timeout_s) as response:
                    reply = response.read(MAX_RESPONSE + 1)
                if len(reply) > MAX_RESPONSE:
                    raise EndpointError(f"{address} answers with more than {MAX_RESPONSE} bytes")
                return reply
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code}: {error.read(300)!r}"
                if error.code != 429 and error.code < 500:
                    break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
                reason = str(getattr(error, "reason", error))
            except ConnectionError as error:
                reason = str(error)
        raise EndpointError(f"{address} does not answer: {reason}")
