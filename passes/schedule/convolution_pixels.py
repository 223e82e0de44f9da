"""Convolutions over pixels: a register tile of pixels by vectors of output features, one tap after the other.

for each task of images, rows of pixels and panels of output features:
    for each image: copy the rows that are read to scratch, zeros around them, unless they are all there as they lie
        for each panel, for each tile of up to 14 pixels:
            sums = 0
            for tap, for input feature: load the panel's vectors, splat each pixel's element, multiply and add
            epilogue and store

Where the kernel's rows lie far apart, the first tile of a panel leaves a copy of it in scratch for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import PARAMETER
from mlc.ir.kernel import Index, Memory, Value
from mlc.ir.target import Target

from .convolution_columns import Panels
from .convolution_form import Convolution
from .convolution_frame import Frame
from .convolution_image import Image
from .convolution_phases import Phase, Phases, one_phase, phases_of
from .region import KernelCall
from .sums_frame import MOST_STORED
from .tasks import counted
from .tiling import MOST_ROWS, RowBlocks, rows_beside

FEWEST_TASKS = 8
TASK_WORK = 4_000_000  # flops below which a task is not worth the copy of its image
IMAGE_SHARE = 4  # the copy of an image takes at most 1/4 of the second-level cache
CHANNEL_PIXELS = 8  # of a tile where each feature is a convolution of its own: windows share what they load
UNROLL = 2  # copies of an innermost body
SHORT = 8  # iterations of an innermost loop that is written out


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles are ``ys`` x ``xs`` pixels: several rows only where a tile holds whole ones.

    A task does ``images`` x ``rows`` blocks of ``ys`` x ``panels`` (x groups where there are several).
    """

    ys: RowBlocks
    xs: RowBlocks
    images: int
    rows: int
    panels: int

    @property
    def task_rows(self) -> int:
        return self.rows * self.ys.largest


