"""Files that want something run: each is refused, and nothing runs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint.archives import call, integers, program, storage, tensor, text, write_legacy, write_zip

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.checkpoint.pickle.records import DamagedPickle, Name, Record, plain
from emotion2vec.errors import CheckpointError

MARKER = "it_ran"


class Wants:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any):
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that every payload would make."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / MARKER


TOUCH = text(f"touch {MARKER}")
CODE = text(f"open({MARKER!r}, 'w').close()")
SYSTEM_CALL = call("os", "system", TOUCH)
# What the pickle wants -> the name that the refusal must show.
PROGRAMS = {
    "os.system": (SYSTEM_CALL, "posix.system|os.system"),
    "eval": (call("builtins", "eval", CODE), "builtins.eval"),
    "exec under its Python 2 name": (call("__builtin__", "exec", CODE), "__builtin__.exec"),
    "subprocess": (call("subprocess", "Popen", b"(" + text("touch") + text(MARKER) + b"t"), "subprocess.Popen"),
    "nested in a state": (b"}" + text("model") + b"}" + text("a.weight") + SYSTEM_CALL + b"ss", "os.system"),
    "as a key": (b"}" + SYSTEM_CALL + b"K\x01s", "os.system"),
    "functools.partial": (call("functools", "partial", b"cos\nsystem\n", TOUCH) + b")R", "functools.partial"),
    "getattr": (call("builtins", "getattr", b"cos\n__dict__\n", text("system")), "builtins.getattr|os.__dict__"),
    "operator.methodcaller": (call("operator", "methodcaller", text("system"), TOUCH), "operator.methodcaller"),
    "import": (call("importlib", "import_module", text("antigravity")), "importlib.import_module"),
    "copyreg": (call("copyreg", "_reconstructor", b"cos\nsystem\n", b"cbuiltins\nobject\n", b"N"), "copyreg"),
    "runpy": (call("runpy", "run_path", text("evil.py")), "runpy.run_path"),
    "pickle in a pickle": (call("torch.storage", "_load_from_bytes", b"U\x01x"), "torch.storage._load_from_bytes"),
    "code of a hub": (call("torch.hub", "load", text("evil/repository")), "torch.hub.load"),
    "codecs": (call("codecs", "decode", text("x"), text("zlib")), "codecs.decode"),
    "setstate": (b"cos\n_wrap_close\n)\x81}" + text("x") + b"K\x01sb", "os._wrap_close"),
    "attributes of an allowed function": (
        b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + b"K\x01sb",
        "set the attributes",
    ),
    "a method of an allowed name": (b"ccollections\nOrderedDict.fromkeys.__self__\n", "OrderedDict.fromkeys"),
    "a method of a record": (call("pathlib", "Path.unlink", TOUCH), "pathlib.Path.unlink"),
    "a part of a record": (b"cargparse\nNamespace.__init__\n", "argparse.Namespace.__init__"),
    "a method of a setting": (call("omegaconf", "OmegaConf.load", TOUCH), "omegaconf.OmegaConf.load"),
    "a method of a value": (call("builtins", "int.from_bytes", TOUCH), "builtins.int.from_bytes"),
    "a part of a type hint": (b"ctyping\nAny.__class__\n", "typing.Any.__class__"),
    "a method of a storage": (call("torch", "FloatStorage.from_file", TOUCH), "torch.FloatStorage.from_file"),
    "a storage by a longer name": (storage(b"ctorch\nFloatStorage2\n"), "torch.FloatStorage2"),
    "a record by a longer module": (b"cevil.argparse\nNamespace\n", "evil.argparse.Namespace"),
    "a value by a longer module": (b"cevil.typing\nAny\n", "evil.typing.Any"),
    "a dotted name by stack": (
        text("torch") + text("_utils._rebuild_tensor_v2.__globals__") + b"\x93",
        "_rebuild_tensor_v2.__globals__",
    ),
    "fairseq's functions": (call("fairseq.utils", "import_user_module", text(MARKER)), "fairseq.utils.import_user"),
    "omegaconf's functions": (call("omegaconf.omegaconf", "register_default_resolvers"), "register_default_resolvers"),
    "a call of a value": (b"K\x01)R", "a call of a int"),
    "a call of a type hint": (call("builtins", "int", text("9" * 9)), "a call of builtins.int"),
    "INST": (b"(" + TOUCH + b"ios\nsystem\n", "os.system"),
    "OBJ": (b"(cos\nsystem\n" + TOUCH + b"o", "os.system"),
    "the extension registry": (b"\x82\x01", "EXT1"),
    "a module outside the pickle": (
        b"(" + text("module") + b"ccollections\nOrderedDict\n" + text("evil.py") + CODE + b"tQ",
        "outside the pickle",
    ),
    "a storage of another type": (storage(b"cos\nsystem\n"), "os.system"),
    "a storage that is a class": (storage(b"ccollections\nOrderedDict\n"), "outside the pickle"),
    "a persistent id in text": (b"Pevil\n", "evil"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_pickle_is_refused_and_nothing_runs(kind: str, write: Any, tmp_path: Path, marker: Path) -> None:
    body, named = PROGRAMS[kind]
    path = write(tmp_path / "model.pt", program(body))
    loaded = set(sys.modules)
    with pytest.raises(CheckpointError) as raised:
        load_model(path)
    assert not marker.exists()
    assert any(name in str(raised.value) for name in named.split("|"))
    assert str(path) in str(raised.value)
    assert "antigravity" not in set(sys.modules) - loaded


@pytest.mark.parametrize("kind", ["os.system", "eval", "functools.partial", "INST", "nested in a state"])
def test_the_payloads_would_run_elsewhere(kind: str, tmp_path: Path) -> None:
    """Only so that the tests above can fail: Python's own reader runs them, in a process of its own."""
    (tmp_path / "evil.pkl").write_bytes(program(PROGRAMS[kind][0]))
    script = "import pickle; pickle.load(open('evil.pkl', 'rb'))"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["top", "optimizer", "settings", "metadata", "list"])
