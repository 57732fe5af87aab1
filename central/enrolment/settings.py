"""The section [enrolment] of the centre's configuration."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le, MaxLen, MinLen


@dataclass(frozen=True, slots=True)
class EnrolmentSettings:
    """Where devices ask for their certificates; without a port nobody can.

    `names`: by which host names or addresses devices reach this service; its certificate is made for them.
    """

    port: Annotated[int, Ge(1), Le(65535)] | None = None
    address: Annotated[str, MinLen(1)] = "0.0.0.0"  # noqa: S104 - devices come from elsewhere
    names: Annotated[tuple[Annotated[str, MinLen(1), MaxLen(253)], ...], MaxLen(20)] = ()
