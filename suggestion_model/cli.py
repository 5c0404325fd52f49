"""``suggestion-model``: build, describe and verify release bundles."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec

from .bundle import CATALOG, Bundle, write_manifest
from .catalog.command import candidates
from .errors import SuggestionModelError
from .model_card import as_markdown, read_measured

_SHIPPED = Path(__file__).parent / "releases" / "v0"


@click.group()
def main() -> None:
    """Build, describe and verify release bundles of the suggestion model."""


@main.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Directory with the unlabelled text.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=_SHIPPED,
    show_default=False,
    help="Bundle directory to write; the shipped v0 by default.",
)
@click.option(
    "--encoder-of",
    type=click.Path(path_type=Path),
    help="A bundle whose tokenizer, embedding and encoder are taken as they are in place of training them.",
)
def build(data: Path, out: Path, encoder_of: Path | None) -> None:
    """Author a bundle: tokenizer, embedding, ranker, weights, card, manifest.

    Same text, same bytes; training the encoder differs in its last bits from machine to machine, taking it from a
    bundle (--encoder-of) does not.
    """
    try:
        from .authoring.build import build_bundle
    except ImportError as error:
        raise click.ClickException(
            f"Authoring needs TensorFlow ({error.name} is missing): pip install 'federated-keyboard[authoring]'."
        ) from None
    from .catalog import load_catalog

    if not (out / CATALOG).is_file():
        raise click.ClickException(
            f"{out / CATALOG} is missing. Make it first: python -m suggestion_model.catalog.build."
        )
    try:
        known = Bundle.load(encoder_of) if encoder_of is not None else None
        digest = build_bundle(data, out, load_catalog(out / CATALOG), click.echo, known)
    except SuggestionModelError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{out}: {digest}")


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=_SHIPPED)
@click.option("--json", "as_json", is_flag=True, help="Print the card as JSON.")
@click.option("--markdown", is_flag=True, help="Print the card as a page.")
@click.option("--measured", type=click.Path(path_type=Path), help="With --markdown: the laboratory's JSON to quote.")
def card(path: Path, as_json: bool, markdown: bool, measured: Path | None) -> None:
    """Print the model card of a bundle (the shipped one by default)."""
    bundle = _load(path)
    if markdown:
        try:
            click.echo(as_markdown(bundle, read_measured(measured) if measured is not None else None))
        except SuggestionModelError as error:
            raise click.ClickException(str(error)) from None
        return
    if as_json:
        click.echo(msgspec.json.encode(bundle.card).decode())
        return
    facts = bundle.card
    shape = facts.architecture
    click.echo(f"{facts.name}\ndigest {bundle.digest}\n")
    for title, text in (
        ("For", facts.intended_use),
        ("Not for", facts.out_of_scope),
        ("Made", facts.how_made),
        ("Labels seen", facts.labels_seen),
        (
            "Threshold",
            f"logit {facts.threshold.logit:.4f} (baseline score {facts.threshold.baseline_score:.4f}). "
            f"{facts.threshold.method}",
        ),
        (
            "Weights",
            f"{shape.dimension} trainable float32; embedding {shape.vocabulary} x {shape.embedding_dimensions}, "
            f"frozen; trigger {shape.hash_buckets}",
        ),
        ("Licence", facts.licence),
    ):
        click.echo(f"{title}: {text}")
    for source in facts.data:
        click.echo(f"Data: {source.name} ({source.licence}): {source.used_for}")
    for name, size in facts.sizes_bytes.items():
        click.echo(f"Size: {name} {size:,} bytes")


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=_SHIPPED)
@click.option("--json", "as_json", is_flag=True)
def verify(path: Path, as_json: bool) -> None:
    """Check every file of a bundle against its manifest, and run its model once."""
    bundle = _load(path)
    try:
        from .features import Featurizer
        from .runtime import Ranker

        Featurizer(bundle)
        Ranker(bundle).weights()
    except SuggestionModelError as error:
        raise click.ClickException(str(error)) from None
    facts = {"path": str(path), "digest": bundle.digest, "dimension": bundle.dimension}
    click.echo(json.dumps(facts) if as_json else f"{path}: intact, digest {bundle.digest}")


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default=_SHIPPED)
def manifest(path: Path) -> None:
    """Write the manifest anew after a file of the bundle (the catalog) was replaced on purpose."""
    try:
        click.echo(f"{path}: {write_manifest(path)}")
    except SuggestionModelError as error:
        raise click.ClickException(str(error)) from None


main.add_command(candidates)


def _load(path: Path) -> Bundle:
    try:
        return Bundle.load(path)
    except SuggestionModelError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
