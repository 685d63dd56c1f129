"""docs/data.md's table of containers, codecs and conditions is what the reader does.

Each file is encoded here, built into records, and its frames' own numbers are read back.
"""

from pathlib import Path

import pytest

from tests.data_builders import matrix

PAGE = Path(__file__).resolve().parents[3] / "docs" / "data.md"
COMMON = ("mp4, H.264", "mts (AVCHD), H.264", "mpg (DVD), MPEG-2", "avi, MPEG-4", "bare H.264")


def check(rows, folder):
    cells = {(row, condition): what for row, condition, what in matrix.outcomes(rows, folder)}
    page = PAGE.read_text().splitlines()
    for line in matrix.table(rows, cells).splitlines():
        assert line in page, (
            f"docs/data.md lacks this line (python -m tests.data_builders.matrix):\n{line}"
        )


def test_common_kinds(tmp_path):
    check(tuple(row for row in matrix.ROWS if row.name in COMMON), tmp_path)


@pytest.mark.slow
def test_all_kinds(tmp_path):
    check(matrix.ROWS, tmp_path)
