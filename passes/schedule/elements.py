"""The holes of a schedule: emits the values of a body's nodes at one point, for neighbouring elements at once.

Elements that do not change along the lanes are computed once as scalars and splat where they meet vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mlc.errors import InternalError
from mlc.ir.graph import CONCATENATE, CONSTANT, IOTA, PAD, Node
from mlc.ir.kernel import Index, IndexLike, IndexVariable, KernelBuilder, Memory, Value, VectorType
from mlc.ir.types import BOOL, I32, I64, DType, Shape

from .access import Access, Guard, operand_accesses
from .domain import Coordinates, Domain, Lookup, Quotient, coefficient_of
from .scalars import bits_of_element, emit_elementwise, is_uniform
from .sizes import Sizes

FEW_APART = (2, 3, 4)  # elements from lane to lane that are picked from whole vectors


class Elements:
    """Values of nodes in one kernel. ``memories`` hold the nodes that lie in memory: parameters and temporaries.

    A memory has its node's rank and is indexed by coordinates, or rank 1 and is indexed by row-major position.
    """

    def __init__(
        self, builder: KernelBuilder, sizes: Sizes, memories: Mapping[Node, Memory], *, in_tables: bool = False
    ) -> None:
        self.builder = builder
        self.in_tables = in_tables
        self.sizes = sizes
        self.memories = dict(memories)
        self._domains: dict[Shape, Domain] = {}
        self._accesses: dict[tuple[int, Access], tuple[Access, ...]] = {}

    def prepare(self, nodes: Iterable[Node]) -> None:
        """Make the tables that array constants among ``nodes`` are read from: first in the parallel loop's body.

        They are written to scratch, or are constant memory where ``in_tables`` says so.
        """
        b = self.builder
        for node in nodes:
            if node.op is not CONSTANT or is_uniform(node) or node in self.memories:
                continue
            flat = node["value"].array.reshape(-1)
            if self.in_tables:
                self.memories[node] = b.table("table", node.dtype, (flat.size,), list(flat))
                continue
            table = b.scratch("table", node.dtype, (flat.size,))
            for start in range(0, flat.size, 16):
                part = flat[start : start + 16]
                bits = tuple(bits_of_element(x, node.dtype) for x in part)
                row = b.value("constant", (), bits, VectorType(node.dtype, len(bits)))
                b.store(table, (start,), row)
            self.memories[node] = table

    def point(
        self, shape: Shape, index: Sequence[IndexLike], lanes: int = 1, mask: Value | None = None, lane_axis: int = -1
    ) -> Point:
        """The elements of tensors of ``shape`` at ``index``, and the next ones along ``lane_axis`` in the other lanes.

        ``mask`` has the lanes on that are inside. Values are emitted where they are first asked for, so a point is
        used only while the block it was made in is open.
        """
        domain = self._domains.setdefault(shape, Domain.of(shape, self.sizes))
        axes = {axis: v for v, axis in zip(domain.variables, domain.axis_of, strict=True)}
        at = {v: Index.of(index[axis]) for axis, v in axes.items()}
        return Point(self, domain, at, lanes, axes.get(lane_axis % len(shape)) if shape else None, mask)

    def operands(self, access: Access, domain: Domain) -> tuple[Access, ...]:
        """What an element is made of; nothing for what lies in memory."""
        if access.node in self.memories:
            return ()
        key = (id(domain), access)
        if key not in self._accesses:
            self._accesses[key] = operand_accesses(access, domain)
        return self._accesses[key]


class Point:
    """``lanes`` neighbouring points of a domain: the domain's variables are ``at``, ``lane_variable`` + l in lane l."""

    def __init__(
        self,
        elements: Elements,
        domain: Domain,
        at: Mapping[IndexVariable, Index],
        lanes: int = 1,
        lane_variable: IndexVariable | None = None,
        mask: Value | None = None,
    ) -> None:
        self.elements = elements
        self.builder = elements.builder
        self.domain = domain
        self.at = dict(at)
        self.lanes = lanes
        self.lane_variable = lane_variable
        self.mask = mask
        self._values: dict[Access, Value] = {}
        self._wide: dict[int, Value] = {}
        self._constants: dict[int, int] = {}
        self._masks: dict[tuple[Guard, ...], Value | None] = {}
        self._quotients: dict[tuple[IndexVariable, int], Index] = {}

    def bind(self, node: Node, value: Value) -> None:
        """``node``, of the domain's shape, has this value here."""
        self.assume(Access(node, self.domain.coordinates), value)

    def value(self, node: Node) -> Value:
        """The elements of ``node``, of the domain's shape: a vector of ``lanes``."""
        return self.widen(self.natural(node))

    def natural(self, node: Node) -> Value:
        """As ``value``, but a scalar where all lanes are equal."""
        return self.element(Access(node, self.domain.coordinates if node.shape else ()))

    def padded(self, access: Access) -> Value:
        """As ``element``, but zeros where a guard of the access does not hold."""
        value = self.element(access)
        if access.node in self.elements.memories:  # what is not read is zero
            return value
        return self._choose(self.holds(access.guards), value, self.builder.constant(0, value.dtype))

    def assume(self, access: Access, value: Value) -> None:
        """The elements of ``access`` have this value here."""
        self._values[access] = value

    def element(self, root: Access) -> Value:
        """The elements of any access here; a scalar where all lanes are equal."""
        work = [root]
        while work:
            access = work[-1]
            if access in self._values:
                work.pop()
                continue
            operands = self.elements.operands(access, self.domain)
            missing = [o for o in operands if o not in self._values]
            if missing:
                work.extend(reversed(missing))
            else:
                self._values[access] = self._emit(access, operands)
                work.pop()
        return self._values[root]

    def store(
        self,
        memory: Memory,
        value: Value,
        place: Coordinates | None = None,
        whole: Shape | None = None,
        offset: IndexLike = 0,
        nontemporal: bool = False,
    ) -> None:
        """Write the elements of a tensor of the domain's shape here, ``offset`` elements further on in ``memory``.

        Where ``place`` is given, they lie there in a tensor of the shape ``whole`` that ``memory`` holds.
        ``nontemporal`` is for whole vectors at multiples of their size, past the caches.
        """
        b, value = self.builder, self.widen(value)
        shape = self.domain.shape if whole is None else whole
        address = self._address(memory, shape, self.domain.coordinates if place is None else place)
        address = (*address[:-1], address[-1] + offset) if address else ()
        if self.lanes == 1 or self._steps(memory, address) == 1:
            past = nontemporal and self.mask is None and self.lanes > 1
            b.store(memory, self._resolve_all(address), value, self.mask, past)
            return
        for lane in range(self.lanes):
            mask = None if self.mask is None else b.extract(self.mask, lane)
            b.store(memory, self._resolve_all(address, lane), b.extract(value, lane), mask)

    def place(self, index: Index) -> Index:
        """An index of the domain here, in the kernel's own variables."""
        return self._resolve(index)

    def read(self, memory: Memory, node: Node, place: Coordinates) -> Value:
        """The elements at ``place`` of ``node``, which ``memory`` holds at this moment: a vector of ``lanes``."""
        return self.widen(self._load(memory, Access(node, place)))

    def widen(self, value: Value) -> Value:
        """The same value in every lane, if it is not a vector yet."""
        if value.lanes == self.lanes:
            return value
        if value.id not in self._wide:
            bits = self._constants.get(value.id)
            b = self.builder
            constant = bits is not None and b.constant_bits(bits, value.dtype, self.lanes)
            self._wide[value.id] = constant or b.splat(value, self.lanes)
        return self._wide[value.id]

    # Nodes

    def _emit(self, access: Access, operands: tuple[Access, ...]) -> Value:
        node, b = access.node, self.builder
        if node in self.elements.memories:
            return self._load(self.elements.memories[node], access)
        if node.op is CONSTANT and is_uniform(node):
            bits = bits_of_element(node["value"].array.reshape(-1)[0], node.dtype)
            value = b.constant_bits(bits, node.dtype)
            self._constants[value.id] = bits
            return value
        if node.op is IOTA:
            return self._position(access.coordinates[node["dimension"]], node)
        if node.op.name == "size":
            return b.index_value(self.elements.sizes.index(node["value"]), I64)
        if node.op.name == "get_dimension_size":
            return b.index_value(self.elements.sizes.index(node.operands[0].shape[node["dimension"]]), I64)
        values = [self._values[o] for o in operands]
        if node.op is PAD:
            return self._choose(self.holds(_new_guards(operands[0], access)), values[0], values[1])
        if node.op is CONCATENATE:
            value = values[-1]
            for k in range(len(values) - 2, -1, -1):
                value = self._choose(self.holds(_new_guards(operands[k], access)), values[k], value)
            return value
        if not node.op.elementwise:  # a movement: the element itself
            return values[0]
        if any(v.lanes > 1 for v in values):
            values = [self.widen(v) for v in values]
        return emit_elementwise(b, node, values)

    def _choose(self, mask: Value | None, on: Value, off: Value) -> Value:
        if mask is None or on is off:
            return on
        if max(mask.lanes, on.lanes, off.lanes) > 1:
            mask, on, off = self.widen(mask), self.widen(on), self.widen(off)
        return self.builder.select(mask, on, off)

    def _position(self, index: Index, node: Node) -> Value:
        """An index as elements of an iota."""
        b, dtype = self.builder, node.dtype
        small = isinstance(node.shape[node["dimension"]], int)
        whole = dtype if dtype.is_integer else (I32 if small else I64)
        return b.convert(self._index_lanes(index, whole), dtype)

    def _index_lanes(self, index: Index, dtype: DType) -> Value:
        """An index in each lane; a scalar where it is the same in all."""
        b, step = self.builder, self._step(index)
        if step is None or step.constant is None:
            value = b.constant(0, dtype, self.lanes)
            for lane in range(self.lanes):
                value = b.insert(value, b.index_value(self._resolve(index, lane), dtype), lane)
            return value
        first = b.index_value(self._resolve(index), dtype)
        if step.constant == 0:
            return first
        lanes = b.iota(dtype, self.lanes)
        if step.constant != 1:
            wrapped = int(np.int64(step.constant).astype(dtype.numpy))  # as all arithmetic of integers does
            lanes = b.op("multiply", lanes, b.constant(wrapped, dtype, self.lanes))
        return b.op("add", b.splat(first, self.lanes), lanes)

    # Memory

    def _load(self, memory: Memory, access: Access) -> Value:
        b = self.builder
        address = self._address(memory, access.node.shape, access.coordinates)
        step = 0 if self.lanes == 1 else self._steps(memory, address)
        uniform = tuple(g for g in access.guards if self._is_uniform(g.index))
        if step == 0 and not self._decides(set(access.guards) - set(uniform), address):
            guard = self.holds(uniform)
            if self.lanes == 1 and self.mask is not None:
                guard = self.mask if guard is None else b.op("and", guard, self.mask)
            return b.load(memory, self._resolve_all(address), 1, guard)
        mask = self.holds(access.guards)
        if mask is not None:
            mask = self.widen(mask)
            mask = mask if self.mask is None else b.op("and", mask, self.mask)
        else:
            mask = self.mask
        if step == 1:
            return b.load(memory, self._resolve_all(address), self.lanes, mask)
        if step == -1:
            turn = tuple(range(self.lanes - 1, -1, -1))
            turned = None if mask is None else b.shuffle(mask, mask, turn)
            v = b.load(memory, self._resolve_all(address, self.lanes - 1), self.lanes, turned)
            return b.shuffle(v, v, turn)
        if step in FEW_APART:
            return self._load_apart(memory, self._resolve_all(address), step, mask)
        apart = self._apart(memory, address)
        if apart is not None:
            return b.gather(memory, (self._resolve(apart[0]),), apart[1], mask)
        value = b.constant(0, memory.dtype, self.lanes)
        for lane in range(self.lanes):
            on = None if mask is None else b.extract(mask, lane)
            value = b.insert(value, b.load(memory, self._resolve_all(address, lane), 1, on), lane)
        return value

    def _load_apart(self, memory: Memory, first: Coordinates, step: int, mask: Value | None) -> Value:
        """Lanes ``step`` elements apart: whole vectors from the first one to the last one, and what they pick of each.

        Masked as the lanes are, and off between them.
        """
        b, lanes = self.builder, self.lanes
        last = (lanes - 1) * step + 1 - lanes
        begins = [min(i * lanes, last) for i in range(step)]
        found: Value | None = None
        for begin in begins:
            on = None
            if mask is not None:
                places = [divmod(begin + i, step) for i in range(lanes)]
                off = b.constant(False, BOOL, lanes)
                on = b.shuffle(mask, off, [lane if rest == 0 else lanes for lane, rest in places])
            vector = b.load(memory, (*first[:-1], first[-1] + begin), lanes, on)
            picked = [lane * step - begin for lane in range(lanes)]  # where it is in this vector, if it is
            if found is None:
                found = vector
                before = [i if 0 <= i < lanes else 0 for i in picked]
            else:
                found = b.shuffle(found, vector, [
                    before[i] if i * step < begin else lanes + min(place, lanes - 1) for i, place in enumerate(picked)
                ])  # fmt: skip
                before = list(range(lanes))
        assert found is not None
        return found

    def _apart(self, memory: Memory, address: Coordinates) -> tuple[Index, Value] | None:
        """An address that lanes look up, as what they have in common and each lane's distance from there.

        None where nothing is looked up, where more than a sum of multiples is computed, and for small elements, which
        processors do not gather.
        """
        if len(address) != 1 or memory.dtype.itemsize < 4:
            return None
        common, offsets = Index.of(0), list[Value]()
        size = memory.shape[0].constant
        dtype = I32 if size is not None and size < 1 << 31 else I64
        b, looked_up = self.builder, False
        for monomial, coefficient in address[0].terms:
            varying = [v for v in monomial if not self._is_uniform(Index.of(v))]
            if not varying:
                common = common + Index([(monomial, coefficient)])
                continue
            (v, *rest) = monomial
            what = self.domain.derived.get(v)
            if rest or isinstance(what, Quotient):
                return None
            looked_up |= isinstance(what, Lookup)
            lanes = self._index_lanes(Index.of(v), dtype) if what is None else self._look_up_lanes(what, dtype)
            if coefficient != 1:
                lanes = b.op("multiply", lanes, b.constant(coefficient, dtype, self.lanes))
            offsets.append(lanes)
        if not looked_up:
            return None
        total = offsets[0]
        for one in offsets[1:]:
            total = b.op("add", total, one)
        return common, total

    def _look_up_lanes(self, lookup: Lookup, dtype: DType) -> Value:
        """Integer elements of all lanes, inside of their limits, as ``dtype``, which holds these."""
        b, value, limit = self.builder, self.widen(self.element(lookup.access)), self._resolve(lookup.limit)
        if limit.constant is None and self.elements.sizes.upper_bound(limit) > value.dtype.limits[1]:
            value = b.convert(value, I64)
        source = value.dtype
        if limit.constant is None:
            value = b.op("minimum", value, b.splat(b.index_value(limit, source), self.lanes))
        elif limit.constant < source.limits[1]:
            value = b.op("minimum", value, b.constant(limit.constant, source, self.lanes))
        if source.kind == "int":
            value = b.op("maximum", value, b.constant(0, source, self.lanes))
        return b.convert(value, dtype)

    def _decides(self, guards: Iterable[Guard], address: Coordinates) -> bool:
        """Whether guards that differ by lane say whether an address that does not is inside its memory."""
        variables = {v for c in address for v in self.domain.dependencies(c)}
        return any(variables & self.domain.dependencies(g.index) for g in guards)

    def _address(self, memory: Memory, shape: Shape, coordinates: Coordinates) -> Coordinates:
        if len(memory.shape) == 1 and len(shape) != 1:
            return (self.domain.linear(shape, coordinates),)
        if len(memory.shape) != len(shape):
            raise InternalError(f"{memory.name} has rank {len(memory.shape)} for a node of rank {len(shape)}")
        return coordinates

    def _steps(self, memory: Memory, address: Coordinates) -> int | None:
        """How an address moves from lane to lane: 0, 1, -1 or a few elements; None for anything else."""
        steps = [self._step(c) for c in address]
        if not all(s is not None and s.constant == 0 for s in steps[:-1]):
            return None
        last = steps[-1].constant if steps and steps[-1] is not None else (0 if not steps else None)
        if last == 0:
            return 0
        contiguous = memory.strides[-1].constant == 1
        few = memory.dtype.itemsize > 1 and last in FEW_APART
        return last if contiguous and (few or last in (1, -1)) else None

    # Indices

    def _is_uniform(self, index: Index) -> bool:
        step = self._step(index)
        return step is not None and step.constant == 0

    def _step(self, index: Index) -> Index | None:
        """What one lane adds to ``index``; None where lanes are not evenly apart."""
        if self.lane_variable is None or self.lanes == 1:
            return Index.of(0)
        derived = Index.of(0)
        for v in index.variables:
            if v in self.domain.derived:
                derived = derived + Index.of(v)
        if self.lane_variable in self.domain.dependencies(derived):
            return None
        return coefficient_of(index, self.lane_variable)

    def _resolve(self, index: Index, lane: int = 0) -> Index:
        """``index`` in the kernel's own variables."""
        values: dict[IndexVariable, Index] = {}
        for v in sorted(index.variables):
            if v in self.domain.derived:
                values[v] = self._quotient(v, lane)
            elif v.kind == "d":
                values[v] = self.at[v] + lane if v == self.lane_variable else self.at[v]
        return index.substitute(values)

    def _resolve_all(self, indices: Coordinates, lane: int = 0) -> Coordinates:
        return tuple(self._resolve(i, lane) for i in indices)

    def _quotient(self, variable: IndexVariable, lane: int) -> Index:
        if (variable, lane) not in self._quotients:
            q = self.domain.derived[variable]
            if isinstance(q, Lookup):
                found = self._look_up(q, lane)
                self._quotients[variable, lane] = found
                return found
            divide = self.builder.floordiv if q.op == "floordiv" else self.builder.mod
            self._quotients[variable, lane] = divide(self._resolve(q.index, lane), q.divisor)
        return self._quotients[variable, lane]

    def _look_up(self, lookup: Lookup, lane: int) -> Index:
        """An integer element of one lane as an index, inside of its limits."""
        b, value = self.builder, self.element(lookup.access)
        if value.lanes > 1:
            value = b.extract(value, lane)
        limit = self._resolve(lookup.limit, lane)
        if value.dtype.kind == "uint" and value.dtype.bits == 64:  # an index is signed
            value = b.op("minimum", value, b.index_value(limit, value.dtype))
        return b.max(b.min(b.index_of(value), limit), 0)

    # Guards

    def holds(self, guards: tuple[Guard, ...]) -> Value | None:
        """Where all guards hold: bool lanes, or a scalar that is equal for all lanes; None for everywhere."""
        if guards not in self._masks:
            found: Value | None = None
            for guard in guards:
                for mask in self._sides(guard):
                    if found is None:
                        found = mask
                    elif mask.lanes == found.lanes:
                        found = self.builder.op("and", found, mask)
                    else:
                        found = self.builder.op("and", self.widen(found), self.widen(mask))
            self._masks[guards] = found
        return self._masks[guards]

    def _sides(self, guard: Guard) -> list[Value]:
        b, index, found = self.builder, guard.index, []
        step = self._step(index)
        lower = not self.domain.is_positive(index + 1)
        upper = not self.domain.is_positive(guard.extent - index)
        if step is not None and step.constant == 1:
            first = self._resolve(index)
            if lower:
                found.append(b.op("not", b.tail_mask(first, 0, self.lanes)))
            if upper:
                found.append(b.tail_mask(first, self._resolve(guard.extent), self.lanes))
            return found
        position = self._index_lanes(index, I64)
        if lower:
            found.append(b.compare("GE", position, b.constant(0, I64, position.lanes)))
        if upper:
            extent = b.index_value(self._resolve(guard.extent), I64)
            found.append(b.compare("LT", position, b.splat(extent, self.lanes) if position.lanes > 1 else extent))
        return found


def _new_guards(operand: Access, access: Access) -> tuple[Guard, ...]:
    return tuple(g for g in operand.guards if g not in access.guards)
