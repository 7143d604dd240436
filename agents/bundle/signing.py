"""Ed25519 signatures over the bytes of a manifest, which holds the hash of every other file.

Keys are PEM files as `openssl genpkey -algorithm ed25519` writes them, or a public key's 64 hex digits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from agents.bundle.manifest import SIGNATURE, BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_HEX = 64  # digits of a public key
ALGORITHM = "ed25519"


def sign(manifest: bytes, private_key: str | Path) -> bytes:
    """Content of `manifest.sig`: a JSON object with algorithm, public key and signature, both in hex.

    Raises:
        BundleError: if the file holds no unencrypted Ed25519 private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(Path(private_key).read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(
            f"signing key {private_key}: {error}; make one: openssl genpkey -algorithm ed25519"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(
            f"signing key {private_key} is not Ed25519; make one: openssl genpkey -algorithm ed25519"
        )
    public = key.public_key().public_bytes_raw().hex()
    content = {"algorithm": ALGORITHM, "public_key": public, "signature": key.sign(manifest).hex()}
    return json.dumps(content).encode() + b"\n"


def public_key(text: str) -> Ed25519PublicKey:
    """A public key from 64 hex digits or a PEM file.

    Raises:
        BundleError: if it is neither.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if len(text) == _HEX and not Path(text).exists():
            return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        key = serialization.load_pem_public_key(Path(text).read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BundleError(f"signer {text!r:.100}: {error}; give 64 hex digits or a PEM file") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"signer {text!r:.100} is not an Ed25519 public key")
    return key


def verify(manifest: bytes, signature: bytes | None, signer: str | None) -> str | None:
    """Check a signature; returns the signing key in hex, None for an unsigned bundle.

    Args:
        manifest: bytes of the manifest.
        signature: bytes of `manifest.sig`, None if there is no such file.
        signer: the public key that must have signed; None takes any valid signature, or none.

    Raises:
        BundleError: if a signature is wrong, or the required one is missing.
    """
    if signature is None:
        if signer is not None:
            raise BundleError("the bundle is not signed, and a signer is required; export it with --sign KEY")
        return None
    from cryptography.exceptions import InvalidSignature

    try:
        content = json.loads(signature)
        algorithm, key, given = (
            content["algorithm"],
            content["public_key"],
            bytes.fromhex(content["signature"]),
        )
        if algorithm != ALGORITHM:
            raise ValueError(f"algorithm {algorithm!r:.40}")
        claimed = public_key(str(key))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{SIGNATURE} cannot be read ({error!r:.100}); sign the bundle again") from None
    wanted = claimed if signer is None else public_key(signer)
    if wanted.public_bytes_raw() != claimed.public_bytes_raw():
        raise BundleError(f"the bundle is signed by {key:.64}, not by the required signer {signer!r:.100}")
    try:
        wanted.verify(given, manifest)
    except InvalidSignature:
        raise BundleError("the signature does not fit the manifest: it was changed after signing") from None
    return claimed.public_bytes_raw().hex()