def test_a_real_checkpoint_with_a_payload(where: str, zipped: bool, tmp_path: Path, marker: Path) -> None:
    evil = Wants(os.system, f"touch {MARKER}")
    content: dict[str, Any] = {"cfg": {"model": {}}, "model": {"blocks.0.norm1.weight": torch.zeros(3)}}
    if where == "optimizer":
        content["last_optimizer_state"] = {"state": {0: {"step": 1, "exp_avg": evil}}}
    elif where == "settings":
        content["cfg"]["model"]["depth"] = evil
    elif where == "metadata":
        content["model"]["_metadata"] = {"": {"version": evil}}
    elif where == "list":
        content["optimizer_history"] = [{"num_updates": evil}]
    torch.save(evil if where == "top" else content, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"wants 'posix\.system'"):
        read_source(tmp_path / "model.pt")
    assert not marker.exists()


def test_payloads_around_the_legacy_object(tmp_path: Path, marker: Path) -> None:
    honest = program(b"}")
    for part in ({"system": program(SYSTEM_CALL)}, {"keys": program(SYSTEM_CALL)}):
        with pytest.raises(CheckpointError, match=r"os\.system"):
            load_model(write_legacy(tmp_path / "model.pt", honest, **part))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Wants(os.system, f"touch {MARKER}"), protocol=0))
    with pytest.raises(CheckpointError, match=r"posix\.system"):
        load_model(tmp_path / "plain.pkl")
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["../escaped", "model/../../escaped", "/tmp/escaped", "model/data/../../x", "model\\data\\1", "other/data.pkl",
     "model/code/evil.py", "model/data/a/b", "model/data/", "model/versions", "model/data/1.py", "model/xversion",
     "model/data.pkl2", "model/.data/serialization_id2", "version"],
)  # fmt: skip
def test_zip_with_path_tricks(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    path = write_zip(folder / "model.pt", program(b"}"), extra={name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="is no part of a checkpoint"):
        load_model(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_zip_archives(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(CheckpointError) as raised:
            load_model(path)
        return str(raised.value)

    path = tmp_path / "model.pt"
    with pytest.warns(UserWarning, match="Duplicate"):
        write_zip(path, program(b"}"))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("model/data.pkl", program(SYSTEM_CALL))
    assert "'model/data.pkl' is there twice" in message(path)
    assert "is compressed" in message(write_zip(path, program(b"}"), compression=zipfile.ZIP_DEFLATED))
    assert "TorchScript" in message(write_zip(path, program(b"}"), extra={"model/constants.pkl": b"x"}))
    assert "byte order" in message(write_zip(path, program(b"}"), extra={"model/byteorder": b"big"}))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    assert "not one of torch.save" in message(path) and "data.pkl is missing" in message(path)


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
# Where the directory at an archive's end, and the header before each member, keep what is said of a member.
FLAGS, STATED_SIZE, NAME_IN_DIRECTORY, NAME_IN_HEADER = 8, 24, 46, 30


def changed_zip(path: Path, member: str, signature: bytes, place: int, value: bytes) -> Path:
    """An archive whose record of a member holds other bytes at a place."""
    content = bytearray(write_zip(path, program(b"}")).read_bytes())
    name_at = NAME_IN_DIRECTORY if signature == CENTRAL else NAME_IN_HEADER
    starts = [at for at in range(len(content)) if content[at : at + 4] == signature]
    (start,) = [at for at in starts if content[at + name_at :].startswith(member.encode())]
    content[start + place : start + place + len(value)] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("member", "signature", "place", "value", "message"),
    [
        ("model/data/0", CENTRAL, FLAGS, b"\x01", "'model/data/0' is compressed or encrypted"),
        ("model/data.pkl", CENTRAL, FLAGS, b"\x01", "'model/data.pkl' is compressed or encrypted"),
        ("model/data/0", CENTRAL, STATED_SIZE, b"\x20", "'model/data/0' is compressed or encrypted"),
        ("model/data/0", LOCAL, NAME_IN_HEADER, b"model/data/7", "damaged at 'model/data/0'"),
        ("model/data/0", LOCAL, NAME_IN_HEADER, b"other", "damaged at 'model/data/0'"),
        ("model/data/0", LOCAL, 0, b"XX", "damaged at 'model/data/0'"),
        ("model/data.pkl", LOCAL, NAME_IN_HEADER, b"other", "no complete zip"),
    ],
)
def test_members_that_are_not_what_the_archive_says(
    member: str, signature: bytes, place: int, value: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(changed_zip(tmp_path / "model.pt", member, signature, place, value))


@pytest.mark.parametrize("root", ["", ".", ".."])
def test_members_must_lie_in_a_folder_with_a_name(root: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", program(b"}"))
    with pytest.raises(CheckpointError, match=f"the entries lie in '{root}'"):
        load_model(path)


@pytest.mark.parametrize("kind", ["list", "dict", "namespace", "omegaconf"])
def test_settings_are_read_to_60_levels(kind: str) -> None:
    wrap: dict[str, Any] = {
        "list": lambda inner: [inner],
        "dict": lambda inner: {"a": inner},
        "namespace": lambda inner: Record(Name("argparse", "Namespace"), state={"a": inner}),
        "omegaconf": lambda inner: Record(Name("omegaconf", "DictConfig"), state={"_content": inner}),
    }
    value: Any = 7
    levels = 0
    while True:
        try:
            plain(value)
        except DamagedPickle as error:
            assert "nested more than 60 deep" in str(error)
            break
        value, levels = wrap[kind](value), levels + 1
        assert levels < 100
    # A namespace is a record and the mapping of what it holds: two levels each.
    assert levels == (31 if kind == "namespace" else 61)


def test_settings_have_at_most_100_000_values() -> None:
    assert len(plain(list(range(99_999)))) == 99_999
    with pytest.raises(DamagedPickle, match="or more than 100000"):
        plain(list(range(100_000)))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (tensor((4,), (1,), count=2**30), "4096 bytes|16 bytes"),
        (tensor((50_000, 50_000, 50_000), (0, 0, 0)), "tensor of shape"),
        (tensor((2, 4), (4, 1)), "tensor of shape"),
        (tensor((4,), (1,), offset=1), "tensor of shape"),
        (tensor((-4,), (1,)), "where a size belongs"),
        (tensor((4,), (-1,)), "where a size belongs"),
        (tensor((4,), (1, 1)), "without storage or strides"),
        (call("torch._utils", "_rebuild_tensor_v2", text("x"), b"K\x00", integers(1), integers(1)), "without storage"),
        (b"J\xff\xff\xff\x7f" + b"\x8b\xff\xff\xff\x7f", "no complete pickle"),
        (b"X\xff\xff\xff\x7fshort", "no complete pickle"),
        (b"h\x63", "no complete pickle"),
        (b"0", "no complete pickle"),
    ],
)
def test_sizes_that_the_file_does_not_hold(body: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as raised:
        load_model(write_zip(tmp_path / "model.pt", program(body)))
    assert any(part in str(raised.value) for part in reason.split("|"))


def test_settings_that_share_their_parts_without_end(tmp_path: Path) -> None:
    double = [b"0](h%ch%ceq%c" % (i, i, i + 1) for i in range(50)]  # forget the last list, hold it twice in a new one
    lists = b"]q\x00" + b"".join(double)
    state = b"}" + text("x") + tensor((4,), (1,)) + b"s"
    body = b"}(" + text("cfg") + b"}" + text("model") + lists + b"s" + text("model") + state + b"u"
    with pytest.raises(CheckpointError, match="nested more than"):
        load_model(write_zip(tmp_path / "model.pt", program(body)))


def test_inert_records_stay_inert(tmp_path: Path, marker: Path) -> None:
    """What is allowed by name is neither imported nor called: Namespace, an enum, OmegaConf, numpy's scalars."""
    loaded = set(sys.modules)
    records = [
        call("argparse", "Namespace")
        + b"}"
        + text("x")
        + SYSTEM_CALL.replace(b"cos\nsystem\n", b"cpathlib\nPath\n")
        + b"sb",
        call("examples.data2vec.data.modality", "Modality", b"K\x01"),
        b"comegaconf.dictconfig\nDictConfig\n)\x81}" + text("_content") + b"}sb",
        call(
            "numpy.core.multiarray", "scalar", call("numpy", "dtype", text("f8")), call("_codecs", "encode", text("x"))
        ),
        call("fairseq.data.dictionary", "Dictionary", TOUCH),
    ]
    state = b"}" + text("x") + tensor((4,), (1,)) + b"s"
    body = b"}(" + text("args") + b"](" + b"".join(records) + b"e" + text("model") + state + b"u"
    with pytest.raises(CheckpointError, match="is another kind of model"):
        load_model(write_zip(tmp_path / "model.pt", program(body)))
    assert not marker.exists()
    assert not {"fairseq", "examples"} & (set(sys.modules) - loaded)
