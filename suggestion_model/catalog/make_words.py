"""Make the lists of everyday words: ``python -m suggestion_model.catalog.make_words en es de``.

What stands in one is never taken for a misspelt name of a catalog. The words are the most frequent ones of wordfreq
(Robyn Speer, doi:10.5281/zenodo.7199437; data CC BY-SA 4.0), folded and sorted. Needs the extra ``authoring``.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import click

from suggestion_model.catalog.text import words

MOST_FREQUENT = 16_000
FOLDER = Path(__file__).parent / "languages"


def encode_words(frequent: list[str]) -> bytes:
    """Gzipped folded words, one a line, sorted; the same bytes for the same words."""
    folded = {word for said in frequent for word in words(said) if word.isalpha()}
    return gzip.compress("\n".join(sorted(folded)).encode(), compresslevel=9, mtime=0)


@click.command()
@click.argument("codes", nargs=-1, required=True)
def main(codes: tuple[str, ...]) -> None:
    """Make the lists of the languages CODES."""
    try:
        from wordfreq import top_n_list
    except ImportError as error:
        raise click.ClickException("wordfreq is needed: pip install 'federated-keyboard[authoring]'") from error
    for code in codes:
        data = encode_words(top_n_list(code, MOST_FREQUENT))
        (FOLDER / f"{code}.words.txt.gz").write_bytes(data)
        click.echo(f"{code}: {len(data) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
