"""Read the opcodes of a pickle without running any of them.

One rule: nothing is imported, called or built; the stack is played with inert stand-ins, so that names
which are pushed as strings, kept in the memo and fetched later are still seen. Every step is bounded. This
is a tripwire that tells a person what a file asks for; it is never what makes opening it safe.
"""

from __future__ import annotations

import pickletools
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from modelyard.formats.pickle_facts import PickleFacts

if TYPE_CHECKING:
    from typing import BinaryIO

    from modelyard.formats.pickle_facts import WalkLimits

_NAME_BYTES = 512  # longer strings are not names
_LINE_BYTES = 1 << 16
_STACK_LIMIT = 1 << 20
_NESTED = 64  # pickles inside object arrays of joblib files

_ARGUMENT_SIZES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_STRINGS = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING"}
)
_BY_CODE: Final = {ord(op.code): op for op in pickletools.opcodes}


class _Stop(Exception):
    """The stream cannot be followed any further."""


class _Global(Struct, eq=False):
    name: str


class _Made(Struct, eq=False):
    """The result of a call, with what is needed to know a joblib array wrapper."""

    maker: str
    arguments: Any = None


class _Mark:
    """The MARK object."""


_MARK: Final = _Mark()


def walk_pickle(stream: BinaryIO, limits: WalkLimits) -> PickleFacts:
    """List what a pickle stream would import; ``stream`` is at its first opcode.

    Never raises for bad content: ``PickleFacts.trouble`` says what was wrong.
    """
    facts = PickleFacts()
    try:
        _Player(stream, facts, limits).play()
        facts.complete = True
    except _Stop as stop:
        facts.trouble = str(stop)
    return facts


