"""Reading that all kinds of files share: numbers that stay exact, and JSON of bounded size."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import UserError


def floats(value: np.ndarray, where: str) -> np.ndarray:
    """A tensor in float32, exactly; integers and booleans as they are.

    Args:
        where: file and key, for the error.

    Raises:
        ConvertError: a dtype that float32 does not hold.
    """
    if value.dtype in (np.float16, ml_dtypes.bfloat16):
        return value.astype(np.float32)
    if value.dtype == np.float32 or value.dtype.kind in "biu":
        return value
    raise ConvertError(
        f"{where} is {value.dtype}, which float32 does not hold exactly; convert the file first"
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None where there is no such file.

    Raises:
        ConvertError: a file that is too large, damaged, or holds no object.
    """
    if not path.exists():
        return None
    try:
        return untrusted.read_json(path)
    except (OSError, UserError) as error:
        raise ConvertError(f"{path} is no readable JSON: {error}") from error
