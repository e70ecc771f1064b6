"""What people said, sealed under the keys of everybody it concerns: with any of those keys gone, nobody can read it.

A box is bytes: a version, the ids of its keys in clear, a nonce, and what AES-256-GCM made of the content. The data key
is derived from all keys together (keyed BLAKE2b as a KDF, by the box's name), the nonce from the content (as in
synthetic-IV schemes, cf. RFC 8452), so that the same content under the same name is the same box: a repeated event
has the same bytes.
"""

import hashlib
from collections.abc import Mapping, Sequence

from thumbwheel.errors import ThumbwheelError

KEY_BYTES = 32
_VERSION = b"\x01"
_ID_BYTES = 16
_NONCE_BYTES = 12
_MOST_KEYS = 0xFFFF
_HEADER_BYTES = 3
Secrets = Mapping[str, bytes]
"""Key ids (32 hexadecimal digits) to keys of `KEY_BYTES` random bytes."""


class BoxError(ThumbwheelError):
    """A box does not open."""


class Erased(BoxError):
    """A key of the box is not there: somebody it concerns has been erased."""


class BoxDamaged(BoxError):
    """The bytes are no box, belong under another name, or were changed."""


def seal(content: bytes, keys: Secrets, name: str) -> bytes:
    """The box of `content` under all of `keys`; `name` says what it is, and opens it again."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not 1 <= len(keys) <= _MOST_KEYS:
        raise ValueError(f"a box has 1 to {_MOST_KEYS} keys, not {len(keys)}")
    ids = sorted(keys)
    header = b"".join((_VERSION, len(ids).to_bytes(2), *map(bytes.fromhex, ids)))
    data_key = _data_key([keys[i] for i in ids], name)
    nonce = hashlib.blake2b(content, key=data_key, digest_size=_NONCE_BYTES, person=b"nonce").digest()
    return header + nonce + AESGCM(data_key).encrypt(nonce, content, header)


def key_ids(box: bytes) -> list[str]:
    """The ids of the keys that open it, sorted; raises `BoxDamaged`."""
    end = _end_of_header(box)
    return [box[at : at + _ID_BYTES].hex() for at in range(_HEADER_BYTES, end, _ID_BYTES)]


def unseal(box: bytes, keys: Secrets, name: str) -> bytes:
    """The content; raises `Erased` where a key is missing, `BoxDamaged` when it is not the box of that name."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    ids = key_ids(box)
    if missing := [i for i in ids if i not in keys]:
        raise Erased(f"{name}: key {missing[0]} is gone")
    end = _end_of_header(box)
    nonce, sealed = box[end : end + _NONCE_BYTES], box[end + _NONCE_BYTES :]
    try:
        return AESGCM(_data_key([keys[i] for i in ids], name)).decrypt(nonce, sealed, box[:end])
    except InvalidTag as error:
        raise BoxDamaged(f"{name}: the box was changed, or belongs to something else") from error


def is_box(value: bytes) -> bool:
    """Whether these bytes are a box rather than JSON that was stored before there were boxes."""
    return value[:1] == _VERSION


def _end_of_header(box: bytes) -> int:
    end = _HEADER_BYTES + int.from_bytes(box[1:_HEADER_BYTES]) * _ID_BYTES
    if not is_box(box) or end == _HEADER_BYTES or len(box) < end + _NONCE_BYTES:
        raise BoxDamaged("these bytes are no box")
    return end


def _data_key(keys: Sequence[bytes], name: str) -> bytes:
    """One key of several: each in turn keys the hash of what came before, so that none can be left out."""
    derived = hashlib.blake2b(name.encode(), digest_size=KEY_BYTES, person=b"thumbwheel box").digest()
    for key in keys:
        derived = hashlib.blake2b(derived, key=key, digest_size=KEY_BYTES, person=b"thumbwheel box").digest()
    return derived