class _Player:
    """Plays opcodes on a stack of stand-ins."""

    def __init__(self, stream: BinaryIO, facts: PickleFacts, limits: WalkLimits, depth: int = 0) -> None:
        self.stream, self.facts, self.limits, self.depth = stream, facts, limits, depth
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def play(self) -> None:
        while True:
            code = self.stream.read(1)
            if not code:
                raise _Stop("the stream ends in the middle; the file is truncated")
            op = _BY_CODE.get(code[0])
            if op is None:
                raise _Stop(f"byte 0x{code[0]:02x} is no pickle opcode")
            self.facts.opcodes += 1
            if self.facts.opcodes > self.limits.opcodes or len(self.stack) > _STACK_LIMIT:
                raise _Stop(f"only the first {self.limits.opcodes:,} opcodes were read")
            argument = self._argument(op)
            if op.name == "STOP":
                return
            self._do(op, argument)

    def _argument(self, op: Any) -> Any:
        """The operand: bytes when it is short, None when it was stepped over."""
        if op.arg is None:
            return None
        size = op.arg.n
        if size == pickletools.UP_TO_NEWLINE:
            line = self._line()
            return line if op.name not in ("GLOBAL", "INST") else (line, self._line())
        if size in _ARGUMENT_SIZES:
            size = int.from_bytes(self._read(_ARGUMENT_SIZES[size]), "little")
        if size > _NAME_BYTES:
            self._skip(size)
            return None
        return self._read(size)

    def _line(self) -> bytes:
        line = self.stream.readline(_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise _Stop("a text operand has no end")
        return line[:-1]

    def _read(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) != size:
            raise _Stop("the stream ends in the middle; the file is truncated")
        return data

    def _skip(self, size: int) -> None:
        if size > self._left():
            raise _Stop("an operand is longer than the file; the file is truncated")
        self.stream.seek(size, 1)

    def _left(self) -> int:
        at = self.stream.tell()
        end = self.stream.seek(0, 2)
        self.stream.seek(at)
        return end - at

    def _do(self, op: Any, argument: Any) -> None:
        name = op.name
        if name in _STRINGS:
            text = None if argument is None else argument.decode("utf-8", "replace")
            self.stack.append(text.strip("'\"") if text is not None and name == "STRING" else text)
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        else:
            self._play_by_table(op)

    def _play_by_table(self, op: Any) -> None:
        before = op.stack_before
        if pickletools.stackslice in before:
            self.slice()
            for _ in before[: before.index(pickletools.markobject)]:
                self.pop()
        else:
            for _ in before:
                self.pop()
        self.stack.extend([None] * len(op.stack_after))

    def pop(self) -> Any:
        """Take the top; a stream that takes from nothing is broken."""
        if not self.stack:
            raise _Stop("an opcode takes from an empty stack; the file is corrupt")
        return self.stack.pop()

    def slice(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise _Stop("an opcode looks for a mark that is not there; the file is corrupt")

    def top(self) -> Any:
        """Look at the top."""
        if not self.stack:
            raise _Stop("an opcode looks at an empty stack; the file is corrupt")
        return self.stack[-1]

    def found(self, module: Any, name: Any) -> _Global:
        """Note an import."""
        if not isinstance(module, str) or not isinstance(name, str):
            self.facts.computed += 1
            return _Global("?")
        full = f"{module}.{name}"
        if len(self.facts.globals) >= self.limits.globals:
            raise _Stop(f"only the first {self.limits.globals:,} imports were read")
        self.facts.globals[full] = None
        return _Global(full)

    def call(self, maker: Any, arguments: Any) -> None:
        """Note a call and push its result."""
        name = maker.name if isinstance(maker, _Global) else "?"
        if isinstance(maker, _Global) and name != "?":
            self.facts.called[name] = None
        if name.startswith("copyreg.__newobj") and isinstance(arguments, tuple) and arguments:
            name = arguments[0].name if isinstance(arguments[0], _Global) else "?"
        self.stack.append(_Made(name, arguments))

    def build(self) -> None:
        """Set a state; a joblib array wrapper is followed by the raw array."""
        state = self.pop()
        made = self.top()
        if isinstance(made, _Made) and made.maker.endswith("numpy_pickle.NumpyArrayWrapper"):
            self._step_over_array(state)

    def _step_over_array(self, state: Any) -> None:
        dtype = state.get("dtype") if isinstance(state, dict) else None
        shape = state.get("shape") if isinstance(state, dict) else None
        spec = dtype.arguments[0] if isinstance(dtype, _Made) and isinstance(dtype.arguments, tuple) else None
        if not isinstance(spec, str) or not isinstance(shape, tuple):
            raise _Stop("an array of joblib could not be stepped over; what follows it was not read")
        self.facts.arrays += 1
        if spec[:1] == "O":
            if self.depth >= _NESTED:
                raise _Stop("object arrays are nested too deeply; what follows was not read")
            _Player(self.stream, self.facts, self.limits, self.depth + 1).play()
            return
        if "numpy_array_alignment_bytes" in state and state["numpy_array_alignment_bytes"] is not None:
            self._skip(self._read(1)[0])
        count = 1
        for size in shape:
            if not isinstance(size, int) or size < 0:
                raise _Stop("an array of joblib has no readable shape; what follows it was not read")
            count *= size
        digits = spec.lstrip("<>=|")[1:]
        width = int(digits) if digits.isdecimal() and len(digits) < 9 else 1
        size = count * width * (4 if "U" in spec else 1)
        self.facts.short = max(0, size - self._left())
        self._skip(size)


def _put(player: _Player, argument: Any) -> None:
    if len(player.memo) > _STACK_LIMIT:
        raise _Stop("the memo is too large; what follows was not read")
    player.memo[_number(argument)] = player.top()


def _memoize(player: _Player, _: Any) -> None:
    if len(player.memo) > _STACK_LIMIT:
        raise _Stop("the memo is too large; what follows was not read")
    player.memo[len(player.memo)] = player.top()


def _get(player: _Player, argument: Any) -> None:
    player.stack.append(player.memo.get(_number(argument)))


def _number(argument: bytes) -> int:
    """A memo index: little-endian bytes, or (protocol 0) short decimal text."""
    return int.from_bytes(argument, "little")


def _text_number(argument: bytes) -> int:
    if not argument.isdigit() or len(argument) > 12:
        raise _Stop("a memo index is no number; the file is corrupt")
    return int(argument)


def _text_put(player: _Player, argument: bytes) -> None:
    _put(player, _text_number(argument).to_bytes(8, "little"))


def _text_get(player: _Player, argument: bytes) -> None:
    _get(player, _text_number(argument).to_bytes(8, "little"))


def _global(player: _Player, argument: tuple[bytes, bytes]) -> None:
    module, name = (part.decode("utf-8", "replace") for part in argument)
    player.stack.append(player.found(module, name))


def _stack_global(player: _Player, _: Any) -> None:
    name = player.pop()
    player.stack.append(player.found(player.pop(), name))


def _inst(player: _Player, argument: tuple[bytes, bytes]) -> None:
    module, name = (part.decode("utf-8", "replace") for part in argument)
    arguments = tuple(player.slice())
    player.call(player.found(module, name), arguments)


def _obj(player: _Player, _: Any) -> None:
    items = player.slice()
    if not items:
        raise _Stop("an object has no class; the file is corrupt")
    player.call(items[0], tuple(items[1:]))


def _reduce(player: _Player, _: Any) -> None:
    arguments = player.pop()
    player.call(player.pop(), arguments)


def _newobj_ex(player: _Player, _: Any) -> None:
    player.pop()
    _reduce(player, None)


def _extension(player: _Player, argument: bytes | None) -> None:
    player.found(None, argument)  # the extension registry of the reader decides: unknown
    player.stack.append(None)


def _dup(player: _Player, _: Any) -> None:
    player.stack.append(player.top())


def _setitem(player: _Player, _: Any) -> None:
    value, key = player.pop(), player.pop()
    _keep(player.top(), [key, value])


def _setitems(player: _Player, _: Any) -> None:
    items = player.slice()
    _keep(player.top(), items)


def _keep(target: Any, items: list[Any]) -> None:
    """Only string keys matter, and only those that a joblib wrapper has."""
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=False):
            if isinstance(key, str) and len(target) < 64:
                target[key] = value


def _tuple(size: int) -> Any:
    def take(player: _Player, _: Any) -> None:
        items = [player.pop() for _ in range(size)]
        player.stack.append(tuple(reversed(items)))

    return take


def _pop(player: _Player, _: Any) -> None:
    player.pop()


def _push(value: Any) -> Any:
    return lambda player, _: player.stack.append(value() if callable(value) else value)


def _proto(player: _Player, argument: bytes) -> None:
    player.facts.protocol = argument[0]


_HANDLERS: dict[str, Any] = {
    "PROTO": _proto,
    "MARK": _push(_MARK),
    "PUT": _text_put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "GET": _text_get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _inst,
    "OBJ": _obj,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _newobj_ex,
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
    "BUILD": lambda player, _: player.build(),
    "DUP": _dup,
    "POP": _pop,
    "POP_MARK": lambda player, _: player.slice(),
    "EMPTY_DICT": _push(dict),
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "DICT": lambda player, _: player.stack.append(_keep_new(player.slice())),
    "EMPTY_TUPLE": _push(()),
    "TUPLE": lambda player, _: player.stack.append(tuple(player.slice())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "BININT": lambda player, argument: player.stack.append(int.from_bytes(argument, "little", signed=True)),
    "BININT1": lambda player, argument: player.stack.append(argument[0]),
    "BININT2": lambda player, argument: player.stack.append(int.from_bytes(argument, "little")),
    "LONG1": lambda player, argument: player.stack.append(
        int.from_bytes(argument, "little", signed=True) if len(argument) < 9 else None
    ),
}


def _keep_new(items: list[Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    _keep(kept, items)
    return kept