def tile_pixels(c: Convolution, p: Panels, target: Target) -> Tiling:
    """Tiles that fill the registers, tasks large enough for the copies of their images, and images that fit a cache."""
    most = CHANNEL_PIXELS if c.by_channel else 2 * MOST_ROWS // p.vectors
    most = min(most, rows_beside(p.vectors, target.vector_registers))
    xs = RowBlocks.of(c.x.count, most)
    ys = RowBlocks.of(c.y.count, max(most // c.x.count, 1))
    assert ys.count is not None and isinstance(c.inputs, int)
    line = c.x.reach(c.x.count) * c.inputs * c.groups * c.accumulator.itemsize
    fitting = target.l2_bytes // IMAGE_SHARE // max(line, 1)
    rows = ys.count
    while rows > 1 and c.y.reach(rows * ys.largest) > fitting and not p.copied:
        rows = -(-rows // 2)
    images, panels = 1, p.count if p.groups == 1 else p.groups
    batch = bounds(c.batch)[1]
    work = 2 * p.depth * c.outputs * c.x.count
    if batch * -(-ys.count // rows) < FEWEST_TASKS:  # cut what is larger: the kernel's panels, or the image
        by_panels = p.copied or p.depth * c.outputs > c.y.size * c.x.size * c.inputs * c.groups or ys.count == 1
        wanted = -(-FEWEST_TASKS // max(batch * -(-ys.count // rows), 1))
        if by_panels:
            least = -(-TASK_WORK * panels // max(work * min(rows * ys.largest, c.y.count), 1))
            panels = min(panels, max(-(-panels // wanted), least))
        else:
            least = -(-TASK_WORK // max(work * ys.largest, 1))
            rows = min(rows, max(-(-rows // wanted), least))
    elif rows == ys.count:
        images = min(-(-TASK_WORK // max(work * c.y.count, 1)), max(batch // FEWEST_TASKS, 1))
    return Tiling(ys, xs, images, rows, panels)


def pixels_kernel(frame: Frame, panels: Panels, target: Target) -> KernelCall:
    """The kernel that computes the whole convolution."""
    phases = phases_of(frame.c)
    c = one_phase(frame.c, phases)
    return _Writer(frame, c, phases, panels, tile_pixels(c, panels, target)).write()


class _Writer:
    def __init__(
        self, frame: Frame, c: Convolution, phases: tuple[Phases, Phases] | None, panels: Panels, tiling: Tiling
    ) -> None:
        self.frame, self.panels, self.tiling = frame, panels, tiling
        self.builder = b = frame.builder
        self.c = c
        self.phases = phases
        self.weights = frame.memories[panels.node]
        direct = frame.lhs.op is PARAMETER and frame.lhs.dtype == c.accumulator
        in_order = tuple(sorted((c.axes.lhs.outer, *c.axes.lhs.spatial))) == (c.axes.lhs.outer, *c.axes.lhs.spatial)
        self.image: Image | None = None
        if not (direct and in_order and c.y.is_covered and c.x.is_covered):
            self.image = Image(frame, c, tiling.task_rows)
        largest = tiling.ys.largest * tiling.xs.largest
        shape = panels.depth, panels.width
        self.copy: Memory | None = b.scratch("copy", c.accumulator, shape) if panels.copied else None
        self.sums: Memory | None = None
        if frame.epilogue_weight * largest * panels.vectors > MOST_STORED:
            self.sums = b.scratch("sums", c.accumulator, (largest, panels.width))

    def write(self) -> KernelCall:
        b, t, f, p = self.builder, self.tiling, self.frame, self.panels
        last = p.count if p.groups == 1 else p.groups
        assert t.ys.count is not None
        empty = f.c.node.tensor.size == 0
        tasks: tuple[tuple[Size, int], ...] = (
            (f.c.batch, t.images),
            (0 if empty else t.ys.count, t.rows),
            (last, t.panels),
        )
        with b.parallel(*f.nest(tasks)) as (ib, iy, ip):
            f.elements.prepare(f.nodes)
            start = self.first_row(iy)
            if self.image is not None:
                self.image.clear()
            lower = ib * t.images
            upper = lower + 1 if t.images == 1 else b.min(lower + t.images, f.batch)
            counted(b, lower, upper, lambda image: self.one_image(image, iy, start, ip))
        return f.call(tasks)

    def first_row(self, group: Index) -> Index:
        """The first row of pixels of a task."""
        b, blocks, grain = self.builder, self.tiling.ys, self.tiling.rows
        assert blocks.count is not None
        if grain >= blocks.count:
            return Index.of(0)
        block = group * grain
        return block * (blocks.largest - 1) + b.min(block, blocks.large)

    def one_image(self, image: Index, iy: Index, start: Index, ip: Index) -> None:
        b, t, p = self.builder, self.tiling, self.panels
        if self.image is not None:
            self.image.fill(image, start)
        first = ip * t.panels

        def of_group(group: Index, first: Index, last: Index) -> None:
            whole = last if p.whole == p.count else b.min(last, p.whole)
            counted(b, first, whole, lambda q: self.columns(image, iy, start, group, q, (None,) * p.vectors))
            if p.whole != p.count:
                counted(b, b.max(first, p.whole), last, lambda q: self.columns(image, iy, start, group, q, p.tail(b)))

        if p.groups == 1:
            last = first + t.panels if p.count % t.panels == 0 else b.min(first + t.panels, p.count)
            of_group(Index.of(0), first, last)
            return
        last = first + t.panels if p.groups % t.panels == 0 else b.min(first + t.panels, p.groups)
        counted(b, first, last, lambda g: of_group(g, Index.of(0), Index.of(p.count)))

    def columns(self, image: Index, iy: Index, start: Index, group: Index, panel: Index,
                masks: tuple[Value | None, ...]) -> None:  # fmt: skip
        """All pixels of the task at one panel, one phase of a spread image after the other."""
        if self.phases is None:
            self.one_phase(image, iy, start, group, panel, masks, None)
            return
        b, (y, x) = self.builder, self.phases

        def each(p: Phases, body: Callable[[Phase], None]) -> None:
            counted(b, Index.of(0), Index.of(p.window.spread), lambda i: body(p.at(b, i)))

        each(y, lambda y: each(x, lambda x: self.one_phase(image, iy, start, group, panel, masks, (y, x))))

    def one_phase(self, image: Index, iy: Index, start: Index, group: Index, panel: Index,
                  masks: tuple[Value | None, ...], phase: tuple[Phase, Phase] | None) -> None:  # fmt: skip
        b, t, c = self.builder, self.tiling, self.c

        def row_of_tiles(rows: int, y: Index, skip: int = 0) -> None:
            t.xs.each(b, Index.of(c.x.count), 0, t.xs.count or 1, lambda columns, x: tile(rows, y, columns, x), skip)

        def tile(rows: int, y: Index, columns: int, x: Index, copies: bool = False) -> None:
            totals = self.accumulate(image, start, group, panel, (rows, columns), (y, x), masks, phase, copies)
            self.finish(image, group, panel, (rows, columns), (y, x), masks, phase, totals)

        if self.copy is not None:
            tile(t.ys.largest, start, t.xs.largest, Index.of(0), copies=True)
            row_of_tiles(t.ys.largest, start, skip=1)
        t.ys.each(b, Index.of(c.y.count), iy, t.rows, row_of_tiles, skip=int(self.copy is not None))

    def accumulate(self, image: Index, start: Index, group: Index, panel: Index, shape: tuple[int, int],
                   at: tuple[Index, Index], masks: tuple[Value | None, ...], phase: tuple[Phase, Phase] | None,
                   copies: bool) -> list[Value]:  # fmt: skip
        """The register tile of ``shape`` pixels from ``at`` on."""
        b, f, p, c = self.builder, self.frame, self.panels, self.c
        inputs = c.inputs
        assert isinstance(inputs, int)
        pixel = inputs * c.groups
        if self.image is not None:
            memory, line = self.image.memory, self.image.width * pixel
            y, x = (at[0] - start) * c.y.stride, at[1] * c.x.stride
            base = y * line + x * pixel + group * inputs
        else:
            memory, line = f.memories[f.lhs], c.x.size * pixel
            y, x = at[0] * c.y.stride - c.y.low, at[1] * c.x.stride - c.x.low
            base = ((image * c.y.size + y) * c.x.size + x) * pixel + group * inputs
        places = [r * c.y.stride * line + s * c.x.stride * pixel for r in range(shape[0]) for s in range(shape[1])]
        first = Index.of(0)
        if phase is None or self.phases is None:
            walk: list[Walk] = merged([
                (c.y.taps, c.y.dilation * line, c.x.taps * inputs),
                (c.x.taps, c.x.dilation * pixel, inputs),
                (inputs, 1, 1),
            ])  # fmt: skip
        else:
            down, across = self.phases
            base = base + phase[0].shift * line + phase[1].shift * pixel
            first = (phase[0].tap * across.window.taps + phase[1].tap) * inputs
            walk = [
                (phase[0].taps, line, down.window.spread * across.window.taps * inputs),
                (phase[1].taps, pixel, across.window.spread * inputs),
                (inputs, 1, 1),
            ]

        def level(depth: int, element: Index, k: Index, totals: list[Value]) -> list[Value]:
            if depth == len(walk):
                return step(element, k, totals)
            trips, of_lhs, of_k = walk[depth]
            if trips == 1:
                return level(depth + 1, element, k, totals)
            last = depth + 1 == len(walk) and not c.by_channel
            unroll: int | str = 1 if not last else "full" if isinstance(trips, int) and trips <= SHORT else UNROLL
            with b.loop(0, trips, carried=totals, unroll=unroll) as loop:
                i = loop.index
                b.yield_(*level(depth + 1, element + i * of_lhs, k + i * of_k, list(loop.carried)))
            return list(loop.results)

        def step(element: Index, k: Index, totals: list[Value]) -> list[Value]:
            vectors = self.vectors(group, panel, k, masks, copies)
            following: list[Value] = []
            carried = iter(totals)
            for place in places:
                splat = b.splat(b.load(memory, (element + place,)), p.lanes)
                following += [f.multiply_add(splat, x, next(carried)) for x in vectors]
            return following

        def line_of_taps(element: Index, k: Index, totals: list[Value]) -> list[Value]:
            """Each feature by itself: what neighbouring windows share is loaded once."""
            loaded: dict[tuple[int, int], Value] = {}
            for tap in range(c.x.taps):
                following: list[Value] = []
                carried = iter(totals)
                for place in places:
                    for v, mask in enumerate(masks):
                        at = place + tap * c.x.dilation * pixel, v
                        if at not in loaded:
                            feature = panel * p.width + v * p.lanes
                            loaded[at] = b.load(memory, (element + at[0] + feature,), p.lanes, mask)
                        weight = p.load(b, self.weights, group, panel, k + tap, v, mask)
                        following.append(f.multiply_add(loaded[at], weight, next(carried)))
                totals = following
            return totals

        zeros = [f.zero(p.lanes)] * (len(places) * len(masks))
        if c.by_channel:
            walk, step = [(c.y.taps, c.y.dilation * line, c.x.taps)], line_of_taps
        return level(0, base, first, zeros)

    def vectors(self, group: Index, panel: Index, k: Index, masks: tuple[Value | None, ...], copies: bool
                ) -> list[Value]:  # fmt: skip
        """A panel at ``k``: from its copy, or as it lies, to be copied where this tile does that."""
        b, p = self.builder, self.panels
        places = [(k, v * p.lanes) for v in range(len(masks))]
        if self.copy is not None and not copies:
            return [b.load(self.copy, place, p.lanes) for place in places]
        found = [p.load(b, self.weights, group, panel, k, v, mask) for v, mask in enumerate(masks)]
        if self.copy is not None:
            for place, x in zip(places, found, strict=True):
                b.store(self.copy, place, x)
        return found

    def finish(self, image: Index, group: Index, panel: Index, shape: tuple[int, int], at: tuple[Index, Index],
               masks: tuple[Value | None, ...], phase: tuple[Phase, Phase] | None,
               totals: list[Value]) -> None:  # fmt: skip
        """The epilogue of a tile, from registers, or pixel by pixel from scratch if it is long."""
        b, f, p = self.builder, self.frame, self.panels
        first = group * p.outputs + panel * p.width

        def store(y: Index, x: Index, v: int, total: Value) -> None:
            if phase is not None and self.phases is not None:
                y, x = (at * w.window.spread + p.number for at, w, p in zip((y, x), self.phases, phase, strict=True))
            place = f.c.result_coordinates(image, y, x, first + v * p.lanes)
            self.where_inside(y, x, lambda: f.store(place, total, masks[v]))

        places = [(r, s, v) for r in range(shape[0]) for s in range(shape[1]) for v in range(len(masks))]
        if self.sums is None:
            for (r, s, v), total in zip(places, totals, strict=True):
                store(at[0] + r, at[1] + s, v, total)
            return
        for (r, s, v), total in zip(places, totals, strict=True):
            b.store(self.sums, (r * shape[1] + s, v * p.lanes), total)

        def from_scratch(r: Index, s: Index) -> None:
            assert self.sums is not None
            for v in range(len(masks)):
                store(at[0] + r, at[1] + s, v, b.load(self.sums, (r * shape[1] + s, v * p.lanes), p.lanes))

        counted(b, Index.of(0), Index.of(shape[0]), lambda r: counted(
            b, Index.of(0), Index.of(shape[1]), lambda s: from_scratch(r, s)))  # fmt: skip

    def where_inside(self, y: Index, x: Index, body: Callable[[], None]) -> None:
        """``body``, unless the last phases have a result less and this is it."""
        b, phases = self.builder, self.phases
        if phases is None or all(p.is_even for p in phases):
            body()
            return
        left = b.min(*(b.min(p.window.count - at, 1) for p, at in zip(phases, (y, x), strict=True)))
        counted(b, Index.of(0), left, lambda _: body())


Walk = tuple[int | Index, int, int]  # trips, step of lhs, step of k


def merged(walk: list[tuple[int, int, int]]) -> list[Walk]:
    """Loops, outermost first, neighbours joined where one walk is as good as two."""
    found = [walk[-1]]
    for trips, of_lhs, of_k in reversed(walk[:-1]):
        inner, step, k = found[0]
        if trips == 1:
            continue
        if of_lhs == inner * step and of_k == inner * k:
            found[0] = (trips * inner, step, k)
        elif inner == 1:
            found[0] = (trips, of_lhs, of_k)
        else:
            found.insert(0, (trips, of_lhs, of_k))
    return [*found]
