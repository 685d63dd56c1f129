"""Any file of labels: tells by its content which form it has, and reads it into entries."""

from pathlib import Path

from data_builders.common.labels.entries import Entries
from data_builders.common.labels.exports_anvil import read_anvil
from data_builders.common.labels.exports_boris import is_boris, read_boris
from data_builders.common.labels.exports_cvat import read_cvat
from data_builders.common.labels.exports_elan import is_elan, read_elan
from data_builders.common.labels.exports_label_studio import read_label_studio
from data_builders.common.labels.plain_table import read_plain
from data_builders.common.labels.sheets import read_sheet_file
from data_builders.common.labels.table_columns import TableOptions
from data_builders.common.labels.xml_files import looks_like_xml, read_xml
from surgrec_jax.records.errors import BadInput

SUFFIXES = frozenset((".csv", ".tsv", ".txt", ".tab", ".xlsx", ".json", ".xml", ".anvil"))
UNREAD = frozenset((".xls", ".xlsm", ".xlsb", ".ods", ".numbers"))  # tables; never passed by


def read_labels(path: Path, options: TableOptions) -> Entries:
    """Reads a file of labels: a table, or an export of BORIS, ELAN, Label Studio, CVAT, Anvil.

    Raises:
        BadInput: names the file, the line where there is one, and what is wrong.
    """
    with open(path, "rb") as file:
        start = file.read(4096)
    if looks_like_xml(start):
        root = read_xml(path)
        readers = {"annotations": read_cvat, "annotation": read_anvil}
        if root.tag not in readers:
            raise BadInput(
                path,
                f"is XML of another form (<{root.tag}>): CVAT and Anvil are read; if it is a table "
                "that a spreadsheet opens, save it as .xlsx or CSV UTF-8",
            )
        return readers[root.tag](path, root)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{"):
        return read_label_studio(path)
    sheet = read_sheet_file(path)
    if is_boris(sheet):
        return read_boris(sheet)
    if is_elan(sheet):
        return read_elan(sheet)
    return read_plain(sheet, options)
