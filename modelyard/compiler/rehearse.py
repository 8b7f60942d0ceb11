"""Load and run a graph in a bounded child, before any server does.

One rule: what a graph costs and how it treats rows is found by running it where it can harm nobody. A valid
file of 1 KB can ask for 5 GB or loop for ever; it ends here, in one line that names the limit.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from msgspec.structs import replace

from modelyard.compiler.checked import Checked
from modelyard.compiler.declared import check_declared
from modelyard.compiler.external import external_files
from modelyard.compiler.graph import Graph
from modelyard.compiler.guesses import fill, guesses
from modelyard.compiler.proof import ROWS, Proof, prove
from modelyard.compiler.roles import with_roles
from modelyard.compiler.shapes import check_outputs, check_same, input_specs, output_specs
from modelyard.core.errors import BadInput, ChildFailed, MissingFile, ModelFailed, NotConvertible, TooLarge
from modelyard.sandbox.child import Child
from modelyard.sandbox.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import TypeAlias

    from modelyard.core.signature import Signature, TensorSpec
    from modelyard.core.tensor import Array

    Progress: TypeAlias = Callable[[str, float | None], None]

TARGET = "modelyard.compiler.rehearse_child:verbs"

POLICY = Policy(memory_bytes=4 << 30, cpu_s=600, wall_s=900)
"""The default limits of the child; reading the graph is added to it."""

LOAD_S, RUN_S = 60.0, 30.0
"""Default limits of loading the graph, and of one run."""

MANY = 64
"""The larger batch that is timed, unless it would take over a second."""

_TRIES_S = 20.0
_TIME_S = 0.1
_MEMORY_WORDS = ("bad_alloc", "allocate memory", "out of memory")


class Rehearsal:
    """A graph held open in a child; close it, or use it in a ``with`` block.

    Args:
        signature: what it takes and gives, as far as running it showed.
        checked: what was measured.
        example: rows that ran, in the order of the signature; empty when none did.
        stage: the child.
    """

    def __init__(
        self, signature: Signature, checked: Checked, example: tuple[Array, ...], stage: _Stage
    ) -> None:
        self.signature = signature
        self.checked = checked
        self.example = example
        self._stage = stage

    @classmethod
    def open(
        cls,
        graph_path: Path,
        *,
        expected: Signature | None = None,
        rows: Sequence[tuple[Array, ...]] = (),
        policy: Policy = POLICY,
        trust: bool = False,
        load_s: float = LOAD_S,
        run_s: float = RUN_S,
        on_progress: Progress | None = None,
    ) -> Self:
        """Load a graph, prove how it treats rows, and time it.

        Args:
            graph_path: the ONNX file; files with weights lie beside it.
            expected: the signature that the graph must have; None works one out.
            rows: inputs that the model is known to take, tried before made-up ones.
            policy: limits of the child.
            trust: go on where the kernel cannot confine a child.
            load_s: limit of loading.
            run_s: limit of one run.
            on_progress: hears what is being done.

        Raises:
            MissingFile: no such file.
            CorruptFile: not an ONNX graph.
            UnsafeFile: its weights lie outside its folder.
            NotConvertible: a graph that cannot be served, and why.
            ChildFailed: loading or running broke a limit, and which.
            SandboxUnavailable: no confinement here, and no ``trust``.
        """
        say = on_progress or _silent
        say("loading the graph in a bounded child", None)
        graph = _read(graph_path)
        check_declared(graph, policy.memory_bytes)
        weights = external_files(graph, graph_path.resolve().parent)
        own = replace(policy, read=(*policy.read, graph_path.resolve(), *weights))
        stage = _Stage(Child.start(TARGET, own, trust=trust), run_s)
        try:
            facts = stage.load(graph_path.resolve(), load_s)
            inputs = input_specs(graph, facts["inputs"])
            check_outputs(facts["outputs"])
            say("proving that rows are independent", None)
            show = _Show(stage, inputs, facts["outputs"])
            proof, kept = show.prove([_in_order(one, expected, inputs) for one in rows])
            signature, notes = show.signature(proof)
            if expected is not None:
                check_same(expected, signature)
                signature = replace(expected, batched=expected.batched and signature.batched)
            else:
                signature = with_roles(signature, graph)
            checked = show.time(proof, kept, facts, notes)
        except BaseException:
            stage.close()
            raise
        return cls(signature, checked, show.example(kept, signature), stage)

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Answer one batch.

        Args:
            inputs: in the order of ``signature.inputs``.

        Returns:
            outputs in the order of ``signature.outputs``.

        Raises:
            BadInput: rows that the graph refuses.
            ModelFailed: the graph failed.
            ChildFailed: it broke a limit.
        """
        found = self._stage.run([spec.name for spec in self.signature.inputs], inputs)
        return tuple(found[spec.name] for spec in self.signature.outputs)

    def time(self, inputs: tuple[Array, ...]) -> float:
        """Median seconds of one run over these rows, in the graph alone.

        Raises:
            BadInput: rows that the graph refuses.
            ModelFailed: the graph failed.
            ChildFailed: it broke a limit.
        """
        found = self._stage.time([spec.name for spec in self.signature.inputs], inputs)
        return float(found["run_s"])

    def close(self) -> None:
        """End the child."""
        self._stage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Stage:
    """The child, with its calls named in its failures."""

    def __init__(self, child: Child, run_s: float) -> None:
        self._child = child
        self._run_s = run_s
        self._outputs: list[str] = []

    def load(self, path: Path, load_s: float) -> dict[str, Any]:
        with _doing("loading the graph"):
            facts = self._child.call("open", {"path": str(path)}, timeout_s=load_s).values
        self._outputs = [str(row[0]) for row in facts["outputs"]]
        return facts

    def run(self, names: list[str], inputs: Sequence[Array]) -> dict[str, Array]:
        with _doing("running the graph"):
            reply = self._child.call("run", {"inputs": names}, inputs, timeout_s=self._run_s)
        return dict(zip(self._outputs, reply.arrays, strict=True))

    def time(self, names: list[str], inputs: Sequence[Array]) -> dict[str, Any]:
        values = {"inputs": names, "budget_s": _TIME_S, "most": 50}
        with _doing("timing the graph"):
            return self._child.call("time", values, inputs, timeout_s=3 * self._run_s).values

    def close(self) -> None:
        self._child.close()


