"""Every table in the README and the documentation is what the results files say."""

from pathlib import Path

from kinema.evaluation.tables import pages, update_docs

ROOT = Path(__file__).parents[1]


def test_tables_in_the_docs_are_what_the_results_say():
    assert update_docs(pages(ROOT), ROOT / "results", check=True) == [], "run: kinema results --update"
