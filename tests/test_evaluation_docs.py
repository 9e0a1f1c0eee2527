"""Every table in the README and the documentation is what the results files say."""

from pathlib import Path

from kinema.evaluation.tables import update_docs

ROOT = Path(__file__).parents[1]


def test_tables_in_the_docs_are_what_the_results_say():
    pages = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
    assert update_docs(pages, ROOT / "results", check=True) == [], "run: kinema results --update"
