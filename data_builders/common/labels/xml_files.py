"""XML files of others, read within bounds: no document type, no entities, a bounded size."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from data_builders.common.labels.tables import read_bytes
from surgrec_jax.records.errors import BadInput

MAX_BYTES = 128 * 2**20
MAX_TAGS = 4_000_000  # an element of a few bytes takes a hundred in memory


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    Raises:
        BadInput: missing, too large, no XML, or with a document type or entities.
    """
    data = read_bytes(path)
    if len(data) > MAX_BYTES or data.count(b"<") > MAX_TAGS:
        raise BadInput(path, f"is larger than {MAX_BYTES} bytes or {MAX_TAGS} tags")
    try:
        return defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except defusedxml.DefusedXmlException as error:
        raise BadInput(path, "holds a document type or entities, which are not read") from error
    except ParseError as error:
        raise BadInput(
            path, f"is not XML that can be read: {error.msg}", error.position[0]
        ) from error
    except (ValueError, LookupError) as error:  # an encoding that is not known
        raise BadInput(path, f"is not XML that can be read: {error}") from error


def looks_like_xml(data: bytes) -> bool:
    """Whether a file begins as XML does, in UTF-8 or UTF-16."""
    start = data[:200].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return start.startswith(b"<")


def number(path: Path, element: Element, name: str) -> float:
    """An attribute as a finite number of 0 or more.

    Raises:
        BadInput: it is missing or no such number.
    """
    text = element.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise BadInput(path, f"<{element.tag}> has {name} {text!r}: not a number of 0 or more")
    return value
