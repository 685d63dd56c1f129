"""Anvil's own files (.anvil): tracks of elements with a start, an end and attributes, in seconds.

An attribute becomes a label track: named by the track when its elements have one attribute, else by
track and attribute. Elements without times of their own (secondary tracks) are counted in a note.
"""

from pathlib import Path
from xml.etree.ElementTree import Element

from data_builders.common.labels import headers
from data_builders.common.labels.entries import Entries, Entry
from data_builders.common.labels.sheets import nothing
from data_builders.common.labels.xml_files import number
from surgrec_jax.records.errors import BadInput


def read_anvil(path: Path, root: Element) -> Entries:
    """The labels of an annotation.

    Raises:
        BadInput: several videos, a track or attribute whose name is none, or bad times.
    """
    sources = [e.get("src", "") for e in root.iter("video") if e.get("src")]
    masters = [e.get("src", "") for e in root.iter("video") if e.get("master") == "true"]
    if len(sources) > 1 and len(masters) != 1:
        raise BadInput(path, f"is of {len(sources)} videos; one of them must be the master")
    video = (masters or sources or [""])[0]
    labels, untimed, columns = [], 0, {}
    for track in root.iter("track"):
        elements = track.findall("el")
        names = {a.get("name", "") for element in elements for a in element.findall("attribute")}
        for element in elements:
            if element.get("start") is None or element.get("end") is None:
                untimed += 1
                continue
            start, end = number(path, element, "start"), number(path, element, "end")
            if end < start:
                raise BadInput(path, f"an element from {start:g} s to {end:g} s is negative")
            for attribute in element.findall("attribute"):
                column = _column(path, track, attribute, len(names) > 1)
                columns.setdefault(column)
                value = " ".join((attribute.text or "").split())
                if not nothing(value):
                    labels.append(Entry(0, video, column, value, start, end))
    notes = (f"{untimed} elements have no times of their own and label nothing",) if untimed else ()
    return Entries(labels, columns=tuple(columns), notes=notes, exported=True)


def _column(path: Path, track: Element, attribute: Element, several: bool) -> str:
    name = track.get("name", "")
    if several:
        name += f"_{attribute.get('name', '')}"
    return headers.track_name(path, "track", name)
