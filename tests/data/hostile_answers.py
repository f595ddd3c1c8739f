"""A hundred answers written to stop whoever grades them. SLOW: what no second is enough for; the others are refused."""

SLOW = [
    "99999999999999999999\\ln 3",
    "10^{99}\\ln 3",
    "(a+b+c+d+f)^{99}",
    "(\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7})^{19}",
    "{" * 90 + "x^9" + "}" * 90,
    "99999999!",
    "\\binom{9999999}{4444444}",
    "\\sum_{n=1}^{99999999} \\frac{1}{n^2}",
]
_NESTED = [
    opened * n + "7" + closed * n
    for opened, closed in (("(", ")"), ("\\sqrt{", "}"), ("\\frac{1}{", "}"))
    for n in (2, 60)
]
_POWERS = ["9^9^9^9", "9**9**9", "(2^{99})^{99}^{99}", "1e999/3", "0^{-1}", "x^x"]
_POWERS += [
    f"{base}^{{{power}}}" for base in ("2", "x", "\\pi", "0.1") for power in ("99", "-99", "1/9999", "9/7", "0.7")
]
_FUNCTIONS = [
    f"\\{name}{argument}"
    for name in ("ln", "sin", "zeta", "lim", "int", "prod")
    for argument in ("{99999999999}", "(x+y)", "_{0}^{\\infty} x^x dx")
]
_ODD = [
    "1/0", "\\frac{1}{0}", "\\frac{0}{0}", "0/0", "\\infty-\\infty", "3 < x < y < 5 < z", "x<y<z", "x \\in (0, x)",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}^{99}", "\\begin{pmatrix}" + "1&" * 60 + "\\end{pmatrix}", "\\{1,2\\}^{9}",
    "a/7 \\ln 3", "\\ln \\ln \\ln 3", "\\int_0^1 x^x dx", "\\mod 3", "5 \\bmod 0", "1" * 199, "9" * 99 + "." + "9" * 99,
    "0." + "0" * 190 + "1", "i^i^i", "\\sqrt[99]{-99}", "\\log_{1}{5}", "x=y=z=x",
    "\\emptyset", "\\frac{\\frac{\\frac{1}{2}}{3}}{x-x}",
]  # fmt: skip
_LONG = ["x+" * 90 + "x", "\\" * 199, "^" * 199, "_" * 199, "\\frac" * 40, "$" * 199, "\\left(" * 3]
_LINES = [
    unit * (20_000 // len(unit)) for unit in ("1,", "1,111", "1 1/", "1e", "x = ", "<<1=", "12 (no ", "is ", "n't ")
]
_LINES += ["9" * 20_000, "one " * 5000, "\U0001d7d7" * 20_000]  # digits of mathematics
_LINES += [
    ":" * 19_900 + "a",
    "(" * 5000,
    "- " * 9000,
    "1 and " * 3000,
    "\\boxed{" * 2000,
    "not " * 4000,
    " " * 19_000 + "a",
]
QUICK = [*_NESTED, *_POWERS, *_FUNCTIONS, *_ODD, *_LONG, *_LINES]
