"""Files of models with any bytes in them: a model or a CheckpointError, in bounded time and memory."""

from __future__ import annotations

import json
import random
import shutil
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkpoint.archives import call, integers, program, storage, tensor, text, write_legacy, write_zip
from checkpoint.files import network, settings, state

from emotion2vec.checkpoint import save_model
from emotion2vec.checkpoint.budget import Budget, check_shape
from emotion2vec.checkpoint.formats.data2vec.from_settings import cnn_layers
from emotion2vec.checkpoint.formats.funasr import read_yaml
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.checkpoint.opening import load_model, read_source
from emotion2vec.checkpoint.pickle import torchfile
from emotion2vec.documents import parse_json, parse_yaml
from emotion2vec.errors import CheckpointError

resource = pytest.importorskip("resource", reason="Windows has none")

MOST_SECONDS, MOST_KILOBYTES = 10, 1_000_000
"""What reading one file may take; memory above that of the process before."""


def peak() -> int:
    """Largest memory of this process so far, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of one small model in several formats."""
    root = tmp_path_factory.mktemp("whole")
    model = network(("a", "b"), prenet_depth=1, depth=1)
    save_model(root / "native", model.config, model.state_dict(), labels=("a", "b"))
    content = {"cfg": {"model": settings(model.config)}, "model": state(model)}
    for name in ("zip", "legacy", "funasr"):
        (root / name).mkdir()
    torch.save(content, root / "zip" / "model.pt")
    torch.save(content, root / "legacy" / "model.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": state(model)}, root / "funasr" / "model.pt")
    conf = {"model": "Emotion2vec", "model_conf": settings(model.config), "scope_map": ["d2v_model.", "none"]}
    (root / "funasr" / "config.yaml").write_text(yaml.safe_dump(conf))
    (root / "funasr" / "configuration.json").write_text(json.dumps({"file_path_metas": {"init_param": "model.pt"}}))
    (root / "funasr" / "tokens.txt").write_text("a\nb\n")
    return root


