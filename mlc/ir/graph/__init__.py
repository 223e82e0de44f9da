"""The graph language: typed, interned nodes with StableHLO's ops."""

from .collective import (
    ALL_GATHER,
    ALL_REDUCE,
    COLLECTIVE_BROADCAST,
    COLLECTIVE_DONE,
    COLLECTIVE_START,
    COLLECTIVES,
    REDUCE_SCATTER,
    REPLICATED,
    SHARDED_CALL,
    all_gather,
    all_reduce,
    group_size,
    reduce_scatter,
)
from .contraction import DOT_GENERAL, dot_general, free_axes
from .control import CASE, WHILE, invariants, trip_count
from .convolution import CONVOLUTION, ConvolutionAxes, convolution, convolution_axes
from .cumulative import cumulative_axis
from .dynamic import DYNAMIC_SLICE, DYNAMIC_UPDATE_SLICE
from .elementwise import (
    ABS,
    ADD,
    AND,
    ATAN2,
    BITCAST_CONVERT,
    CBRT,
    CEIL,
    CLAMP,
    COMPARE,
    CONVERT,
    COSINE,
    COUNT_LEADING_ZEROS,
    DIVIDE,
    ERF,
    EXPONENTIAL,
    EXPONENTIAL_MINUS_ONE,
    FLOOR,
    IS_FINITE,
    LOG,
    LOG_PLUS_ONE,
    LOGISTIC,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    NOT,
    OR,
    POPCNT,
    POWER,
    REMAINDER,
    ROUND_NEAREST_AFZ,
    ROUND_NEAREST_EVEN,
    RSQRT,
    SELECT,
    SHIFT_LEFT,
    SHIFT_RIGHT_ARITHMETIC,
    SHIFT_RIGHT_LOGICAL,
    SIGN,
    SINE,
    SQRT,
    SUBTRACT,
    TAN,
    TANH,
    XOR,
    full_like,
)  # fmt: skip
from .evaluate import evaluate_graph, evaluate_ranks
from .gathering import GATHER, SCATTER, Windows, combiner_of, gather, overwrite_of, scatter_windows, windows_of
from .node import (
    Graph,
    Literal,
    Location,
    Node,
    Table,
    current_table,
    graphs_in,
    has_active_table,
    reachable,
    users,
    with_nested,
)
from .op import OPS, Op
from .parser import parse_graph
from .random import RNG_BIT_GENERATOR
from .reduce_window import REDUCE_WINDOW, cumulative, reduce_window
from .reduction import REDUCE, body_of, identity_of, reduce_add, reduce_with, reducer_of
from .select_and_scatter import (
    SELECT_AND_GATHER,
    SELECT_AND_SCATTER,
    direction_of,
    select_and_gather,
    select_of,
)
from .shape import (
    BROADCAST_IN_DIM,
    CONCATENATE,
    CONSTANT,
    GET_DIMENSION_SIZE,
    IOTA,
    PAD,
    RESHAPE,
    REVERSE,
    SIZE,
    SLICE,
    TRANSPOSE,
    broadcast_in_dim,
    constant,
    fill,
    inverse_permutation,
    reshape,
    size_value,
)  # fmt: skip
from .sorting import SORT, argsort, comparator_of, order_of, sort, sort_tangents, sorted_order, take_in_order
from .structure import (
    CALL,
    COMPOSITE,
    COPY,
    FUSION,
    GET_TUPLE_ELEMENT,
    OPTIMIZATION_BARRIER,
    PARAMETER,
    REGIONS,
    inline,
    result_type,
    results_of,
)  # fmt: skip
from .text import print_graph, resources_of
from .verify import verify_graph

__all__ = [
    "ABS", "ADD", "ALL_GATHER", "ALL_REDUCE", "AND", "ATAN2", "BITCAST_CONVERT", "BROADCAST_IN_DIM", "CALL", "CASE",
    "CBRT", "CEIL", "CLAMP", "COLLECTIVES", "COLLECTIVE_BROADCAST", "COLLECTIVE_DONE", "COLLECTIVE_START", "COMPARE",
    "COMPOSITE", "CONCATENATE", "CONSTANT", "CONVERT", "CONVOLUTION", "COPY", "COSINE", "COUNT_LEADING_ZEROS",
    "ConvolutionAxes", "DIVIDE", "DOT_GENERAL", "DYNAMIC_SLICE", "DYNAMIC_UPDATE_SLICE", "ERF", "EXPONENTIAL",
    "EXPONENTIAL_MINUS_ONE", "FLOOR", "FUSION", "GATHER", "GET_DIMENSION_SIZE", "GET_TUPLE_ELEMENT", "Graph", "IOTA",
    "IS_FINITE", "LOG", "LOGISTIC", "LOG_PLUS_ONE", "Literal", "Location", "MAXIMUM", "MINIMUM", "MULTIPLY", "NEGATE",
    "NOT", "Node", "OPS", "OPTIMIZATION_BARRIER", "OR", "Op", "PAD", "PARAMETER", "POPCNT", "POWER", "REDUCE",
    "REDUCE_SCATTER", "REDUCE_WINDOW", "REGIONS", "REMAINDER", "REPLICATED", "RESHAPE", "REVERSE", "RNG_BIT_GENERATOR",
    "ROUND_NEAREST_AFZ", "ROUND_NEAREST_EVEN", "RSQRT", "SCATTER", "SELECT", "SELECT_AND_GATHER", "SELECT_AND_SCATTER",
    "SHARDED_CALL", "SHIFT_LEFT", "SHIFT_RIGHT_ARITHMETIC", "SHIFT_RIGHT_LOGICAL", "SIGN", "SINE", "SIZE", "SLICE",
    "SORT", "SQRT", "SUBTRACT", "TAN", "TANH", "TRANSPOSE", "Table", "WHILE", "Windows", "XOR", "all_gather",
    "all_reduce", "argsort", "body_of", "broadcast_in_dim", "combiner_of", "comparator_of", "constant", "convolution",
    "convolution_axes", "cumulative", "cumulative_axis", "current_table", "direction_of", "dot_general",
    "evaluate_graph", "evaluate_ranks", "fill", "free_axes", "full_like", "gather", "graphs_in", "group_size",
    "has_active_table", "identity_of", "inline", "invariants", "inverse_permutation", "order_of", "overwrite_of",
    "parse_graph", "print_graph", "reachable", "reduce_add", "reduce_scatter", "reduce_window", "reduce_with",
    "reducer_of", "reshape", "resources_of", "result_type", "results_of", "scatter_windows", "select_and_gather",
    "select_of", "size_value", "sort", "sort_tangents", "sorted_order", "take_in_order", "trip_count", "users",
    "verify_graph", "windows_of", "with_nested",
]  # fmt: skip
