"""A PTX interpreter for tests: ``Program(text).launch(...)`` on a ``Memory``, or a ``PtxError`` that names a mistake.

It runs what LLVM's NVPTX back end and people write for sm_80, with ``stmatrix`` of sm_90; wgmma, TMA, mbarriers and
clusters are read and refused when run. Stricter than a GPU: a barrier of a block counts no thread that has exited,
barriers are the same instruction for all, nothing orders blocks of one launch but atomics and strong accesses of the
same bytes, and a barrier of a part of a warp orders no memory. Approximate functions are rounded from f64, sums of
matrix units too: results on a GPU differ in last bits. Directed roundings (.rz, .rm, .rp of sums and products),
``brx`` past its table, calls through pointers and barriers of a part of a block are refused by name.
"""
