# SPDX-License-Identifier: Apache-2.0
"""The pages in a real headless browser: they fit phone and desktop, no table is cut off, and filters work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.evaluation_folder import made as made_evaluation
from helpers.run_folder import made
from medix_verl.cli.main import main
from medix_verl.report.run.files import find_run
from medix_verl.report.run.page import write_run_page

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not BROWSER, reason="no chromium; type: apt-get install chromium"),
]

LOOK = """<script>
function told(frame) {
  const page = frame.contentDocument, all = [...page.querySelectorAll("#answers-Validation .sample")];
  const shown = () => all.filter(sample => sample.getClientRects().length).length;
  const seen = {
    wide: page.documentElement.scrollWidth, answers: all.length, shown: shown(),
    charts: page.querySelectorAll("svg.chart").length,
    pictures: [...page.images].filter(image => image.complete && !image.naturalWidth).length,
    light: getComputedStyle(page.body).backgroundColor,
  };
  const box = page.querySelector("#answers-Validation input[value=wrong]");
  box.click(); seen.right = shown(); box.click();
  const words = page.querySelector("#answers-Validation input[type=search]");
  words.value = "Question 3?"; words.dispatchEvent(new Event("input", {bubbles: true}));
  setTimeout(() => { seen.found = shown(); document.title = JSON.stringify(seen); }, 500);
}
</script><title></title><iframe src="report.html" width="WIDTH" height="4000" onload="told(this)"></iframe>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    out = folder / "report.html"
    write_run_page(find_run(made(folder / "run")), out, [folder / "data.parquet"])
    text = out.read_text(encoding="utf-8")
    # All answers are open to the look, those of validation as well.
    out.write_text(re.sub(r'(<details class="task" id="answers-\w+")( open)?', r"\1 open", text), encoding="utf-8")
    return out


def look(page: Path, width: int, scheme: int, script: str = LOOK) -> dict[str, Any]:
    outer = page.with_name(f"look-{width}-{scheme}.html")
    outer.write_text(script.replace("WIDTH", str(width)), encoding="utf-8")
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    words += [
        f"--blink-settings=preferredColorScheme={scheme}",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
    ]
    done = subprocess.run([*words, f"file://{outer}"], capture_output=True, timeout=100, check=True, text=True)
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title and title[1], done.stderr[-2000:]
    return {**json.loads(title[1]), "errors": errors}


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_it_fits_and_its_filters_work(page: Path, width: int) -> None:
    seen = look(page, width, 1)
    assert seen["errors"] == [] and seen["wide"] <= width and seen["charts"] > 3 and seen["pictures"] == 0
    assert 0 < seen["right"] < seen["shown"] == seen["answers"]
    assert 0 < seen["found"] < seen["shown"]


def test_a_dark_browser_gets_a_dark_page(page: Path) -> None:
    red = {scheme: int(re.findall(r"\d+", look(page, 1280, scheme)["light"])[0]) for scheme in (0, 1)}
    assert red[0] < 60 and red[1] > 200


CUT = """<script>
function told(frame) {
  const page = frame.contentDocument;
  page.querySelectorAll("details").forEach(part => part.open = true);
  const wide = [...page.querySelectorAll(".wide")].filter(part => part.getClientRects().length);
  const cut = wide.filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent.slice(0, 60));
  const label = page.querySelector(".stack td[data-label]");
  document.title = JSON.stringify({
    tables: wide.length, cut: cut, page: page.documentElement.scrollWidth,
    label: label ? frame.contentWindow.getComputedStyle(label, "::before").content : "",
  });
}
</script><title></title><iframe src="report.html" width="WIDTH" height="4000" onload="told(this)"></iframe>"""


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
@pytest.mark.parametrize("kind", ["run", "evaluation", "leaderboard"])
def test_no_table_is_cut_off(kind: str, width: int, page: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    if kind == "run":
        shutil.copy(page, out)
    elif kind == "evaluation":
        a, b = (made_evaluation(tmp_path / name, seed) for seed, name in enumerate("ab"))
        assert main(["report", str(a), "--compare", str(b), "--out", str(out)]) == 0
    else:
        folders = [str(made_evaluation(tmp_path / name, seed)) for seed, name in enumerate("ab")]
        assert main(["evaluate", "leaderboard", *folders, "--out", str(out)]) == 0
    seen = look(out, width, 1, CUT)
    assert seen["errors"] == [] and seen["tables"] > 1 and seen["page"] <= width
    assert width == 1280 or seen["cut"] == []
    assert (seen["label"] not in ("", "none", "normal")) == (width == 390)
