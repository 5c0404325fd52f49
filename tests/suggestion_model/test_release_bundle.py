"""A bundle is verified file by file; damage is named and the way out is said."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from suggestion_model.bundle import FILES, MANIFEST, WEIGHTS, Bundle, write_manifest
from suggestion_model.cli import main
from suggestion_model.errors import BundleError


def test_the_shipped_bundle_is_intact_and_small(shipped: Bundle) -> None:
    assert shipped.weights0.shape == (shipped.dimension,)
    assert shipped.weights0.dtype == np.float32
    assert shipped.dimension <= 7_300
    assert len(shipped.ranker) <= 1_200_000
    assert shipped.digest == hashlib.sha256((shipped.path / MANIFEST).read_bytes()).hexdigest()
    assert shipped.catalog_path.is_file()


def test_the_card_says_what_version_0_has_seen(shipped: Bundle) -> None:
    assert shipped.card.labels_seen.startswith("None.")
    assert shipped.threshold0 == shipped.card.threshold.logit
    assert 0 < shipped.card.threshold.offer_share < 1
    assert all(source.licence for source in shipped.card.data)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_found_in_every_file(bundle_copy: Path, name: str) -> None:
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(bytes(content))
    with pytest.raises(BundleError, match=rf"{name}.*damaged.*Install"):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_named(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}.*cannot be read.*Install"):
        Bundle.load(bundle_copy)


def test_no_directory_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle directory"):
        Bundle.load(tmp_path / "nowhere")


def _not_json(path: Path) -> None:
    (path / MANIFEST).write_bytes(b"{")


def _newer_format(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))


def _incomplete(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    del manifest["files"][WEIGHTS]
    (path / MANIFEST).write_text(json.dumps(manifest))


def _outside(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["files"]["../outside"] = "00"
    (path / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("damage", [_not_json, _newer_format, _incomplete, _outside])
def test_a_manifest_that_makes_no_sense_is_refused(bundle_copy: Path, damage: Callable[[Path], None]) -> None:
    damage(bundle_copy)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.load(bundle_copy)


@pytest.mark.parametrize("change", [lambda w: w[:3], lambda w: w.astype(np.float64), lambda w: np.full_like(w, np.nan)])
def test_weights_that_do_not_fit_are_refused_even_under_a_valid_manifest(
    bundle_copy: Path, shipped: Bundle, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    np.save(bundle_copy / WEIGHTS, change(shipped.weights0))
    write_manifest(bundle_copy)
    with pytest.raises(BundleError, match=WEIGHTS):
        Bundle.load(bundle_copy)


def test_the_manifest_command_accepts_a_new_catalog(bundle_copy: Path, shipped: Bundle) -> None:
    assert write_manifest(bundle_copy) == shipped.digest
    (bundle_copy / "catalog.json.gz").write_bytes(b"another catalog")
    result = CliRunner().invoke(main, ["manifest", str(bundle_copy)])
    assert result.exit_code == 0
    assert Bundle.load(bundle_copy).digest != shipped.digest


def test_card_and_verify_report_the_shipped_bundle(shipped: Bundle) -> None:
    card = CliRunner().invoke(main, ["card"])
    assert card.exit_code == 0
    assert shipped.digest in card.output
    facts = json.loads(CliRunner().invoke(main, ["verify", "--json"]).output)
    assert facts["dimension"] == shipped.dimension
    assert json.loads(CliRunner().invoke(main, ["card", "--json"]).output)["format_version"] == 1


def test_verify_names_a_damaged_file_without_a_traceback(bundle_copy: Path) -> None:
    (bundle_copy / "tokenizer.model").write_bytes(b"no tokenizer")
    result = CliRunner().invoke(main, ["verify", str(bundle_copy)])
    assert result.exit_code == 1
    assert "tokenizer.model" in result.output


def test_a_tokenizer_that_is_none_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "tokenizer.model").write_bytes(b"no tokenizer")
    write_manifest(bundle_copy)
    result = CliRunner().invoke(main, ["verify", str(bundle_copy)])
    assert result.exit_code == 1
    assert "tokenizer.model" in result.output


def test_reading_a_bundle_needs_neither_litert_nor_tensorflow() -> None:
    code = (
        "import sys; from suggestion_model.bundle import Bundle; Bundle.shipped().weights0; "
        "print([m for m in ('ai_edge_litert', 'tensorflow', 'sentencepiece') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ranking_needs_no_tensorflow() -> None:
    code = (
        "import sys; from suggestion_model.bundle import Bundle; from suggestion_model.features import Featurizer; "
        "from suggestion_model.runtime import Ranker; b = Bundle.shipped(); Featurizer(b); Ranker(b); "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_card_is_a_page_and_quotes_what_was_measured(tmp_path: Path, shipped: Bundle) -> None:
    measured = tmp_path / "laboratory.json"
    measured.write_text('{"methods": {"fedavg": {"auc": {"mean": 0.9312, "low": 0.93, "high": 0.94}}}}')
    page = CliRunner().invoke(main, ["card", "--markdown", "--measured", str(measured)])
    assert page.exit_code == 0, page.output
    assert "| fedavg | 0.9312 |" in page.output
    for source in shipped.card.data:
        assert source.licence in page.output
    assert "None given" in CliRunner().invoke(main, ["card", "--markdown"]).output
    measured.write_text("[]")
    assert "no methods" in CliRunner().invoke(main, ["card", "--markdown", "--measured", str(measured)]).output
