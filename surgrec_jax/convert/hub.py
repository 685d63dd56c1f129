"""Public checkpoints by the name that everyone uses: hf://OWNER/NAME[@REVISION][:FILE].

The revision is resolved to a commit first, which the import records; files are fetched by
huggingface_hub, which keeps and resumes them, and read by the strict readers like any others.
"""

import os
import re
from pathlib import Path
from typing import Any

from surgrec_jax.convert.files import INDEX, WEIGHTS
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.convert.torch_file import SUFFIXES

SCHEME = "hf://"
COMMIT = r"[0-9a-f]{40}"
_NAME = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[\w./-]+))?"
)
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# Small files that say what the weights leave unsaid.
_BESIDE = ("config.json", "preprocessor_config.json", "video_preprocessor_config.json", INDEX)
_EXTRA = "pip install huggingface_hub, which names of the hub need"


def parse(name: str) -> tuple[str, str, str | None]:
    """The repository, revision ("main" where none is given) and file of a name.

    Raises:
        ConvertError: it is no name of the hub.
    """
    match = _NAME.fullmatch(name)
    if not match or ".." in (match["file"] or "").split("/"):
        raise ConvertError(f"{name}: give hf://OWNER/NAME, with @REVISION and :FILE where needed")
    return match["repo"], match["revision"] or "main", match["file"]


def fetch(name: str) -> tuple[Path, dict[str, Any]]:
    """Fetches a checkpoint of the hub, where it is not there already.

    Args:
        name: hf://OWNER/NAME, with @REVISION (a branch, tag or commit; main) and :FILE (one .pth or
            .safetensors of a repository that is no transformers folder).

    Returns:
        The folder or file, and "repository", "revision" (as asked), "commit" and "file".

    Raises:
        ConvertError: no such name, repository, revision or file, one that needs a token, or a
            download that failed; the same command goes on with what is there.
    """
    repo, revision, file = parse(name)
    try:
        from huggingface_hub import HfApi, errors
    except ImportError as error:
        raise ConvertError(f"{name}: {_EXTRA}") from error
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        info = api.model_info(repo, revision=revision)
        if not re.fullmatch(COMMIT, info.sha or ""):
            raise ConvertError(f"{name}: the hub gives no commit, but {info.sha!r}")
        there = [sibling.rfilename for sibling in info.siblings or ()]
        wanted = _wanted(name, there, file)
        paths = {part: api.hf_hub_download(repo, part, revision=info.sha) for part in wanted}
    except errors.GatedRepoError as error:
        raise ConvertError(
            f"{name} is given to those only who have agreed to its terms: do so on its page, and "
            "set HF_TOKEN to a token of yours"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ConvertError(
            f"{name}: there is no such repository, or it needs a token (set HF_TOKEN)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConvertError(f"{name}: {repo} has no revision {revision!r}") from error
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConvertError(
            f"{name} could not be fetched ({words}); the same command goes on with what is there"
        ) from error
    about = {"repository": repo, "revision": revision, "commit": info.sha, "file": file}
    first = Path(paths[wanted[0]])
    return (first if file else first.parent), about


def _wanted(name: str, there: list[str], file: str | None) -> list[str]:
    """The files to fetch, of those in the repository; the weights first."""
    if file is not None:
        weights = [file]
    elif WEIGHTS in there:
        weights = [WEIGHTS]
    else:
        weights = [part for part in there if _SHARD.fullmatch(part)] if INDEX in there else []
    if not weights or not set(weights) <= set(there):
        others = sorted(p for p in there if p.endswith((".safetensors", *SUFFIXES)))
        names = ", ".join(others[:8]) or "none"
        missing = file or WEIGHTS
        raise ConvertError(f"{name} has no {missing}; give :FILE (weights there: {names})")
    folder = os.path.dirname(file) if file else ""
    beside = [os.path.join(folder, part) for part in _BESIDE]
    return weights + [part for part in beside if part in there]
