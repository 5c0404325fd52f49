"""The ``authority`` command: begin an authority, certify devices, serve enrolment."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import msgspec

from coordinator.authority.directory import PUBLIC_KEY, TRUST_LIST, Authority, AuthorityError, Renewals
from coordinator.errors import SettingsError
from coordinator.trust_anchor import DEMO_MARK, read_trust_anchor
from federated_protocol.signing import FINGERPRINT_BYTES

_WARNING = f"{DEMO_MARK}: certificates of this authority prove nothing. Never point a real coordinator at it."
_FOLDER = click.Path(file_okay=False, path_type=Path)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Say what was done as JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def authority() -> None:
    """Enrol devices, apart from any coordinator: whoever runs the coordinator cannot invent devices."""


@authority.command()
@click.argument("directory", type=_FOLDER)
@click.option("--name", default="enrolment authority", show_default=True, help="Shown in certificates.")
@click.option("--insecure-demo", is_flag=True, help="Mark key and certificates as worthless outside a demo.")
@_AS_JSON
def init(directory: Path, name: str, insecure_demo: bool, as_json: bool) -> None:
    """Make a key pair in DIRECTORY."""
    made = Authority.create(directory, name, insecure_demo=insecure_demo)
    if insecure_demo:
        click.echo(_WARNING, err=True)
    _say(
        as_json,
        {"name": made.name, "directory": str(directory), "public_key": str(directory / PUBLIC_KEY)},
        f"authority {made.name!r} is in {directory}; keep private.key away from the coordinator\n"
        f"give coordinators {directory / PUBLIC_KEY}",
    )


@authority.command()
@click.argument("directory", type=_FOLDER)
@click.argument("public_key", required=False)
@click.option("--count", type=click.IntRange(1, 100_000), help="Make so many device homes instead (demo only).")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Certificate file, or with --count the directory of the homes."
)
@click.option("--days", default=365.0, show_default=True, help="Validity.")
@_AS_JSON
def issue(
    directory: Path, public_key: str | None, count: int | None, out: Path | None, days: float, as_json: bool
) -> None:
    """Certify PUBLIC_KEY (64 hex digits, or a file that holds them or 32 bytes), with the authority in DIRECTORY.

    Writes the certificate to --out, or its hex to standard output.
    """
    opened = Authority.load(directory)
    if (public_key is None) == (count is None):
        raise click.UsageError("give a public key, or --count N")
    if opened.insecure_demo:
        click.echo(_WARNING, err=True)
    if count is not None:
        if out is None:
            raise click.UsageError("--count needs --out DIRECTORY")
        with click.progressbar(length=count, label="devices", file=sys.stderr) as bar:
            opened.make_devices(out, count, time.time(), days, progress=lambda: bar.update(1))
        _say(as_json, {"devices": count, "out": str(out)}, f"{count} device homes in {out}")
        return
    certificate = opened.certify(_read_key(public_key or ""), time.time(), days).encode()
    if out is None:
        _say(as_json, {"certificate": certificate.hex()}, certificate.hex())
    else:
        out.write_bytes(certificate)
        text = f"certificate written to {out}: place it beside the device's identity.key"
        _say(as_json, {"certificate": certificate.hex(), "out": str(out)}, text)


@authority.command()
@click.argument("directory", type=_FOLDER)
@click.option("--also", multiple=True, metavar="PUBLIC_KEY", help="A further authority key that counts, e.g. the next.")
@click.option("--retire", multiple=True, metavar="PUBLIC_KEY", help="A key that counts no more from now on.")
@click.option(
    "--revoke",
    multiple=True,
    metavar="FINGERPRINT",
    help="A device to take the certificates of all its keys back from.",
)
@click.option("--days", default=30.0, show_default=True, help="Devices go on for so long without a newer list.")
@click.option("--key-days", default=730.0, show_default=True, help="How long a key named by --also counts.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the list there too.")
@_AS_JSON
def trust(
    directory: Path,
    also: tuple[str, ...],
    retire: tuple[str, ...],
    revoke: tuple[str, ...],
    days: float,
    key_days: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sign the next trust list: which authority keys count, and which devices do no more.

    It goes on from the list in DIRECTORY, so keys and revocations add up. Give it to coordinators (trust_list), which
    pass it on to devices.
    """
    opened, renewed = Authority.load(directory), Renewals(directory)
    made = opened.next_trust_list(
        time.time(),
        also=[_read_key(source) for source in also],
        retire=[_read_key(source) for source in retire],
        revoke=[key for text in revoke for key in renewed.line_of(_read_fingerprint(text))],
        days=days,
        key_days=key_days,
    )
    opened.keep_trust_list(directory, made)
    if out is not None:
        out.write_bytes(made.encode())
    where = out or directory / TRUST_LIST
    _say(
        as_json,
        {"serial": made.serial, "keys": len(made.keys), "revoked": len(made.revoked), "list": str(where)},
        f"trust list {made.serial}: {len(made.keys)} authority keys, {len(made.revoked)} devices revoked, in {where}",
    )


@authority.command()
@click.argument("directory", type=_FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--port-file", type=click.Path(dir_okay=False, path_type=Path), help="Write the port there.")
@click.option("--token", "tokens", multiple=True, help="Whoever shows it is enrolled; may be repeated.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Tokens, one a line.")
@click.option("--days", default=365.0, show_default=True, help="Validity of certificates.")
def serve(
    directory: Path,
    host: str,
    port: int,
    port_file: Path | None,
    tokens: tuple[str, ...],
    token_file: Path | None,
    days: float,
) -> None:
    """Enrol over HTTP whoever shows a token, and certify the next keys of devices that are enrolled."""
    from coordinator.authority.service import create_authority_app
    from coordinator.events import configure_logging
    from coordinator.serving import ServedApp
    from coordinator.serving import serve as serve_app

    opened = Authority.load(directory)
    known = [*tokens, *(token_file.read_text("utf-8").split() if token_file else ())]
    create_authority_app(opened, known, Renewals(directory), days=days)  # fails here rather than in the worker
    if opened.insecure_demo:
        click.echo(_WARNING, err=True)

    def make() -> ServedApp:
        configure_logging()
        return ServedApp(create_authority_app(opened, known, Renewals(directory), days=days))

    serve_app(make, host=host, port=port, port_file=port_file, threads=8)


def _say(as_json: bool, report: dict[str, str | int], text: str) -> None:
    click.echo(msgspec.json.encode(report) if as_json else text)


def _read_key(source: str) -> bytes:
    try:
        return bytes.fromhex(source)
    except ValueError:
        pass
    try:
        raw = Path(source).read_bytes()
    except OSError:
        raise AuthorityError("PUBLIC_KEY is neither hexadecimal nor a readable file") from None
    if len(raw) == 32:
        return raw
    try:
        return read_trust_anchor(source).public_key  # as `authority init` writes it
    except SettingsError:
        raise AuthorityError(f"{source} does not hold a public key: 32 bytes or 64 hexadecimal digits") from None


def _read_fingerprint(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != FINGERPRINT_BYTES:
        raise AuthorityError(f"a device's fingerprint has {2 * FINGERPRINT_BYTES} hexadecimal digits")
    return raw


def main() -> None:
    """Entry point: known errors become one line and exit status 1."""
    try:
        authority()
    except (AuthorityError, SettingsError) as error:
        click.echo(f"authority: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
