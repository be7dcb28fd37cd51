"""What is said of a sentence with markup in it."""

from __future__ import annotations

import pytest

from stt.clean import CELL, clean


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Plain text, nothing else.", "Plain text, nothing else."),
        ("This is **bold**, *it*, ***both***, __b__, _i_ and ~~gone~~.",
         "This is bold, it, both, b, i and gone."),
        ("**Note: keep", "Note: keep"),
        ("**太字**です。", "太字です。"),
        ("10² and 10⁻³ of x² in 50 m².[^1] Note¹", "10 squared and 10 to the power of -3 of x squared in 50 m squared. Note¹"),
        (r"$x^{\frac{1}{2}}$ is x^{}", "x to the power of 1 / 2 is x^{}"),
        ("5 * 3 is 5*3 and 2**3, ~5 ms.", "5 * 3 is 5*3 and 2 cubed, ~5 ms."),
        ("Set snake_case and __init__.", "Set snake_case and init."),
        ("Run `npm install` in ``a `b` c``.", "Run npm install in a b c."),
        ("Keep `*args` and `a_b_`.", "Keep *args and a_b_."),
        ("See [the docs](https://a.b/c_(d)?e=1 \"Title\") now.", "See the docs now."),
        ("See [**the** `docs`](x.md).", "See the docs."),
        ("![A cat](cat.png) sleeps.", "A cat sleeps."),
        ("Half of a link](https://a.b/c) here", "Half of a link here"),
        ("Index arr[0][1] and f(x)[i](some text).", "Index arr[0][1] and f(x)[i](some text)."),
        ("Visit https://www.python.org/downloads/?x=1#y, or not.", "Visit python.org, or not."),
        ("Visit https://docs.python.org/3/.", "Visit docs.python.org."),
        ("(see <http://localhost:8080/a>)", "(see localhost:8080)"),
        ("At https://user:secret@host.example/x.", "At host.example."),
        ("Great 🎉 work 👩‍💻!", "Great work!"),
        ("Caf\u00e9 na\u00efve 日本", "Caf\u00e9 na\u00efve 日本"),
        ("zero\u200bwidth\ufeff soft\u00adhyphen", "zerowidth softhyphen"),
        ("a\u00a0b\t c\n d", "a b c d"),
        ("broken \ud83d surrogate", "broken surrogate"),
        ("<b>Bold</b><br/>and <a href='x'>link</a> <!-- no -->.", "Bold and link."),
        ("E = mc<sup>2</sup> and E = mc².", "E = mc squared and E = mc squared."),
        ("10<sup>6</sup> bytes in 5 m<SUP> 2 </SUP>, e<sup>n+1</sup>", "10 to the power of 6 bytes in 5 m squared, e to the power of n+1"),
        ("The 1<sup>st</sup> H<sub>2</sub>O is a fact<sup>3</sup> of Foo<sup>TM</sup>.", "The 1st H2O is a fact3 of FooTM."),
        ("<div>One</div><DIV class=x>two</DIV>", "One two"),
        ("<h2>One</h2>two<summary>three</summary>four<br>five<ul><li>six", "One two three four five six"),
        ("<tr><th>Name</th><th>Size</th></tr>", "Name, Size"),
        ("<td>Apples</td><td>2</td><td>967</td>", "Apples, 2 / 967"),
        ("A <b>b</b>c<em>d</em>, <a href=x>e</a>.", "A bcd, e."),
        ("Vec<String> if a < b and c > d", "Vec<String> if a < b and c > d"),
        ("So $x = 5$ and $$y$$.", "So x = 5 and y."),
        (r"\(a \neq 0\), \frac{a}{b} and $x^2$", "(a ≠ 0), a / b and x squared"),
        (r"2^10 at C:\new\times for $5 and $10 in $HOME", r"2 to the power of 10 at C:\new\times for $5 and $10 in $HOME"),
        (r"At $3 \times 10^8$ m/s, $2 + 3$ and $2 \cdot 5 = 10$.", "At 3 × 10 to the power of 8 m/s, 2 + 3 and 2 × 5 = 10."),
        ("From $5 to $7 (+40%) and 3$, $5-$10, $5 + $3.", "From $5 to $7 (+40%) and 3$, $5-$10, $5 + $3."),
        (r"$\int_0^1 x \, dx$ and $\sum_{i=1}^{n} i$", "the integral from 0 to 1 of x dx and the sum from i=1 to n of i"),
        (r"$\vec{v} \displaystyle \gamma$ and \(\mathbb{R}\) in C:\new", r"v gamma and (R) in C:\new"),
        (f"Apples{CELL} 2 {CELL} 967", "Apples, 2 / 967"),
        ("If a<b and c>d then swap.", "If a<b and c>d then swap."),
        ("For x in s, p<q or q>p.", "For x in s, p<q or q>p."),
        ('<details open><img src="a b.png" alt=x />See</details>', "See"),
        ("Tom &amp; Mary &lt;3 &#39;x&#39; &nbsp;y &bogus;", "Tom & Mary <3 'x' y &bogus;"),
        (r"2 \* 3 \_x\_ C:\new", r"2 * 3 _x_ C:\new"),
        ("Click File → Save -> Done => ok.", "Click File, Save, Done, ok."),
        ("A fact[^1] is true.", "A fact is true."),
        ("a | b || c", "a, b, c"),
        ("[x] Buy milk", "Buy milk"),
        ("use .NET now , please !", "use .NET now, please!"),
        ("— a dash —", "a dash"),
        ("-5 degrees", "-5 degrees"),
    ],
)  # fmt: skip
def test_markup_goes_and_words_stay(text, said):
    assert clean(text) == said


@pytest.mark.parametrize(
    "text", ["", "  ", "...", "🎉👍", "***", "?!", "<br>", "![](x.png)", "\u200b"]
)
def test_what_cannot_be_said_is_nothing(text):
    assert clean(text) == ""
