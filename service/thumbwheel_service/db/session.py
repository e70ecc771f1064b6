"""A database session that can seal and open what people said."""

import sqlmodel
from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from thumbwheel import box
from thumbwheel.box import Secrets
from thumbwheel_service.db.keyring import Keyring, Subject


class Session(sqlmodel.Session):
    """What units of the writer and queries of the reader get."""

    def __init__(self, bind: Engine | Connection, keyring: Keyring) -> None:
        super().__init__(bind, autoflush=False, expire_on_commit=False)
        self.keyring = keyring

    def keys_of(self, tenant: str, *subjects: Subject) -> Secrets:
        """The keys of everybody a text concerns; for writing transactions. See `Keyring.bound`."""
        return self.keyring.bound(self.connection(), tenant, subjects)

    def opened(self, stored: bytes, name: str) -> bytes:
        """The content of a stored box; what was stored before there were boxes is its own content.

        Raises `PersonErased`, `KeyLost`, `BoxDamaged`.
        """
        if not box.is_box(stored):
            return stored
        return box.unseal(stored, self.keyring.secrets(box.key_ids(stored)), name)
