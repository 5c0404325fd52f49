"""The enrolment authority: a command and a key of its own. The coordinator's server never imports it.

- ``directory`` the key pair and name on disk, and issuing certificates
- ``service`` a small HTTP service that enrols whoever holds a token
- ``cli`` the ``authority`` command
"""

from coordinator.authority.directory import Authority, AuthorityError

__all__ = ["Authority", "AuthorityError"]
