"""Formulas and Markdown in exercises, and texts that only look like them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.test_accessibility import expect_no_violations
from tests.support.visits import Visit

pytestmark = pytest.mark.slow

MARKDOWN = {
    "**Solve** for *x* and _y_.": "<p><strong>Solve</strong> for <em>x</em> and <em>y</em>.</p>",
    "*x*-axis for **$5** or $6": "<p><em>x</em>-axis for <strong>$5</strong> or $6</p>",
    "**all of *it* here**": "<p><strong>all of <em>it</em> here</strong></p>",
    "这是**重点**内容": "<p>这是<strong>重点</strong>内容</p>",
    "# Task 1\nAdd them.\n\n\n## Part\n": "<h4>Task 1</h4><p>Add them.</p><h4>Part</h4>",
    "Do:\n- one\n- two\n  more\n\nThen": "<p>Do:</p><ul><li>one</li><li>two\n  more</li></ul><p>Then</p>",
    "3. three\n5. five": '<ol><li value="3">three</li><li value="5">five</li></ol>',
    "Run `a * b * c` and `$x$`": "<p>Run <code>a * b * c</code> and <code>$x$</code></p>",
    "```python\nx = **1**\n# $y$\n```\nWhy?": "<pre><code>x = **1**\n# $y$</code></pre><p>Why?</p>",
    "See [the book](https://example.org/a?b=c).": (
        '<p>See <a href="https://example.org/a?b=c" target="_blank" rel="noopener noreferrer">the book</a>.</p>'
    ),
    r"It costs \$5 or \$6": "<p>It costs $5 or $6</p>",
}

PLAIN = [
    "2 * 3 * 4 = 2*3*4",
    "5 *3* 2",
    "a_b_c = snake_case_name + __init__ + _",
    "Fill in: ___ is the capital of ___",
    "f(*args, **kwargs) and x**2 and y**3",
    "char *p = *q, /*why*/ int *r",
    "#1 and C# and #hashtag",
    "x = 1\n# a comment",
    "- 5 + 3 = ?",
    "1. What is it?",
    "x < y > z & <b>not bold</b> &amp;",
    "It costs $5 and $6, or $5 to 10$.",
    "Between $5/day and US$ 7, 5$ and 6$",
    "$HOME:$PATH and $ x $ and $$",
    "[a](javascript:alert(1)) and [b](data:text/html,x) and [1](2)",
    "half\r\nand `half and **half and $half",
    "\ue0000\ue001 private use",
]

FORMULAS = {
    "$x^2$": 1,
    "Area $A = \\pi r^2$, so $r$?": 2,
    "求$x$的值和$x>0$。": 2,
    "$$\\sum_{k=1}^n k^2$$": 1,
    "\\(a+b\\) and \\[\\begin{pmatrix} 1 \\\\[2pt] - 2 \\end{pmatrix}\\]": 2,
    "$$\n\\int_0^1 x\\,dx\n- 1\n$$": 1,
    "- $\\sqrt[3]{x}$\n- $\\mathbb R, \\mathcal L, \\mathfrak g, \\mathscr F, \\mathsf s, \\mathtt t$": 2,
    "**$x$** and $AB = CD$ and $v_{\\text{нач}}$": 3,
    "$\\overbrace{a}^{b} \\widehat{abc} \\cancel{x} \\pmb{y} \\fcolorbox{red}{white}{z} \\color{red} q$": 1,
    "$\\left(\\frac{\\frac{\\frac{1}{2}}{3}}{4}\\right) \\bold{B} \\textit{i} \\textbf{b} \\boldsymbol{\\alpha}$": 1,
}

BROKEN = [
    "$\\frac{1}{$",
    "$\\undefinedcommand x$",
    "$\\href{javascript:alert(1)}{x}$ $\\htmlClass{a}{b}$",
    "$\\def\\a{\\a\\a}\\a$",
    f"${'{' * 190}x{'^' * 2}{'}' * 190}$",
]


def show(visit: Visit, text: str) -> str:
    """Create a task with the text, and return the HTML of the exercise on its card."""
    visit.create_by_api(1, task_content=text)
    visit.page.reload()
    shown = visit.page.locator(".task .text").first
    expect(shown).to_be_attached()
    return str(
        shown.evaluate("""text => {
            const copy = text.cloneNode(true);
            for (const each of copy.querySelectorAll("*")) {
                each.removeAttribute("dir");
                each.removeAttribute("data-marker");
            }
            return copy.innerHTML;
        }""")
    )


def test_markdown_is_shown_as_it_is_meant(at_tasks: Visit) -> None:
    assert {text: show(at_tasks, text) for text in MARKDOWN} == MARKDOWN


def test_text_that_only_looks_like_markdown_stays(at_tasks: Visit) -> None:
    for text in PLAIN:
        show(at_tasks, text)
        shown = at_tasks.page.locator(".task .text").first
        assert shown.text_content() == text.replace("\r\n", "\n")
        assert shown.locator(":scope > p").count() == shown.locator("*").count() == 1, text


def test_formulas_are_drawn_from_our_own_assets(at_tasks: Visit) -> None:
    """Violations of the policy and requests to other hosts fail every test of the pages."""
    page, requested = at_tasks.page, []
    page.on("request", lambda request: requested.append(request.url.rpartition("/")[2]))
    show(at_tasks, "no formula")
    assert not [name for name in requested if name.lower().startswith("katex")]
    for text, number in FORMULAS.items():
        show(at_tasks, text)
        task = page.locator(".task").first
        expect(task.locator(".formula.drawn"), text).to_have_count(number)
        expect(task.locator(".katex-html")).to_have_count(number)
    expect(task.locator("math")).to_have_count(1)  # what screen readers read
    page.wait_for_function("document.fonts.check('16px KaTeX_Math') && document.fonts.size > 0")
    page.get_by_role("button", name="Delete").first.wait_for()
    assert {"katex.min.js", "katex.min.css", "KaTeX_Main-Regular.woff2", "KaTeX_Fraktur-Regular.woff2"} <= set(
        requested
    )


def test_a_formula_that_cannot_be_drawn_stays_as_written(at_tasks: Visit) -> None:
    for text in BROKEN:
        show(at_tasks, f"{text} $x$")
        expect(at_tasks.page.locator(".task .formula.drawn").first).to_be_attached()
        shown = at_tasks.page.locator(".task .text").first.evaluate(
            "text => [...text.querySelectorAll('.drawn')].reduce((all, each) => (each.remove(), all), text).textContent"
        )
        assert shown.strip() in (text, "$\\href{javascript:alert(1)}{x}$", ""), text
        assert at_tasks.page.locator(".task .text a").count() == 0


def test_formulas_stay_as_written_without_the_library(at_tasks: Visit) -> None:
    at_tasks.failures_expected = True
    at_tasks.page.route("**/katex.min.js", lambda route: route.abort())
    assert ">$x^2$</span>" in show(at_tasks, "Find $x^2$")


def test_a_long_exercise_is_laid_out_when_it_is_opened(at_tasks: Visit) -> None:
    show(at_tasks, "short")
    at_tasks.create_by_api(1, task_content="$x^2$ **bold** " + "word " * 100)
    at_tasks.create_by_api(1, task_content="$x$ " * 400)
    at_tasks.create_by_api(1, task_content="$x^2$ **not bold** " + "word " * 4_000)
    at_tasks.page.reload()
    longest, many, long = (at_tasks.page.locator(".task").nth(n) for n in range(3))
    for task in (longest, many, long):
        task.locator("summary").click()
    expect(many.locator(".formula.drawn")).to_have_count(300)
    expect(long.locator(".formula.drawn")).to_have_count(1)
    expect(long.locator("strong", has_text="bold").last).to_have_text("bold")
    expect(longest.locator("details .text > p")).to_contain_text("$x^2$ **not bold**")


def test_formulas_and_markdown_are_accessible_and_fit_a_phone(at_tasks: Visit) -> None:
    page = at_tasks.page
    page.set_viewport_size({"width": 360, "height": 740})
    text = (
        "# Title\n- $x^2$\n- `code`\n\n[link](https://example.org)\n$$" + "+".join(["x_1"] * 60) + "$$\n```\ncode\n```"
    )
    show(at_tasks, text)
    expect(page.locator(".task .formula.drawn")).to_have_count(2)
    expect(page.locator(".task .text")).to_have_attribute("tabindex", "0")
    at_tasks.expect_no_sideways_scrolling()
    expect_no_violations(page)