class _Show:
    """One graph on its stage: tries, proof, signature, timing."""

    def __init__(self, stage: _Stage, inputs: tuple[TensorSpec, ...], outputs: list[list[Any]]) -> None:
        self._stage = stage
        self._inputs = inputs
        self._outputs = outputs
        self._names = [spec.name for spec in inputs]
        self._seen: tuple[Array, ...] | None = None
        self._failure = ""
        self._may_batch = bool(inputs) and all(spec.shape and spec.shape[0] is None for spec in inputs)

    def prove(self, given: list[tuple[Array, ...]]) -> tuple[Proof | None, tuple[Array, ...] | None]:
        """Find rows that run, and see whether they are independent.

        Returns:
            the proof (None: nothing ran), and rows that ran.
        """
        proofs: list[tuple[Proof, tuple[Array, ...]]] = []
        end = time.monotonic() + _TRIES_S
        for rows in self._tries(given):
            if time.monotonic() > end or len(proofs) == 3:
                break
            one = tuple(np.ascontiguousarray(array[:1]) for array in rows) if self._may_batch else rows
            if (answer := self._answer(one)) is None:
                continue
            self._seen = self._seen or answer
            if not self._may_batch:
                return Proof(False, "the file fixes the number of rows", False), rows
            proofs.append((prove(self._run, rows), rows))
        if not proofs:
            return None, None
        # Several draws: rows of one of them may all end in the same answer, which hides that they mix.
        return next((one for one in proofs if not one[0].batched), proofs[0])

    def _tries(self, given: list[tuple[Array, ...]]) -> Iterator[tuple[Array, ...]]:
        for rows in given:
            count = min((len(array) for array in rows), default=0)
            if self._may_batch and count:
                at = np.linspace(0, count - 1, ROWS).astype(int)
                yield tuple(np.ascontiguousarray(array[at]) for array in rows)
        for seed, guess in enumerate(guesses(self._inputs)):
            yield fill(self._inputs, ROWS, guess, seed, self._may_batch)

    def _run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(self._stage.run(self._names, inputs).values())

    def _answer(self, inputs: tuple[Array, ...]) -> tuple[Array, ...] | None:
        try:
            return self._run(inputs)
        except (BadInput, ModelFailed, TooLarge) as error:
            self._failure = error.message
            if any(word in error.message for word in _MEMORY_WORDS):
                raise NotConvertible(
                    "one row needs more memory than the limit of the rehearsal; "
                    f"raise the limit to serve it ({error.message})"
                ) from error
            return None

    def signature(self, proof: Proof | None) -> tuple[Signature, list[str]]:
        """What was seen, as a signature, and notes."""
        batched = proof is not None and proof.batched
        inputs, notes = self._inputs, []
        if proof is None:
            notes.append(f"no made-up rows could be run, so nothing was measured: {self._failure}")
        elif not batched:
            notes.append(f"rows are not batched: {proof.reason}")
            if self._may_batch and not proof.sizes:
                inputs = tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in inputs)
        return output_specs(inputs, self._outputs, self._seen, batched), notes

    def example(self, rows: tuple[Array, ...] | None, signature: Signature) -> tuple[Array, ...]:
        """Rows that ran, as callers would send them."""
        if rows is None:
            return ()
        if self._may_batch and not signature.batched:
            rows = tuple(np.ascontiguousarray(array[:1]) for array in rows)
        by_name = dict(zip(self._names, rows, strict=True))
        return tuple(by_name[spec.name] for spec in signature.inputs)

    def time(
        self, proof: Proof | None, rows: tuple[Array, ...] | None, facts: dict[str, Any], notes: list[str]
    ) -> Checked:
        """Time one row and many."""
        memory, load_s, runtime = facts["load_bytes"], facts["load_s"], facts["runtime"]
        if proof is None or rows is None:
            return Checked(False, False, 0.0, 0.0, 1, load_s, memory, runtime, tuple(notes))
        one = tuple(np.ascontiguousarray(array[:1]) for array in rows) if self._may_batch else rows
        single = self._stage.time(self._names, one)
        count, many = 1, single
        if proof.batched:
            count = int(min(MANY, max(2.0, 1.0 / max(single["run_s"], 1e-9))))
            at = np.arange(count) % ROWS
            try:
                many = self._stage.time(self._names, [np.ascontiguousarray(array[at]) for array in rows])
            except (BadInput, ModelFailed, TooLarge) as error:
                notes.append(f"{count} rows at once do not fit the limits of the rehearsal: {error.message}")
                count = 1
        grown = max(many["peak_bytes"] - facts["base_bytes"], memory)
        return Checked(
            proof.batched, True, single["run_s"], many["run_s"], count, load_s, grown, runtime, tuple(notes)
        )


class _doing:  # noqa: N801 (reads as a statement)
    """Says in a child's failure what it was doing."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ChildFailed):
            raise ChildFailed(f"{self._what} was stopped: {error.message}") from error


def _read(path: Path) -> Graph:
    try:
        return Graph(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFile(f"{path}: no such file") from None


def _in_order(
    rows: tuple[Array, ...], expected: Signature | None, inputs: tuple[TensorSpec, ...]
) -> tuple[Array, ...]:
    """Rows in the order of the graph's inputs, which may differ from that of the signature."""
    if expected is None:
        return rows
    by_name = {spec.name: array for spec, array in zip(expected.inputs, rows, strict=True)}
    return tuple(by_name[spec.name] for spec in inputs if spec.name in by_name)


def _silent(text: str, share: float | None) -> None:
    del text, share
