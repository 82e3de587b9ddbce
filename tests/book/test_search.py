"""What the search takes out of a page: its units, their text, and formulas as text."""

import pytest
from bs4 import BeautifulSoup

from book.tools.search.formulas import plain
from book.tools.search.units import Reader

ROOT = "<msqrt><msup><mi>σ</mi><mn>2</mn></msup><mo>+</mo><mi>ε</mi></msqrt>"
PAGE = """
<article class="bd-article"><section id="top"><h1>Norms<a class="headerlink">#</a></h1>
<div class="cell tag_hide-input"><details><summary><p>Show code</p></summary>
<div class="cell_input"><pre>import importlib.util</pre></div></details></div>
<section id="eps"><h2>The <span class="math"><math><mi>ε</mi></math></span></h2>
<p>Small, <span id="index-0"></span>and
positive.<!-- no text --></p>
<table><tr><td><p>float16</p></td><td><p>too small</p></td></tr></table>
<div class="cell"><div class="cell_input"><pre>import numpy as np
np.testing.assert_equal(eps, 1)</pre></div>
<div class="cell_output"><pre>printed</pre><img alt="A curve."/></div></div>
<div class="exercise" id="ex-eps"><p class="admonition-title">Exercise 1</p>
<section id="ex-eps-content"><p>Choose.</p></section></div></section>
<section class="entry" id="lnlib.f.norm"><span id="lnlib.norm"></span>
<h2><code><span class="path">lnlib.f.</span>norm</code></h2>
<div class="code"><pre>norm(x)</pre></div>
<div class="docstring"><p>Says what.</p><p>And more.</p></div></section>
<section id="terms"><h2>Terms</h2><dl class="simple glossary">
<dt id="term-LN">LN</dt><dt id="term-layer">layer norm</dt><dd><p>Divides.</p></dd></dl></section>
<section id="claims"><h2>Claims</h2>
<div class="claim" id="c1"><p><strong>C01</strong> True</p><p><a>page</a> · <a>cell</a></p></div>
</section></section></article>
"""


@pytest.mark.parametrize(
    ("mathml", "text"),
    [
        (f"<mfrac><mi>x</mi>{ROOT}</mfrac>", "x/√(σ²+ε)"),
        ("<msup><mn>10</mn><mrow><mo>−</mo><mn>5</mn></mrow></msup>", "10⁻⁵"),
        ("<msup><mi>c</mi><mrow><mn>1</mn><mo>−</mo><mi>p</mi></mrow></msup>", "c^(1−p)"),
        ("<msup><mi>v</mi><mi>⊤</mi></msup>", "v⊤"),
        ("<msubsup><mi>n</mi><mi>t</mi><mn>2</mn></msubsup>", "n_t²"),
        ("<mover><mi>x</mi><mo>ˆ</mo></mover>", "x\u0302"),
        ("<msqrt><mrow><mn>2</mn><mi>B</mi></mrow></msqrt>", "√(2B)"),
    ],
)
def test_formulas_as_text(mathml, text):
    assert plain(BeautifulSoup(f"<math>{mathml}</math>", "html.parser")) == text


def test_of_the_reference_a_unit_is_a_name_with_its_others_and_what_it_says_first():
    article = BeautifulSoup(PAGE, "html.parser").article
    units = {unit.kind: unit for unit in Reader("referenz_f.html", article).units}
    assert units["name"].entry({}) == [
        "name",
        "referenz_f.html",
        "lnlib.f.norm",
        "lnlib.f.norm",
        ["lnlib.norm"],
        ["Says what."],
        [],
        "",
    ]


def test_units_of_a_page():
    article = BeautifulSoup(PAGE, "html.parser").article
    article.select_one(".entry").decompose()
    units = Reader("1_page.html", article).units
    assert [unit.entry({"1_page.html#index-0": "threshold"}) for unit in units] == [
        ["section", "1_page.html", "", "Norms", [], [], [], ""],
        [
            "section",
            "1_page.html",
            "eps",
            "The ε",
            ["threshold"],
            ["Small, and positive.", "float16 · too small"],
            ["A curve."],
            "assert_equal eps testing",
        ],
        ["exercise", "1_page.html", "ex-eps", "Exercise 1", [], ["Choose."], [], ""],
        ["section", "1_page.html", "terms", "Terms", [], [], [], ""],
        ["term", "1_page.html", "term-LN", "LN, layer norm", [], ["Divides."], [], ""],
        ["section", "1_page.html", "claims", "Claims", [], [], [], ""],
        ["claim", "1_page.html", "c1", "C01", [], ["True"], [], ""],
    ]
