"""PTX text becomes a module: variables, kernels and functions, as LLVM writes them and ptxas takes them."""

from __future__ import annotations

from .body import body
from .cursor import Cursor
from .errors import PtxError
from .inline import without_calls
from .syntax import Kernel, Module
from .tokens import tokens
from .variables import parameters, variable


def parse(text: str) -> Module:
    """The module that ``text`` writes; PtxError of kind syntax names the line of what is not understood."""
    cursor, module = Cursor(list(tokens(text))), Module("", "", {}, {}, [])
    while cursor.token.kind != "end":
        _definition(cursor, module)
    module.kernels = {name: without_calls(kernel, module.functions) for name, kernel in module.kernels.items()}
    return module


def _definition(cursor: Cursor, module: Module) -> None:
    word = cursor.take()
    if word.text == ".version":
        module.version = cursor.take().text
    elif word.text == ".target":
        module.target = cursor.take().text
        while cursor.accept(","):
            cursor.take()
    elif word.text == ".address_size":
        cursor.integer()
    elif word.text in (".visible", ".weak", ".extern", ".common"):
        return
    elif word.text == ".entry":
        kernel = _function(cursor, Kernel(cursor.name(), []))
        module.kernels[kernel.name] = kernel
    elif word.text == ".func":
        results = parameters(cursor) if cursor.peek("(") else []
        function = _function(cursor, Kernel(cursor.name(), [], results))
        if function.code or function.name not in module.functions:
            module.functions[function.name] = function
    elif word.text in (".global", ".shared", ".const"):
        module.variables.append(variable(cursor, word.text[1:]))
    elif word.text in (".file", ".section"):
        cursor.skip_line(word.line)
    else:
        raise PtxError("syntax", f"found {word.text!r} at the top of a module", line=word.line)


def _function(cursor: Cursor, found: Kernel) -> Kernel:
    """Parameters, limits and body; only a prototype ends in a semicolon."""
    found.parameters = parameters(cursor)
    while cursor.token.kind == "directive":
        name = cursor.take().text
        found.limits[name[1:]] = cursor.integers()
    if not cursor.accept(";"):
        cursor.expect("{")
        body(cursor, found)
    return found
