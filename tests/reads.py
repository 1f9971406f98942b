"""Which fields of option dataclasses a package's code reads, found in its syntax trees.

A read is `<expression>.<field>` where the expression is known to be of the field's dataclass: by an annotation, an
assignment, an attribute set in `__init__`, or another dataclass's field. What only a definition, a check or a message
mentions is no read.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field

NO_READS = ("check_", "_check", "faults", "without_effect", "idle_", "_update_fault")
"""Functions that only judge options start with these, or end with `faults`."""

SPOKEN = ("say", "tell", "print", "echo", "warning", "info", "append_fault")
"""Calls whose arguments are messages."""


@dataclass
class Options:
    """A dataclass of the package: the types of its fields by name, its bases, and which of its fields are options."""

    types: dict[str, str] = field(default_factory=dict)
    bases: list[str] = field(default_factory=list)
    options: set[str] = field(default_factory=set)


def named(annotation: ast.expr | None) -> Iterator[str]:
    """Last parts of the names in an annotation: `DataConfig | None` gives both."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def is_call(node: ast.AST | None, *names: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return called in names


def classes(trees: list[ast.Module]) -> dict[str, Options]:
    """All classes of a package by name."""
    found: dict[str, Options] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if not isinstance(node, ast.ClassDef):
            continue
        known = found.setdefault(node.name, Options(bases=[name for base in node.bases for name in named(base)]))
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                known.types[item.target.id] = next((n for n in named(item.annotation) if not hasattr(builtins, n)), "")
                if is_call(item.value, "option"):
                    known.options.add(item.target.id)
    return found


class Reader(ast.NodeVisitor):
    """Collects (dataclass, field) of every read in a module."""

    def __init__(self, known: dict[str, Options]):
        self.known = known
        self.reads: set[tuple[str, str]] = set()
        self.scopes: list[dict[str, str]] = [{}]
        self.members: dict[str, str] = {}

    def lineage(self, name: str) -> Iterator[str]:
        if name in self.known:
            yield name
            for base in self.known[name].bases:
                yield from self.lineage(base) if base != name else ()

    def type_of(self, node: ast.expr) -> str:
        """Name of the dataclass that an expression gives; empty where it is not known."""
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self.scopes) if node.id in scope), "")
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in self.members:
                return self.members[node.attr]
            own = self.lineage(self.type_of(node.value))
            return next((self.known[c].types[node.attr] for c in own if node.attr in self.known[c].types), "")
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called == "replace" and node.args:
                return self.type_of(node.args[0])
            return called if called in self.known else ""
        return ""

    def bind(self, target: ast.expr, value: ast.expr | None, kind: str = "") -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self.bind(one, other)
            return
        kind = kind or (self.type_of(value) if value is not None else "")
        if isinstance(target, ast.Name):
            self.scopes[-1][target.id] = kind
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            self.members[target.attr] = kind or self.members.get(target.attr, "")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        before = self.members
        self.members = {
            name: kind for own in reversed([*self.lineage(node.name)]) for name, kind in self.known[own].types.items()
        }
        self.scopes.append({"self": node.name, "cls": node.name})
        first = [item for item in node.body if getattr(item, "name", "") == "__init__"]
        for item in [*first, *(item for item in node.body if item not in first)]:
            self.visit(item)
        self.scopes.pop()
        self.members = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name.startswith(NO_READS) or node.name.endswith("faults"):
            return
        parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.scopes.append(
            {p.arg: next((n for n in named(p.annotation) if n in self.known), "") for p in parameters if p.annotation}
        )
        self.generic_visit(node)
        self.scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)
            self.bind(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        self.bind(node.target, node.value, next((n for n in named(node.annotation) if n in self.known), ""))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.bind(node.target, node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A message, unless it is looked at: nothing in it is a read."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """A message."""

    def visit_Call(self, node: ast.Call) -> None:
        if is_call(node, *SPOKEN):
            return
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        """`**asdict(options)` and `**vars(options)` hand all fields on."""
        if node.arg is None and is_call(node.value, "asdict", "vars"):
            assert isinstance(node.value, ast.Call)
            for own in self.lineage(self.type_of(node.value.args[0])):
                self.reads |= {(own, name) for name in self.known[own].types}
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            for own in self.lineage(self.type_of(node.value)):
                if node.attr in self.known[own].types:
                    self.reads.add((own, node.attr))
        self.generic_visit(node)


def unread(sources: list[str]) -> set[str]:
    """Options that no code of a package reads, as `Dataclass.field`."""
    trees = [ast.parse(source) for source in sources]
    known, reads = classes(trees), set()
    for tree in trees:
        reader = Reader(known)
        reader.visit(tree)
        reads |= reader.reads
    of = Reader(known)  # a field that is defined anew is read where its base's is
    return {
        f"{name}.{one}"
        for name, facts in known.items()
        for one in facts.options
        if not any((own, one) in reads for own in of.lineage(name))
    }
