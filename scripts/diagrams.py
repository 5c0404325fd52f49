"""Draw the state diagrams of docs/protocol.md from the transition tables: ``python scripts/diagrams.py [--check]``.

A diagram stands between ``<!-- diagram: NAME -->`` and ``<!-- end -->``. With ``--check`` nothing is written and the
exit status says whether the page is current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from coordinator.rounds.states import mermaid
from federated_protocol.secure_aggregation.client import state_diagram

PAGE = Path(__file__).parents[1] / "docs" / "protocol.md"
DIAGRAMS = {"device": state_diagram, "round": mermaid}


def drawn(text: str) -> str:
    """The page with every diagram drawn anew."""
    for name, draw in DIAGRAMS.items():
        block = f"<!-- diagram: {name} -->\n```mermaid\n{draw()}```\n<!-- end -->"
        text, found = re.subn(rf"<!-- diagram: {name} -->.*?<!-- end -->", lambda _, b=block: b, text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"{PAGE} should hold the diagram {name!r} once, it does {found} times")
    return text


def main() -> int:
    """Write the page, or check it."""
    text = PAGE.read_text("utf-8")
    if "--check" in sys.argv[1:]:
        return int(drawn(text) != text)
    PAGE.write_text(drawn(text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