FILES = {
    "native/model.safetensors": "native",
    "native/model.json": "native",
    "zip/model.pt": "zip/model.pt",
    "legacy/model.pt": "legacy/model.pt",
    "funasr/config.yaml": "funasr",
    "funasr/configuration.json": "funasr",
}
"""Files to damage, and what is read then."""


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file that is cut, or has one to four bytes changed, most of them where it is described: its start and end."""
    size = len(content)
    if rng.random() < 0.15:
        return content[: rng.randrange(size)]
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        near = rng.randrange(min(size, 6000))
        at = rng.choice([near, size - 1 - near, rng.randrange(size)])
        changed[at] = rng.choice([rng.randrange(256), changed[at] ^ 1 << rng.randrange(8), 0, 255])
    return bytes(changed)


def survives(whole: Path, name: str, count: int, draw: str, folder: Path) -> None:
    """Damage a file in so many ways: each is a model or a CheckpointError, and none takes long or much."""
    shutil.copytree(whole, folder / "all")
    file, opened = folder / "all" / name, folder / "all" / FILES[name]
    content, rng, before = file.read_bytes(), random.Random(name + draw), peak()
    load_model(opened)
    refused, slowest, started = 0, 0.0, time.monotonic()
    for _ in range(count):
        file.write_bytes(damaged(content, rng))
        begun = time.thread_time()
        try:
            load_model(opened)
        except CheckpointError as error:
            refused += 1
            assert len(str(error)) < 4000
        slowest = max(slowest, time.thread_time() - begun)
    assert refused > count / 50
    assert slowest < MOST_SECONDS and peak() - before < MOST_KILOBYTES
    taken, more = time.monotonic() - started, (peak() - before) / 1000
    print(f"{name}: {count} files, {refused} refused, {count - refused} models, {taken:.0f} s, the slowest "
          f"{slowest:.2f} s, {more:.0f} MB above the start")  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_changed_bytes_give_a_model_or_a_refusal(whole: Path, name: str, draw: str, tmp_path: Path) -> None:
    survives(whole, name, 25, draw, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_2_000_files_with_changed_bytes(whole: Path, name: str, draw: str, tmp_path: Path) -> None:
    survives(whole, name, 2000, draw, tmp_path)


def is_refused(path: Path, match: str = r"model\.|m\.") -> None:
    """Reading is refused, in a moment and without much memory."""
    before, begun = peak(), time.thread_time()
    with pytest.raises(CheckpointError, match=match) as raised:
        load_model(path)
    assert time.thread_time() - begun < MOST_SECONDS and peak() - before < MOST_KILOBYTES
    assert len(str(raised.value)) < 4000


def doubling(times: int, make: bytes) -> bytes:
    """Opcodes of a list of two lists of two lists ..., each made by a call with the one before, twice."""
    step = b"q\x01(h\x01h\x01t" if not make else b"q\x01" + make + b"(h\x01h\x01tR"
    return b"](K\x01K\x01e" + step * times


BOMBS = {
    "list(L, L)": doubling(40, b"cbuiltins\nlist\n"),
    "set(L, L)": doubling(40, b"c__builtin__\nset\n"),
    "a state that is set again and again": b"cargparse\nNamespace\n)R}("
    + b"".join(text(f"k{i}") + b"N" for i in range(2000)) + b"uq\x01b" + b"h\x01b" * 1000,
    "a mapping of mappings": b"}(" + b"".join(text(f"k{i}") + b"N" for i in range(2000)) + b"uq\x01"
    + b"0ccollections\nOrderedDict\nh\x01\x85R" * 400,
    "marks": b"(" * 600_000,
    "sizes of 0 x 2^62": call("torch._utils", "_rebuild_tensor_v2", storage(b"ctorch\nFloatStorage\n"), b"K\x00",
                              b"K\x00\x8a\x08" + struct.pack("<q", 2**62) + b"\x86", integers(1, 1), b"\x89", b"}"),
    "a thousand dimensions": call("torch._utils", "_rebuild_tensor_v2", storage(b"ctorch\nFloatStorage\n"), b"K\x00",
                                  integers(*[1] * 1000), integers(*[1] * 1000), b"\x89", b"}"),
    "a size of a million digits": call("torch._utils", "_rebuild_tensor_v2", storage(b"ctorch\nFloatStorage\n"),
                                       b"K\x00", b"\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b"\x85", integers(1)),
    "deep": b"]" * 5000 + b"a" * 4999,
}  # fmt: skip
"""Pickles of few bytes that would take much."""


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_pickles_that_grow_are_refused(kind: str, write: Any, tmp_path: Path) -> None:
    is_refused(write(tmp_path / "model.pt", program(BOMBS[kind])))


def test_tensors_that_share_their_numbers_have_a_budget(tmp_path: Path) -> None:
    numbers = 1 << 16
    pairs = [text(f"blocks.{i}.mlp.fc1.weight") + tensor((numbers,), (1,), count=numbers) for i in range(200)]
    body = b"}(" + b"".join(pairs) + b"u"
    for skew in (b"", b"x"):  # numbers that are not aligned are copied
        extra = {"model/data/0": bytes(4 * numbers), "model/version": b"3" + skew}
        is_refused(write_zip(tmp_path / "model.pt", program(body), extra=extra), "more than 4 times those of the file")


def test_a_count_of_all_ones_is_refused(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "model.pt", program(b"}" + text("x") + tensor((4,), (1,)) + b"s"))
    path.write_bytes(path.read_bytes().replace(struct.pack("<q", 4) + bytes(16), b"\xff" * 8 + bytes(16)))
    is_refused(path, "truncated")


@pytest.mark.parametrize(("most", "match"), [(50_000, "is no part of a checkpoint"), (9_999, "10,001 members")])
def test_archives_of_very_many_members(most: int, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchfile, "MOST_MEMBERS", most)
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", program(b"}"))
        for number in range(10_000):
            archive.writestr(f"x/{number}", b"")
    begun = time.thread_time()
    is_refused(tmp_path / "model.pt", match)
    assert time.thread_time() - begun < 2


@pytest.mark.parametrize("name", [b"model/data/\xff\xfe", b"model/data/\xed\xa0\x80", b"\xff" * 6 + b"/data.pkl"])
def test_names_in_archives_that_are_no_text(name: bytes, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "model.pt", program(b"}"), extra={"model/" + "x" * (len(name) - 6): b""})
    content = path.read_bytes().replace(b"model/" + b"x" * (len(name) - 6), name)
    for flags in (b"\x00\x00", b"\x00\x08"):  # names in code page 437, and in UTF-8
        changed = content.replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00" + flags)
        central = b"PK\x01\x02\x14\x03\x14\x00"
        path.write_bytes(changed.replace(central + b"\x00\x00", central + flags))
        is_refused(path)


@pytest.mark.parametrize("header", [
    {"x": {"dtype": "F32", "shape": [0, 2**62], "data_offsets": [0, 0]}},
    {"x": {"dtype": "F32", "shape": [2**40, 0, 2**20], "data_offsets": [0, 0]}},
    {"x": {"dtype": "F32", "shape": [1] * 5000, "data_offsets": [0, 4]}},
])  # fmt: skip
def test_safetensors_of_endless_nothing(header: dict[str, Any], tmp_path: Path) -> None:
    raw = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(header["x"]["data_offsets"][1]))
    is_refused(tmp_path / "m.safetensors", "a tensor of shape")


def test_safetensors_with_a_long_header(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 24) + b'{"x":' + b" " * ((1 << 24) - 7) + b"{}}")
    is_refused(path, "a header of 16,777,216 bytes")


DEEP = {
    "json": (parse_json, [b"[" * 100_000, b"[" * 100 + b"]" * 100, b'{"a":' * 500 + b"1" + b"}" * 500, b"9" * 5000]),
    "yaml": (parse_yaml, [b"[" * 50_000, b"[" * 100 + b"]" * 100, b"- " * 5000 + b"x", b"{a: " * 99 + b"}" * 99,
                          b"a: 2024-13-45", b"a: 2024-02-30T99:99:99Z", b"!!python/object/apply:os.system [ls]",
                          b"&a [*a]", b"? [a, b]\n: x", b"? {a: b}\n: x", b"a: !!binary x", b"a: !!int x", b"%YAML 9.9",
                          b"a: 1\n<<: [1]", b"\x00", b"\xff", b"a: *b", b"x: " + b"9" * 5000, b"---\na\n---\nb"]),
}  # fmt: skip
"""Documents that are refused, by what reads them."""


@pytest.mark.parametrize("kind", DEEP)
def test_documents_raise_nothing_but_value_errors(kind: str) -> None:
    read, documents = DEEP[kind]
    for document in documents:
        begun = time.thread_time()
        with pytest.raises(ValueError, match=r"."):
            read(document)
        assert time.thread_time() - begun < 5


def tenfold(merged: bool) -> str:
    """Ten levels, each of which names the one below ten times."""
    lines = ["a0: &a0 {x: 1}"] if merged else ["a0: &a0 [1]"]
    for level in range(1, 10):
        again = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{again}], k{level}: 1}}" if merged else f"[{again}]"))
    return "\n".join(lines)


@pytest.mark.parametrize("merged", [False, True])
def test_aliases_of_yaml_are_counted_each_time(merged: bool, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="counted again"):
        parse_yaml(tenfold(merged).encode())
    assert parse_yaml(b"a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}, e: 2}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 1, "e": 2},
    }
    shutil.copytree(whole / "funasr", tmp_path / "funasr")
    with (tmp_path / "funasr" / "config.yaml").open("a") as stream:
        stream.write(tenfold(merged) + "\n")
    is_refused(tmp_path / "funasr", r"config\.yaml: cannot be read as YAML: more than 20,000 values")


@pytest.mark.parametrize("spec", [
    "[(1,1,1)]*99*99*99*99", "[(1,1,1)]*99+[(1,1,1)]*99", "([(1,1,1)]*50)*50", "(" * 500 + "[(1,1,1)]" + ")" * 400,
    "[(1,1,1)]*-1", "[(1,1,1)]*'x'", "[()]*3", "__import__('os').system('ls')", "[(1,1,1)]*10**9", "9**9**9", "None",
])  # fmt: skip
def test_expressions_of_layers_are_never_evaluated(spec: str) -> None:
    begun = time.thread_time()
    assert cnn_layers(spec) == [] or len(cnn_layers(spec)) < 100
    assert time.thread_time() - begun < 1
    assert cnn_layers("[(512, 10, 5)] + [(512, 3, 2)] * 4") == [(512, 10, 5), *[(512, 3, 2)] * 4]


VALUES = [None, True, -1, 0.5, 1e308, float("inf"), 10**400, 2**62, "", "x", [], {}, [1], [[1]], {"a": 1}, "[" * 2000]
"""What a setting may be."""


@pytest.mark.parametrize("name", ["funasr/config.yaml", "funasr/configuration.json", "native/model.json"])
def test_settings_of_any_kind_give_a_model_or_a_refusal(name: str, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "all")
    file = tmp_path / "all" / name
    document = yaml.safe_load(file.read_text())
    (sections, rng) = ([document, *(value for value in document.values() if isinstance(value, dict))], random.Random(0))
    for section in sections:
        for key, kept in list(section.items()):
            for value in rng.sample(VALUES, 1):
                section[key] = value
                file.write_text(yaml.safe_dump(document) if name.endswith("yaml") else json.dumps(document))
                try:
                    load_model(file.parent)
                except CheckpointError as error:
                    assert len(str(error)) < 4000
            section[key] = kept


def test_a_budget_is_for_all_that_is_read() -> None:
    budget = Budget(10)
    budget.spend(10)
    with pytest.raises(ValueError, match="it takes more than"):
        budget.spend(1)
    check_shape((3, 0, 5), 0)
    for shape in ((2**17, 0), (-1,), (2**9, 2**9), (1,) * 17):
        with pytest.raises(ValueError, match="a tensor of shape"):
            check_shape(shape, 24)


def test_a_record_of_what_was_heard_that_is_none(whole: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shutil.copytree(whole / "native", tmp_path / "model")
    save_file({"audio": torch.zeros(2, 2), "labels": torch.zeros(0)}, tmp_path / "model" / "heard.safetensors")
    with pytest.raises(CheckpointError, match=r"heard\.safetensors"):
        read_source(tmp_path / "model")


def test_facts_of_a_damaged_file_are_refused_too(whole: Path, tmp_path: Path) -> None:
    content = (whole / "native" / "model.safetensors").read_bytes()
    shutil.copytree(whole / "native", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="no complete safetensors file"):
        describe_model(tmp_path / "model")


def test_yaml_of_a_folder_is_named_in_the_refusal(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"x: [" * 100)
    with pytest.raises(CheckpointError, match=r"config\.yaml: cannot be read as YAML: nested more than 60 deep"):
        read_yaml(tmp_path / "config.yaml")
