"""What keeps Citus from sending a statement as it is to the node that has the schema.

With schema-based sharding a statement that touches one schema is one task on one node, if the
planner of Citus takes it. When it does, its source says: `TargetlistAndFunctionsSupported` and
`SingleShardUpdateDeleteSupported` in multi_router_planner.c, `PartiallyEvaluateExpression` in
citus_clauses.c. The same is looked for here in the tree that PostgreSQL's own parser makes of a
statement, which it keeps of a function with a SQL body, and with the volatility that its catalog
has of each function: so no Citus is needed, and an operator or a cast that calls a function counts
as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from xclaim.sql import full_names

_TOKENS = re.compile(r'[{}()]|\[[^\]]*\]|"(?:\\.|[^"\\])*"|(?:\\.|[^\s{}()\\])+')
_UPDATE, _INSERT, _DELETE = "2", "3", "4"  # CmdType
_OF_A_TABLE = "0"  # RTEKind
_IMMUTABLE, _VOLATILE = "i", "v"
# What is worked out on the node that one is connected to, as far as it depends on no row.
_WORKED_OUT_BEFORE = {
    "ARRAYCOERCEEXPR",
    "COERCETODOMAIN",
    "COERCEVIAIO",
    "DISTINCTEXPR",
    "FUNCEXPR",
    "NULLIFEXPR",
    "OPEXPR",
    "RELABELTYPE",
    "ROWCOMPAREEXPR",
    "ROWEXPR",
    "SCALARARRAYOPEXPR",
}
_OF_A_ROW = {"VAR", "AGGREF", "WINDOWFUNC"}
_TYPES = (
    *("vartype", "consttype", "paramtype", "funcresulttype", "opresulttype", "resulttype"),
    *("casetype", "coalescetype", "minmaxtype", "array_typeid", "refrestype", "aggtype"),
)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a parse tree, as PostgreSQL prints it."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def parts(self) -> Iterator[Node]:
        """Yield the nodes right below this one."""
        for value in self.fields.values():
            yield from _nodes(value)

    def every(self) -> Iterator[Node]:
        """Yield this node and all that are below it."""
        yield self
        for part in self.parts():
            yield from part.every()


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _nodes(each)


def tree_of(printed: str) -> Any:
    """Return what PostgreSQL has printed of a tree: nodes, lists and words."""
    tokens = _TOKENS.findall(printed)
    tokens.reverse()
    return _read(tokens)


def _read(tokens: list[str]) -> Any:
    token = tokens.pop()
    if token == "(":
        found = []
        while tokens[-1] != ")":
            found.append(_read(tokens))
        tokens.pop()
        return found
    if token != "{":
        return token
    kind, fields = tokens.pop(), dict[str, Any]()
    while (name := tokens.pop()) != "}":
        values = []
        while tokens[-1] != "}" and not tokens[-1].startswith(":"):
            values.append(_read(tokens))
        fields[name.removeprefix(":")] = values[0] if len(values) == 1 else values
    return Node(kind, fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What a server knows of its functions, operators and types, by their numbers."""

    volatility: Mapping[str, str]
    names: Mapping[str, str]
    operators: Mapping[str, str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    schemas: Mapping[str, str]  # of tables

    @classmethod
    def read(cls, connection: Connection) -> Catalog:
        """Read it."""

        def table(query: str) -> dict[str, str]:
            return {str(key): str(value) for key, value in connection.execute(query.encode())}

        return cls(
            volatility=table("SELECT oid, provolatile FROM pg_proc"),
            names=table("SELECT oid, proname FROM pg_proc"),
            operators=table("SELECT oid, oprcode::oid FROM pg_operator"),
            inputs=table("SELECT oid, typinput::oid FROM pg_type"),
            outputs=table("SELECT oid, typoutput::oid FROM pg_type"),
            schemas=table("SELECT oid, relnamespace::regnamespace FROM pg_class"),
        )

    def called(self, node: Node) -> Iterator[str]:
        """Yield the functions that a node itself calls."""
        fields = node.fields
        if node.kind in ("FUNCEXPR", "AGGREF", "WINDOWFUNC"):
            yield fields.get("funcid") or fields.get("aggfnoid") or fields["winfnoid"]
        elif "opno" in fields:
            yield self.operators[fields["opno"]]
        elif node.kind == "ROWCOMPAREEXPR":
            yield from (self.operators[each] for each in fields["opnos"] if each in self.operators)
        elif node.kind == "COERCEVIAIO":
            yield self.outputs[_type_of(fields["arg"])]
            yield self.inputs[fields["resulttype"]]

    def mutable(self, node: Node) -> list[str]:
        """Return the names of what a node itself calls that is not IMMUTABLE."""
        return [self.names[each] for each in self.called(node) if self._is_mutable(each)]

    def _is_mutable(self, function: str) -> bool:
        return self.volatility[function] != _IMMUTABLE

    def volatile(self, node: Node) -> list[str]:
        """Return the names of what a node itself calls that is VOLATILE."""
        called = self.called(node)
        return [self.names[each] for each in called if self.volatility[each] == _VOLATILE]


def _type_of(node: Node) -> str:
    if node.kind == "SUBLINK":
        return _type_of(node.fields["subselect"].fields["targetList"][0].fields["expr"])
    return next(str(node.fields[name]) for name in _TYPES if name in node.fields)


def sent(statement: Any) -> tuple[str, list[str]]:
    """Return the text of a statement with numbered parameters, and their types."""
    compiled = statement.compile(dialect=full_names.dialect())
    binds = {name: bind.type for bind, name in compiled.bind_names.items()}
    places = {name: f"${number}" for number, name in enumerate(binds, 1)}
    text = re.sub(r"%\((\w+)\)s", lambda found: places[found[1]], str(compiled))
    types = [type_.compile(dialect=full_names.dialect()) for type_ in binds.values()]
    return text.replace("%%", "%"), types


def trees(connection: Connection, text: str, types: Sequence[str] = ()) -> list[Node]:
    """Return what the parser makes of a statement, whose tables have to be there."""
    # The last SELECT of a function may have any columns if the function returns nothing.
    connection.execute(
        f"CREATE OR REPLACE FUNCTION pg_temp.parsed({', '.join(types)}) RETURNS void LANGUAGE sql"
        f" BEGIN ATOMIC {text}; END".encode()
    )
    query = "SELECT prosqlbody::text FROM pg_proc WHERE oid = %s::regprocedure"
    name = f"pg_temp.parsed({', '.join(types)})"
    (printed,) = connection.execute(query, [name]).fetchall()
    return list(_nodes(tree_of(printed[0])))


def hindrances(catalog: Catalog, statement: list[Node]) -> set[str]:
    """Return why Citus would not send a statement as it is to one node; nothing: it does."""
    every = [node for root in statement for node in root.every()]
    schemas = {
        catalog.schemas[node.fields["relid"]]
        for node in every
        if node.kind == "RANGETBLENTRY" and node.fields["rtekind"] == _OF_A_TABLE
    }
    found = {f"tables of {len(schemas)} schemas"} if len(schemas) > 1 else set()
    for node in every:
        if node.kind == "QUERY" and node.fields["commandType"] in (_UPDATE, _DELETE):
            found |= _of_a_change(catalog, node)
    return found


def _of_a_change(catalog: Catalog, change: Node) -> set[str]:
    volatile = {name for node in change.every() for name in catalog.volatile(node)}
    found = {f"{name} is VOLATILE" for name in volatile}
    returned = _nodes(change.fields["returningList"])
    mutable = {name for each in returned for node in each.every() for name in catalog.mutable(node)}
    found |= {f"{name} in RETURNING is not IMMUTABLE" for name in mutable}
    # Of what a DELETE and an UPDATE set and ask; their CTEs and sub-SELECTs may call more.
    for expression in [
        *_nodes(change.fields["targetList"]),
        *_nodes(change.fields["jointree"].fields["quals"]),
    ]:
        found |= _of_an_expression(catalog, expression)
    return found | {
        f"{node.kind} of a sub-SELECT that reads no row" for node in _worked_out(change)
    }


def _of_an_expression(catalog: Catalog, node: Node) -> set[str]:
    """Return what a change must not call for each row (MasterIrreducibleExpressionWalker)."""
    if node.kind == "QUERY":
        return set()
    if node.kind in ("CASEEXPR", "COALESCEEXPR"):
        mutable = {name for each in node.every() for name in catalog.mutable(each)}
        return {f"{name} in CASE or COALESCE is not IMMUTABLE" for name in mutable}
    found = set()
    if _has(node, lambda part: part.kind == "VAR", into_queries=False):
        found = {f"{name} of a column is not IMMUTABLE" for name in catalog.mutable(node)}
    for part in node.parts():
        found |= _of_an_expression(catalog, part)
    return found


def _worked_out(node: Node) -> Iterator[Node]:
    """Yield what Citus works out beforehand, and cannot, since there is a sub-SELECT in it."""
    is_set = node.fields.get("funcretset") == "true"
    depends = _has(node, lambda part: part.kind in _OF_A_ROW, into_queries=True)
    if node.kind in _WORKED_OUT_BEFORE and not is_set and not depends:
        if _has(node, lambda part: part.kind == "SUBLINK", into_queries=True):
            yield node
        return
    for part in node.parts():
        yield from _worked_out(part)


def _has(node: Node, test: Callable[[Node], bool], *, into_queries: bool) -> bool:
    if test(node):
        return True
    if node.kind == "QUERY" and not into_queries:
        return False
    return any(_has(part, test, into_queries=into_queries) for part in node.parts())
