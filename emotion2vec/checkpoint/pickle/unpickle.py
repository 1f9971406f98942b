"""A reader of pickles that runs nothing: a short list of opcodes, a short list of names, and nothing is imported.

`pickle` itself calls whatever a file names. Here a name is only ever text: a few stand for plain containers and
tensors, which this module builds itself, some classes become inert records, and every other name is refused.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable
from typing import IO, Any

from emotion2vec.checkpoint.budget import MOST_RANK, Budget
from emotion2vec.checkpoint.pickle.records import DamagedPickle, Name, Record, count_of, expect
from emotion2vec.errors import CheckpointError

# Classes that become records. None of them is imported: the patterns only say whose names we expect to meet.
_RECORDS = re.compile(
    r"argparse\.Namespace|pathlib\.(Posix|Windows|PurePosix|PureWindows)?Path"
    r"|omegaconf\.(\w+\.)*[A-Z]\w*"  # DictConfig, ListConfig, their nodes and metadata
    r"|fairseq\.(\w+\.)*[A-Z]\w*|examples\.data2vec\.(\w+\.)*[A-Z]\w*"  # fairseq's own classes and enums
    r"|(\w+\.)*modality\.Modality"  # the same enum, where data2vec was loaded as somebody's plug-in
    r"|numpy\.dtype|numpy\._?core\.multiarray\.(scalar|_reconstruct)|numpy\.ndarray|_codecs\.encode"
    r"|torch\.(device|Size|u?int\d+|b?float\d+|half|float|double|long|bool)"
)
# Names that may stand as values, and are never called: type hints and factories inside OmegaConf's nodes.
_VALUES = re.compile(r"typing\.(Any|Union|Optional|List|Dict|Tuple)|(builtins|__builtin__)\.(int|float|str|bool|bytes)")
_STORAGE = re.compile(r"torch\.(Float|Half|Double|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage")

Rebuild = Callable[[Any, int, tuple[int, ...], tuple[int, ...]], Any]


def read_pickle(
    stream: IO[bytes], source: str, storage: Callable[[str, str, int], Any], rebuild: Rebuild, budget: Budget
) -> Any:
    """Read one pickle and leave the stream behind it.

    Args:
        stream: where the pickle starts.
        source: the file's name, for messages.
        storage: makes a storage of its dtype's name (`Float`), key and number of elements.
        rebuild: makes a tensor of a storage, offset, size and stride.
        budget: what the file may still take.

    Raises:
        CheckpointError: it names something that is refused.
        DamagedPickle: it is no complete pickle.
    """
    machine = _Machine(source, storage, rebuild, budget)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except CheckpointError:
        raise
    except Exception as error:
        raise DamagedPickle(f"{source}: is no complete pickle ({error or type(error).__name__})") from error
    raise DamagedPickle(f"{source}: is no complete pickle (it does not end)")


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}


class _Machine:
    """The stack machine of a pickle, for the opcodes that checkpoints use; it calls nothing that a file names."""

    def __init__(self, source: str, storage: Callable[[str, str, int], Any], rebuild: Rebuild, budget: Budget):
        self.source = source
        self.budget = budget
        self.storage = storage
        self.rebuild = rebuild
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Carry out one opcode."""
        self.budget.spend(1)
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif method := getattr(self, f"op_{opcode.lower()}", None):
            method(argument)
        elif opcode in ("INST", "PERSID"):
            raise self.refusal(str(argument).replace(" ", "."))
        else:
            raise self.refusal(f"the pickle operation {opcode}")

    def refusal(self, wanted: str) -> CheckpointError:
        return CheckpointError(
            f"{self.source}: wants {wanted[:200]!a}, which no checkpoint of a model needs; nothing was run. "
            "Expected tensors, containers, numbers and text, and settings of argparse, OmegaConf or fairseq"
        )

    def popped(self) -> list[Any]:
        """Take everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def op_proto(self, version: int) -> None:
        if version > 5:
            raise ValueError(f"pickle protocol {version}")

    def op_frame(self, size: int) -> None:
        pass

    def op_mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def op_pop(self, _: None) -> None:
        self.stack.pop()

    def op_pop_mark(self, _: None) -> None:
        self.popped()

    def op_dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def op_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    op_binget = op_long_binget = op_get

    def op_empty_tuple(self, _: None) -> None:
        self.stack.append(())

    def op_empty_list(self, _: None) -> None:
        self.stack.append([])

    op_empty_set = op_empty_list

    def op_empty_dict(self, _: None) -> None:
        self.stack.append({})

    def op_tuple(self, _: None) -> None:
        self.stack.append(tuple(self.popped()))

    op_frozenset = op_tuple

    def op_list(self, _: None) -> None:
        self.stack.append(self.popped())

    def op_dict(self, _: None) -> None:
        items = self.popped()
        self.stack.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def op_tuple1(self, _: None) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def op_tuple2(self, _: None) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def op_tuple3(self, _: None) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def op_append(self, _: None) -> None:
        item = self.stack.pop()
        self._extend([item])

    def op_appends(self, _: None) -> None:
        self._extend(self.popped())

    op_additems = op_appends

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        (target.items if isinstance(target, Record) else expect(target, list)).extend(items)

    def op_setitem(self, _: None) -> None:
        pair = self.stack[-2:]
        del self.stack[-2:]
        self._update(pair)

    def op_setitems(self, _: None) -> None:
        self._update(self.popped())

    def _update(self, flat: list[Any]) -> None:
        target, pairs = self.stack[-1], list(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(target, Record):
            target.items.extend(pairs)
        else:
            expect(target, dict).update((_key(key), value) for key, value in pairs)

    def op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def op_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(expect(module, str), expect(name, str))

    def _name(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if not (full in _CALLS or any(known.fullmatch(full) for known in (_RECORDS, _VALUES, _STORAGE))):
            raise self.refusal(full)
        self.stack.append(Name(module, name))

    def op_reduce(self, _: None) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        self.stack.append(self._construct(called, arguments))

    op_newobj = op_reduce

    def op_newobj_ex(self, _: None) -> None:
        keywords = expect(self.stack.pop(), dict)
        self.budget.spend(len(keywords))
        self.op_reduce(None)
        expect(self.stack[-1], Record).state.update(keywords)

    def _construct(self, called: Any, arguments: Any) -> Any:
        """Make what a call would make, if we know it; `called` is only a name."""
        if not isinstance(called, Name):
            raise self.refusal(f"a call of a {type(called).__name__}")
        if not isinstance(arguments, tuple):
            raise ValueError(f"arguments of {called} are a {type(arguments).__name__}")
        if make := _CALLS.get(str(called)):
            return make(self, *arguments)
        if not _RECORDS.fullmatch(str(called)):
            raise self.refusal(f"a call of {called}")
        return Record(called, arguments)

    def op_build(self, _: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, dict):  # attributes of an OrderedDict, such as the versions of a state_dict's modules
            return
        if not isinstance(target, Record):
            raise self.refusal(f"to set the attributes of a {type(target).__name__}")
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.budget.spend(len(part))
                target.state.update(part)

    def op_binpersid(self, _: None) -> None:
        """Storages are the only things that a checkpoint keeps outside its pickle."""
        kind, *rest = expect(self.stack.pop(), tuple)
        if kind != "storage" or len(rest) < 4 or not isinstance(rest[0], Name) or not _STORAGE.fullmatch(str(rest[0])):
            raise self.refusal("something outside the pickle that is no storage")
        dtype, key, _, count = rest[:4]
        self.stack.append(self.storage(dtype.name.removesuffix("Storage"), str(key), count_of(count)))

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        """Make a tensor; gradient flags and hooks are left alone."""
        sizes, strides = (tuple(map(count_of, expect(value, tuple)[: MOST_RANK + 1])) for value in (size, stride))
        return self.rebuild(storage, count_of(offset), sizes, strides)

    def parameter(self, tensor: Any, *_: Any) -> Any:
        """A parameter is its tensor."""
        return tensor

    def mapping(self, *arguments: Any) -> dict[Any, Any]:
        """An `OrderedDict`, `defaultdict` or `dict`: of pairs, or empty; a factory is left alone."""
        groups = [argument for argument in arguments if isinstance(argument, list | tuple | dict)]
        self.budget.spend(sum(map(len, groups)))
        pairs = [pair for group in groups for pair in (group.items() if isinstance(group, dict) else group)]
        return {_key(key): value for key, value in pairs}

    def sequence(self, *arguments: Any) -> list[Any]:
        """A `set` or `list` of a list."""
        self.budget.spend(sum(len(expect(argument, list | tuple)) for argument in arguments))
        return [item for argument in arguments for item in argument]


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _Machine.tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "collections.OrderedDict": _Machine.mapping,
    "collections.defaultdict": _Machine.mapping,
    "collections.Counter": _Machine.mapping,
}
for _home in ("builtins", "__builtin__"):
    _CALLS |= {f"{_home}.dict": _Machine.mapping, f"{_home}.set": _Machine.sequence, f"{_home}.list": _Machine.sequence}


def _key(value: Any) -> Any:
    """A key of a mapping; nested tuples are none, as hashing them can take forever."""
    return expect(value, str | int | float | bytes | None | Name | Record)
