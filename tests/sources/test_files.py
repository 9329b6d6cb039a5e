"""JSON, Parquet, Arrow, Excel, archives, images and texts: read, unified, and refused by name when they are wrong."""

import datetime as dt
import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sill.core.errors import InvalidValue, Refused, TooLarge, UnsupportedType
from sill.sources.limits import ReadLimits

Read = Callable[..., Any]


def rows(unified: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = unified.table.drop_columns(["_source", "_source_row"]).to_pylist()
    return found


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def packed(**files: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return sink.getvalue()


def png(shade: int, size: tuple[int, int] = (4, 3), mode: str = "L") -> bytes:
    sink = io.BytesIO()
    Image.new(mode, size, shade).save(sink, "PNG")
    return sink.getvalue()


def test_json_lines_flatten_one_level(read: Read) -> None:
    text = (
        '{"id": 1, "user": {"name": "Ada", "tags": ["a"], "deep": {"x": 1}}}\n\n{"id": 2.5, "user": {"name": "Bob"}}\n'
    )
    assert rows(read(text, "a.jsonl")) == [
        {"id": 1.0, "user_name": "Ada", "user_tags": '["a"]', "user_deep": '{"x":1}'},
        {"id": 2.5, "user_name": "Bob", "user_tags": None, "user_deep": None},
    ]


def test_mixed_types_of_a_field_become_numbers_or_text(read: Read) -> None:
    text = '{"a": 1, "b": 1, "c": true}\n{"a": "2", "b": "two", "c": 3}\n{"a": null, "b": false, "c": null}\n'
    found = read(text, "a.jsonl")
    assert found.table.column("a").to_pylist() == [1, 2, None]
    assert found.table.column("b").to_pylist() == ["1", "two", "false"]
    assert found.table.column("c").to_pylist() == [1, 3, None]


def test_a_json_array_reads_as_its_lines_do(read: Read) -> None:
    objects = [{"a": at, "b": {"c": str(at)}} for at in range(3)]
    lines = "\n".join(json.dumps(one) for one in objects)
    assert (
        rows(read(json.dumps(objects, indent=1), "x.json"))
        == rows(read(lines, "x.jsonl"))
        == rows(read(lines, "x.json"))
    )


@pytest.mark.parametrize("line", ['{"a": }', "[1]", "7", '{"a": 1', '{"a": "\\ud8"}'])
def test_a_wrong_line_is_named(read: Read, line: str) -> None:
    with pytest.raises(InvalidValue, match=r"a.jsonl line 3") as caught:
        read('{"a": 1}\n\n' + line + "\n", "a.jsonl")
    assert caught.value.details["line"] == 3


def test_a_wrong_element_is_named(read: Read) -> None:
    with pytest.raises(InvalidValue, match="element 2 is '7'"):
        read('[{"a": 1}, 7]', "a.json")


def test_deep_json_is_refused(read: Read) -> None:
    with pytest.raises(InvalidValue, match="not JSON"):
        read('{"a": ' + "[" * 100_000 + "\n", "a.jsonl")


def test_nan_in_json_is_missing(read: Read) -> None:
    assert rows(read('{"a": NaN, "b": 1}\n', "a.jsonl")) == [{"a": None, "b": 1}]


def test_parquet_keeps_its_types(read: Read) -> None:
    table = pa.table(
        {
            "zip": ["01", "2"],
            "n": pa.array([1, 2], pa.uint8()),
            "f": pa.array([1.5, float("nan")], pa.float32()),
            "t": pa.array([dt.datetime(2024, 1, 1, 12)] * 2, pa.timestamp("ns")),
            "s": pa.array([{"x": 1}, {"x": 2}]),
            "e": pa.array(["u", "v"]).dictionary_encode(),
        }
    )
    found = read(parquet(table), "a.parquet", time_zone="Asia/Tokyo")
    assert rows(found)[1] == {
        "zip": "2",
        "n": 2,
        "f": None,
        "s_x": 2,
        "e": "v",
        "t": dt.datetime(2024, 1, 1, 3, tzinfo=dt.UTC),
    }


def test_arrow_files_and_streams_are_read(read: Read) -> None:
    table = pa.table({"a": [1, 2]})
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        sink = pa.BufferOutputStream()
        with make(sink, table.schema) as writer:
            writer.write_table(table)
        assert rows(read(sink.getvalue().to_pybytes(), "a.arrow")) == [{"a": 1}, {"a": 2}]


def test_a_flipped_bit_in_a_checksummed_page_is_refused(read: Read) -> None:
    content = bytearray(parquet(pa.table({"a": list(range(50_000))}), write_page_checksum=True, compression="none"))
    content[len(content) // 2] ^= 1
    with pytest.raises(InvalidValue, match="cannot be read as Parquet"):
        read(bytes(content), "a.parquet")


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (ReadLimits(columns_max=1), "columns_max"),
        (ReadLimits(rows_max=10), "rows_max"),
        (ReadLimits(row_groups_max=1), "row_groups_max"),
        (ReadLimits(table_bytes_max=100), "table_bytes_max"),
    ],
)
def test_the_footer_is_checked_first(read: Read, limits: ReadLimits, named: str) -> None:
    content = parquet(pa.table({"a": list(range(100)), "b": list(range(100))}), row_group_size=20)
    with pytest.raises(TooLarge, match=named):
        read(content, "a.parquet", limits)


def test_a_parquet_bomb_is_counted_as_it_is_produced(read: Read) -> None:
    content = parquet(pa.table({"a": np.zeros(2_000_000)}), compression="zstd")
    assert len(content) < 100_000
    with pytest.raises(TooLarge, match="table_bytes_max"):
        read(content, "a.parquet", ReadLimits(table_bytes_max=1_000_000))


def test_a_cut_parquet_file_is_refused(read: Read) -> None:
    with pytest.raises(InvalidValue, match="cannot be read as Parquet"):
        read(parquet(pa.table({"a": [1]}))[:-20], "a.parquet")


def test_a_sheet_is_chosen_by_name(read: Read) -> None:
    content = workbook(
        First=[["x"], [1]], Second=[[], ["Full Name", "born", None], ["Ada", dt.datetime(1815, 12, 10, 6)]]
    )
    assert rows(read(content, "a.xlsx")) == [{"x": 1}]
    assert rows(read(content, "a.xlsx", sheet="Second")) == [
        {"full_name": "Ada", "born": dt.datetime(1815, 12, 10, 6, tzinfo=dt.UTC)}
    ]
    with pytest.raises(InvalidValue, match="there is no sheet 'Third'; there are 'First', 'Second'"):
        read(content, "a.xlsx", sheet="Third")


def test_excel_errors_are_missing_and_stray_cells_refused(read: Read) -> None:
    assert rows(read(workbook(S=[["a", "b"], ["#DIV/0!", 1]]), "a.xlsx")) == [{"a": None, "b": 1}]
    with pytest.raises(InvalidValue, match=r"line 2: 'stray' stands in column 3"):
        read(workbook(S=[["a", "b"], [1, 2, "stray"]]), "a.xlsx")


def test_an_excel_bomb_is_refused_before_it_is_unpacked(read: Read) -> None:
    with pytest.raises(TooLarge, match="excel_bytes_max"):
        read(workbook(S=[["a"], [1]]), "a.xlsx", ReadLimits(excel_bytes_max=1_000))


def test_content_decides_and_not_the_name(read: Read) -> None:
    assert rows(read(parquet(pa.table({"a": [1]})), "really.csv")) == [{"a": 1}]
    with pytest.raises(InvalidValue, match="its content is csv, not parquet"):
        read("a,b\n1,2\n", "a.parquet", format="parquet")


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": 1}),
        b"\x7fELF\x02\x01\x01" + b"\x00" * 100,
        b"MZ\x90\x00" + b"\x00" * 100,
        b"\x93NUMPY\x01\x00" + b"\x00" * 100,
        b"#!/bin/sh\necho 1\n",
        b"\x00\x01\x02\x03",
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.png"])
def test_programs_and_pickles_are_refused_under_any_name(read: Read, content: bytes, name: str) -> None:
    with pytest.raises(UnsupportedType, match="it is not read"):
        read(content, name)


def test_a_zip_of_tables_is_read_as_one(read: Read) -> None:
    content = packed(a_dot_csv=b"id,x\n1,2\n", b_dot_jsonl=b'{"id": 2, "y": "z"}\n')
    found = read(content, "data.zip")
    assert rows(found) == [{"id": 1, "x": 2, "y": None}, {"id": 2, "x": None, "y": "z"}]
    assert found.table.column("_source").to_pylist() == ["data.zip/a.csv", "data.zip/b.jsonl"]


def test_a_gzipped_table_is_read_and_a_bomb_is_not(read: Read) -> None:
    assert rows(read(gzip.compress(b"a,b\n1,2\n"), "a.csv.gz")) == [{"a": 1, "b": 2}]
    with pytest.raises(TooLarge, match="source_bytes_max"):
        read(gzip.compress(b"0" * 10_000_000), "a.csv.gz", ReadLimits(source_bytes_max=1_000_000))


def test_a_zip_that_leaves_its_folder_is_refused(read: Read) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../../evil.csv", "a\n1\n")
    with pytest.raises((InvalidValue, Refused)):
        read(sink.getvalue(), "a.zip")


def test_a_folder_of_images_is_a_table(read: Read) -> None:
    found = read(packed(cats__a_dot_png=png(7), dogs__b_dot_png=png(9)), "pets.zip")
    first = rows(found)[0]
    assert {**first, "pixels": first["pixels"][:2]} == {
        "name": "cats/a.png",
        "label": "cats",
        "height": 3,
        "width": 4,
        "channels": 1,
        "pixels": [7, 7],
    }
    assert found.table.schema.field("pixels").type == pa.list_(pa.uint8())
    assert found.table.column("_source").to_pylist() == ["pets.zip/cats/a.png", "pets.zip/dogs/b.png"]


def test_images_of_different_shapes_keep_bytes(read: Read) -> None:
    found = read(packed(a_dot_png=png(7), b_dot_png=png(9, (2, 2), "RGB")), "pets.zip")
    assert found.table.schema.field("pixels").type == pa.binary()
    assert [len(one) for one in found.table.column("pixels").to_pylist()] == [12, 12]
    assert found.table.column("channels").to_pylist() == [1, 3]


def test_an_image_bomb_is_refused_before_it_is_decoded(read: Read) -> None:
    with pytest.raises(TooLarge, match="image_pixels_max"):
        read(png(0, (2_000, 2_000)), "a.png", ReadLimits(image_pixels_max=1_000_000))


def test_a_cut_image_is_named(read: Read) -> None:
    with pytest.raises(InvalidValue, match=r"pets.zip/b.png: the image cannot be decoded|not an image"):
        read(packed(a_dot_png=png(7), b_dot_png=png(9, (400, 400), "RGB")[:60]), "pets.zip")


def test_a_folder_of_texts_is_a_table(read: Read) -> None:
    content = packed(spam__a_dot_txt="Größe\n".encode("cp1252"), ham__b_dot_txt=b"a,b\n")
    assert rows(read(content, "mails.zip")) == [
        {"name": "ham/b.txt", "label": "ham", "text": "a,b\n"},
        {"name": "spam/a.txt", "label": "spam", "text": "Größe\n"},
    ]


def test_images_and_tables_are_not_mixed(read: Read) -> None:
    with pytest.raises(InvalidValue, match="mixes kinds of files: csv, images"):
        read(packed(a_dot_png=png(7), b_dot_csv=b"a\n1\n"), "x.zip")
