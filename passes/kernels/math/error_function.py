"""erf: an odd polynomial near zero, 1 - exp(...) beyond."""

from __future__ import annotations

from mlc.ir.kernel import Value, Writer
from mlc.passes.kernels.math.arithmetic import Lanes
from mlc.passes.kernels.math.exponential import exponential

# Minimax coefficients of N. Juffa for single precision: erf(x)/x - 1 in x^2, and log(1 - erf(x))/x + 1 in x.
_NEAR_F32 = (1.28379166e-1, -3.76125336e-1, 1.12819925e-1, -2.67681349e-2, 4.99119423e-3, -5.96761703e-4)
_FAR_F32 = (
    -1.28717512e-1,
    -6.34846687e-1,
    -1.06777877e-1,
    2.42546219e-2,
    -3.88396438e-3,
    3.83197126e-4,
    -1.72853470e-5,
)
# erf(x)/x - 1 in x^2 on 0..1, and erfc(x) exp(x^2) in (x-2)/(x+2) on 1..6
_NEAR_F64 = (0.128379167095512574, -0.376126389031837524, 0.112837916709551202, -0.0268661706451298408,
             0.00522397762542329831, -0.000854832702193482960, 0.000120553329028887354, -0.0000149256475675193321,
             1.64620454414684189e-6, -1.63646421581676153e-7, 1.47924012094048130e-8, -1.21645600572834501e-9,
             8.70904512905310669e-11, -4.23094582429533782e-12)  # fmt: skip
_FAR_F64 = (0.255395676310505745, -0.427185847413958486, 0.241658194242465846, -0.0789785810157061040,
            0.00373289240439783377, 0.00699746173697157874, -0.000847143252991950048, -0.000981976941103864265,
            0.0000435555868657548160, 0.000174359474002051576, 0.0000275271755572272473, -0.0000275622091611293530,
            -0.0000139982837727849769, 1.30585771222780165e-6, 4.01174964732506693e-6, 1.27256766184022802e-6,
            -1.13525714772736264e-6)  # fmt: skip


def erf(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    size, square = m.abs(x), m.mul(x, x)
    near = m.fma(size, m.polynomial(square, _NEAR_F32 if m.is_f32 else _NEAR_F64), size)
    if m.is_f32:
        start, far = 0.927734375, m.fma(m.polynomial(size, _FAR_F32), size, m.neg(size))
        beyond = m.sub(m.c(1.0), exponential(w, far))
    else:
        start, limited = 1.0, m.select(m.compare("GT", size, 6.0), 6.0, size)
        t = m.div(m.sub(limited, m.c(2.0)), m.add(limited, m.c(2.0)))
        decay = exponential(w, m.neg(m.mul(limited, limited)))
        beyond = m.fnma(decay, m.polynomial(t, _FAR_F64), m.c(1.0))
    return m.with_sign_of(m.select(m.compare("GT", size, start), beyond, near), x)
