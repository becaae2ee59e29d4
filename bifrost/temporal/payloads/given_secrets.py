"""Secret values that a caller gives an execution: kept in Vault before it starts, while the execution itself gets a handle.

Each is a secret of the organization, called `start.<execution>.<parameter>.<random>`. It is kept, because an execution may be
resumed or made again as long as Temporal knows it: `bifrost secrets delete` removes it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final

from bifrost import redaction
from bifrost.errors import ValidationError
from bifrost.models import GLOBAL, Secret
from bifrost.secrets.base import SecretStore, check_segment

PREFIX: Final = "start"
_LONGEST: Final = 100


def name_of(execution_id: str, parameter: str) -> str:
    """A name that no other secret has. An execution's id that cannot be part of it is there as a digest.

    Raises:
        ValidationError: the parameter's name cannot be part of it.
    """
    try:
        shown = check_segment("execution id", execution_id)
    except ValidationError:
        shown = ""
    if not shown or len(shown) > _LONGEST:
        shown = hashlib.sha256(execution_id.encode(errors="surrogatepass")).hexdigest()[:24]
    return f"{PREFIX}.{shown}.{check_segment('parameter name', parameter)}.{secrets.token_hex(4)}"


async def keep(store: SecretStore, org_id: str | None, execution_id: str, values: Mapping[str, str]) -> dict[str, Secret]:
    """Keep the values, and answer a handle for each.

    Raises:
        ValidationError: a value is empty, or the name of a parameter or organization cannot be part of a path.
        IntegrationError: the store cannot be reached.
        PermissionError: the store refuses.
    """
    scope = org_id or GLOBAL
    handles = {parameter: Secret(scope, name_of(execution_id, parameter)) for parameter in values}
    for parameter, value in values.items():
        if not value:
            raise ValidationError(f"The value of the secret parameter '{parameter}' is empty", field=parameter)
        redaction.remember(value)
    for parameter, value in values.items():
        await store.write(scope, handles[parameter].name, value)
    return handles


async def remove(store: SecretStore, handles: Mapping[str, Secret]) -> None:
    """Keep them no longer: nothing was started with them."""
    for handle in handles.values():
        await store.delete(handle.org_id, handle.name)


def are_given(argument: Any, handles: Mapping[str, Secret]) -> bool:
    """Whether an execution's start argument holds these very handles."""
    params = argument.get("params") if isinstance(argument, dict) else None
    return isinstance(params, dict) and all(params.get(name) == handle.to_wire() for name, handle in handles.items())
